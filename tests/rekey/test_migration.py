"""From 3DES to AES in the field: a replacement puts an AES master set, and the card speaks SCP03 with it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.gp.apdu import INS
from kioskd.gp.isd import InitializeUpdateAnswer, initialize_update
from kioskd.gp.keys import KVN
from kioskd.rekey.aes_sets import Migration
from kioskd.rekey.profile import FactoryHabit, Lock, Operation, Order
from kioskd.rekey.records import Purpose
from tests.rekey.kinds import Kind
from tests.rekey.migrating import AES_128, KINDS, PLAIN, REFUSING, RENUMBER, issued, master_kind
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, tap


def spoken(world: World, kvn: int) -> int:
    """The protocol in which the card answers with that key set."""
    world.card.reset()
    raw = world.card.transmit(initialize_update(KVN(kvn), bytes(8)).encode())
    return InitializeUpdateAnswer.parse(raw[:-2]).scp


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_replacement_puts_an_aes_set_and_the_card_speaks_scp03_with_it(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    world.assert_finished(2)
    closed = world.state.closed
    assert closed is not None and kind.profile.migrates is not None
    assert master_kind(world) == str(kind.profile.migrates.kind)
    assert spoken(world, closed.master.kvn) == 3
    assert spoken(world, closed.krk.kvn) == 2


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_next_replacement_puts_an_aes_set_in_the_place_of_one(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(3)
    assert master_kind(later).startswith("AES")


def test_a_card_that_renumbers_is_migrated_by_one_script_which_deletes_first() -> None:
    """A key set keeps its type when another takes its place: PUT KEY in place would be refused."""
    world = issued(RENUMBER)
    kiosk = Kiosk(world)
    assert tap(kiosk) == "done"
    (script,) = [one for one, _ in kiosk.seen if one.number]
    assert [step.command[1] for step in script.steps].index(INS.DELETE) == 1
    later = world.fork(armed(3))
    kiosk = Kiosk(later)
    assert tap(kiosk) == "done"
    (script,) = [one for one, _ in kiosk.seen if one.number]
    assert INS.DELETE not in [step.command[1] for step in script.steps], "AES in the place of AES"


def test_the_layout_that_an_aes_set_was_taken_in_is_kept_and_is_not_that_of_the_3des_sets() -> None:
    kind = Kind("", replace(PLAIN.profile, migrates=AES_128), replace(PLAIN.options, layouts=(False,)))
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    kiosk = Kiosk(later)
    assert tap(kiosk) == "done"
    assert len([one for one, _ in kiosk.seen if one.number]) == 1
    sent = [one for one in later.state.intents if one.purpose is Purpose.REPLACE]
    assert [one.with_length for one in sent] == [True, False, False]


def test_an_adopted_card_of_3des_sets_is_migrated_when_its_master_set_is_replaced() -> None:
    profile = replace(PLAIN.profile, adopts="factory", adopts_kvn=0x01, factory_kvn=0x01)
    card = AttackedCard(options=replace(PLAIN.options, factory_kvn=0x01, factory_fills=True))
    world = World(issuing(), card, profile=profile)
    assert tap(Kiosk(world)) == "adopted"
    later = world.fork(armed(2))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(2)
    assert master_kind(later) == "AES-128"


@pytest.mark.parametrize("kind", REFUSING, ids=str)
def test_a_card_that_refuses_aes_keys_gets_a_3des_set_of_the_new_generation_in_the_same_tap(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "not-migrated"
    world.assert_finished(2)
    assert master_kind(world) == "3DES"
    assert tap(Kiosk(world)) == "already-done"


@pytest.mark.slow
@settings(deadline=None, max_examples=60)  # the first makes the vaults
@given(
    order=st.sampled_from(Order),
    factory=st.sampled_from(FactoryHabit),
    lifecycle=st.booleans(),
    maced=st.booleans(),
    aes=st.builds(Migration, key_bytes=st.sampled_from((16, 32)), key_length_sent=st.booleans()),
    refuses=st.booleans(),
)
def test_what_a_profile_allows_is_migrated_or_stays_finished_and_nothing_else_happens(
    order: Order, factory: FactoryHabit, lifecycle: bool, maced: bool, aes: Migration, refuses: bool
) -> None:
    profile = replace(
        PLAIN.profile,
        order=order,
        slots=3,
        factory=factory,
        level=0x13 if maced else 0x03,
        lock=Lock.LIFECYCLE if lifecycle else Lock.SESSION,
        migrates=aes,
    )
    options = replace(
        PLAIN.options,
        slots=3,
        scp_i=0x35 if maced else 0x15,
        factory_drops=factory is FactoryHabit.DROPS,
        factory_fills=factory is FactoryHabit.FILLS,
        aes_over_scp02=not refuses,
    )
    if profile.refuses(Operation.ISSUE) or profile.refuses(Operation.REPLACE):
        return
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    later = world.fork(armed(2))
    assert tap(Kiosk(later)) == ("not-migrated" if refuses else "done")
    later.assert_finished(2)
    assert master_kind(later) == ("3DES" if refuses else str(aes.kind))
