"""The proof on the card itself, through PC/SC: which key set opens it, and which opens nothing."""

from dataclasses import dataclass

from kioskd.edges.pcsc import PcscReaders
from kioskd.edges.store import SqlStore
from kioskd.errors import KioskError
from kioskd.gp.apdu import ResponseAPDU
from kioskd.gp.cplc import canonical_id
from kioskd.gp.isd import get_data, initialize_update, select
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import KVN
from kioskd.ports import Card, Vault
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.evidence import Subject
from kioskd.rekey.profile import CPLC_TAG, DEFAULT_PROFILE, KEY_INFORMATION_TAG
from kioskd.rekey.records import CardState, MasterRef, fold

LEVEL = 0x33


@dataclass(frozen=True, slots=True)
class KeySetProof:
    """What one key set opens: the slots of the card whose cryptogram it verifies and which accept its own."""

    name: str
    opens: tuple[int, ...]
    tried: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CardProof:
    """What the card holds, and what each key set opens."""

    kvns: tuple[int, ...]
    sets: tuple[KeySetProof, ...]


async def read_state(store_url: str, reader: str) -> CardState:
    """The records of the card in the reader, folded."""
    store, readers = SqlStore(store_url), PcscReaders()
    try:
        card = await readers.connect(reader)
        await _ask(card, select(DEFAULT_PROFILE.aid).encode())
        found = canonical_id({CPLC_TAG: (await _ask(card, get_data(CPLC_TAG).encode())).data})
        await card.close()
        return fold(await store.records(found))
    finally:
        await readers.close()
        store.close()


async def prove(vault: Vault, reader: str, state: CardState, old: MasterRef) -> CardProof:
    """Tries the old master set, the new one and the replacement set at every slot of the card in the reader."""
    assert state.registered is not None and state.closed is not None
    subject = Subject(state.registered.card, DEFAULT_PROFILE)
    krk, new = state.closed.krk, state.closed.master
    sets = {
        f"old master set, generation {old.generation}": vault.derive_master(subject.master_label(old)),
        f"new master set, generation {new.generation}": vault.derive_master(subject.master_label(new)),
        "replacement set (KRK)": vault.recover_krk(krk, subject.krk_label(krk.epoch, krk.install, krk.kvn)),
    }
    readers = PcscReaders()
    try:
        card = await readers.connect(reader)
        try:
            kvns = await _kvns(card)
            tried = tuple(sorted({*kvns, old.kvn}))
            proofs = []
            for name, handle in sets.items():
                opens = [kvn for kvn in tried if await _opens(card, vault, handle, kvn)]
                proofs.append(KeySetProof(name, tuple(opens), tried))
            return CardProof(kvns, tuple(proofs))
        finally:
            await card.close()
    finally:
        await readers.close()


async def _kvns(card: Card) -> tuple[int, ...]:
    await _ask(card, select(DEFAULT_PROFILE.aid).encode())
    answer = await _ask(card, get_data(KEY_INFORMATION_TAG).encode())
    return tuple(sorted(KeyInformation.parse(answer.data).kvns))


async def _opens(card: Card, vault: Vault, handle: KeyHandle, kvn: int) -> bool:
    """Whether both cryptograms are right: the card's by the vault, the host's by the card."""
    challenge = vault.challenge()
    answer = await _ask(card, initialize_update(KVN(kvn), challenge).encode())
    if not answer.ok or not vault.proves(handle, challenge, answer.data):
        return False
    channel = vault.open_channel(handle, challenge, answer.data, LEVEL)
    command = vault.wrap_commands(channel, ()).commands[0]
    return (await _ask(card, command.encode())).ok


async def _ask(card: Card, command: bytes) -> ResponseAPDU:
    raw = await card.transmit(command)
    if raw is None:
        raise KioskError("the card was pulled in the midst of the proof")
    return ResponseAPDU.decode(raw)
