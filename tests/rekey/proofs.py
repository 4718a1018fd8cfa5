"""What the tests hold a card to, asked of the card itself with keys from the vault."""

from kioskd.gp.isd import InitializeUpdateAnswer, initialize_update, select
from kioskd.gp.keys import KVN
from kioskd.ports import Vault
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.evidence import Subject
from kioskd.rekey.records import CardState, MasterRef
from tests.rig import Rig


def opens(rig: Rig, vault: Vault, handle: KeyHandle, kvn: int) -> bool:
    """Whether the key set opens a secure channel on the card, by EXTERNAL AUTHENTICATE."""
    card = rig.card
    card.reset()
    card.transmit(select(rig.profile.aid).encode())
    challenge = vault.challenge(rig.profile.challenge_bytes)
    raw = card.transmit(initialize_update(KVN(kvn), challenge).encode())
    if raw[-2:] != b"\x90\x00":
        return False
    answer = raw[:-2]
    assert InitializeUpdateAnswer.parse(answer).kvn == kvn
    if not vault.proves(handle, challenge, answer):
        return False
    channel = vault.open_channel(handle, challenge, answer, rig.profile.level)
    wrapped = vault.wrap_commands(channel, ())
    opened = card.transmit(wrapped.commands[0].encode()) == b"\x90\x00"
    card.reset()
    return opened


def master_opens(rig: Rig, master: MasterRef) -> bool:
    """Whether that installation of a master set opens the card at its slot."""
    label = Subject(rig.card_id(), rig.profile).master_label(master)
    return opens(rig, rig.vault, rig.vault.derive_master(label), master.kvn)


def krk_opens(rig: Rig, state: CardState) -> bool:
    """Whether the replacement set on record opens the card; needs an armed vault."""
    krk = state.proven_krk
    assert krk is not None
    label = Subject(rig.card_id(), rig.profile).krk_label(krk.epoch, krk.install, krk.kvn)
    return opens(rig, rig.vault, rig.vault.recover_krk(krk, label), krk.kvn)


def assert_holds(rig: Rig, kvns: set[int], context: str = "") -> None:
    """The card holds exactly these sets, each of three keys of the profile's size."""
    entries = rig.key_information().entries
    assert set(entries) == {entry for kvn in kvns for entry in rig.profile.entries(kvn)}, context
    assert len(entries) == 3 * len(kvns), context


async def assert_replaced(rig: Rig, context: str = "") -> None:
    """The case is closed, the card holds exactly the KRK and generation 2, the old set is gone."""
    state = await rig.state()
    assert state.closed is not None and not state.open, context
    assert state.closed.master.generation == 2, context
    assert_holds(rig, {0x3E, 0x32}, context)
    assert master_opens(rig, state.closed.master), context
    assert krk_opens(rig, state), context


async def assert_issued(rig: Rig, context: str = "") -> None:
    """The case is closed, the card holds exactly a KRK and generation 1, the factory set is gone."""
    state = await rig.state()
    assert state.closed is not None and not state.open, context
    assert state.closed.master.generation == 1, context
    assert_holds(rig, {0x3E, 0x31}, context)
    assert master_opens(rig, state.closed.master), context
