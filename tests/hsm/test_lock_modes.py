"""The three lock modes and both slot orders on tokens: issued, replaced, and locked again, with the keys in an HSM."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.executive import unlock
from kioskd.gp.isd import delete_key, initialize_update, select
from kioskd.gp.keys import KVN
from kioskd.gp.life_cycle import LifeCycle
from kioskd.ports import KeptVault
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.evidence import Subject
from kioskd.rekey.profile import Lock, Profile
from kioskd.rekey.records import CardState, MasterRef
from kioskd.virtual.card_options import CardOptions
from tests.hsm.houses import House, bring, empty_vault
from tests.rekey.proofs import master_opens

pytestmark = [pytest.mark.slow]

FIRST = {"krk_kvn": 0x30, "other_krk_kvn": 0x31, "first_master_kvn": 0x32}


def profile_of(lock: Lock, *, krk_first: bool) -> Profile:
    """What the server believes of the card."""
    rests = LifeCycle.CARD_LOCKED if lock is Lock.LIFECYCLE else LifeCycle.SECURED
    made = Profile(lock=lock, rests=rests)
    return replace(made, **FIRST) if krk_first else made  # type: ignore[arg-type]


@pytest.fixture(params=list(Lock), ids=lambda one: one.value)
def lock(request: pytest.FixtureRequest) -> Lock:
    chosen: Lock = request.param
    return chosen


@pytest.fixture(params=[True, False], ids=["KRK first", "KRK second"])
def krk_first(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen


@pytest_asyncio.fixture
async def house(tmp_path: Path, lock: Lock, krk_first: bool) -> AsyncIterator[House]:
    """A card from the factory of that mode and order."""
    options = CardOptions(executive=lock is Lock.EXECUTIVE)
    made = House(tmp_path, options=options, profile=profile_of(lock, krk_first=krk_first))
    yield made
    await made.close()


@pytest.fixture(params=["softhsm2", "nss"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> KeptVault:
    """A token that issues generation 1."""
    made = empty_vault(request.param, tmp_path / "vault")
    bring(made, BundlePurpose.ISSUE, 1)
    return made


def locked(house: House) -> bool:
    """Whether the card is as its mode has it at rest."""
    memory = house.card.memory
    resting = memory.life_cycle is house.profile.rests
    return resting and memory.sealed is (house.profile.lock is Lock.EXECUTIVE)


async def closed_state(house: House, vault: KeptVault) -> CardState:
    """The card's records; its case is closed."""
    state = await house.rig(vault).state()
    assert state.closed is not None and not state.open
    return state


async def replaced(house: House, vault: KeptVault) -> tuple[MasterRef, CardState]:
    """The card issued, then replaced: its old master set, and its records."""
    assert await house.issue(vault) == "issued"
    before = (await closed_state(house, vault)).closed
    assert before is not None
    bring(vault, BundlePurpose.REPLACE, 2)
    assert await house.replace(vault) == "done"
    return before.master, await closed_state(house, vault)


@pytest.mark.claim(8, 9, 10, 12, 13, 14)
async def test_both_sets_are_registered_in_either_order_of_the_slots(
    house: House, vault: KeptVault, krk_first: bool
) -> None:
    assert await house.issue(vault) == "issued"
    closed = (await closed_state(house, vault)).closed
    assert closed is not None
    assert (closed.krk.kvn < closed.master.kvn) is krk_first
    assert house.card.kvns == {closed.krk.kvn, closed.master.kvn}
    assert set(house.card.memory.key_information().entries) == (
        house.profile.entries(closed.krk.kvn) | house.profile.entries(closed.master.kvn)
    )
    assert locked(house)


@pytest.mark.claim(22, 23, 24, 25, 26)
async def test_the_master_set_is_replaced_and_the_card_locked_again(house: House, vault: KeptVault) -> None:
    old, state = await replaced(house, vault)
    assert state.closed is not None
    rig = house.rig(vault)
    assert not master_opens(rig, old)
    assert master_opens(rig, state.closed.master)
    assert house.card.kvns == {state.closed.krk.kvn, state.closed.master.kvn}
    assert locked(house)
    # Whoever holds the new master set finds key commands refused, but in `session` mode, where a session unlocks.
    answer = key_command(house, vault, vault.derive_master(_subject(house).master_label(state.closed.master)), state)
    assert (answer == SW.OK) is (house.profile.lock is Lock.SESSION)


@pytest.mark.claim(22, 23)
async def test_the_executive_compares_the_unlock_key_and_a_wrong_one_leaves_it_locked(
    tmp_path: Path, vault: KeptVault
) -> None:
    house = House(tmp_path, options=CardOptions(executive=True), profile=profile_of(Lock.EXECUTIVE, krk_first=False))
    _, state = await replaced(house, vault)
    krk = (await closed_state(house, vault)).closed
    assert krk is not None
    label = _subject(house).krk_label(krk.krk.epoch, krk.krk.install, krk.krk.kvn)
    for right in (False, True):
        handle = vault.recover_krk(krk.krk, label)
        host, answer = greeted(house, krk.krk.kvn)
        channel = vault.open_channel(handle, host, answer, house.profile.level)
        wrapped = vault.wrap_unlock_key(channel)
        sent = wrapped if right else bytes((wrapped[0] ^ 1,)) + wrapped[1:]
        script = vault.wrap_commands(channel, (unlock(sent), delete_key(KVN(krk.master.kvn))))
        answers = [house.card.transmit(command.encode()) for command in script.commands]
        plain = vault.unwrap_responses(script.sealed, script.marks, tuple(_response(raw) for raw in answers[1:]))
        words = [one.sw for one in plain if one is not None]
        wanted = [SW.OK, SW.OK] if right else [SW.SECURITY_STATUS_NOT_SATISFIED, SW.CONDITIONS_NOT_SATISFIED]
        assert words == wanted
    assert state.closed is not None
    await house.close()


def _subject(house: House) -> Subject:
    return Subject(house.rig(None).card_id(), house.profile)  # type: ignore[arg-type]


def _response(raw: bytes) -> ResponseAPDU:
    return ResponseAPDU.decode(raw)


def greeted(house: House, kvn: int) -> tuple[bytes, bytes]:
    """A challenge and the card's answer to it."""
    house.card.reset()
    house.card.transmit(select(house.profile.aid).encode())
    host = bytes(range(8))
    return host, house.card.transmit(initialize_update(KVN(kvn), host).encode())[:-2]


def key_command(house: House, vault: KeptVault, handle: KeyHandle, state: CardState) -> int:
    """The status word of deleting a set that is not there, and of the unlocking before it, under a key set."""
    assert state.closed is not None
    host, answer = greeted(house, state.closed.master.kvn)
    channel = vault.open_channel(handle, host, answer, house.profile.level)
    script = vault.wrap_commands(channel, (delete_key(KVN(state.closed.krk.kvn)),))
    answers = [house.card.transmit(command.encode()) for command in script.commands]
    assert answers[0] == b"\x90\x00"
    return int.from_bytes(answers[1][-2:])
