"""Cards that fail what they like, and cards on which a thief of the old master set has left something."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.records import CardState, Intent
from kioskd.rekey.wire import Script
from tests.rekey.world import KRK, Kiosk, World, blank, honest_tap, issued, memory_of, stranger, tap

pytestmark = pytest.mark.slow

ERROR, ABSENT = 0x6F00, 0x6A88
TOKEN = tuple(KeyEntry(kid, 0x05, ((0x88, 16),)) for kid in (1, 2, 3))


def subsets(positions: tuple[int, ...]) -> Iterator[frozenset[int]]:
    """All subsets, the empty one first."""
    for size in range(len(positions) + 1):
        yield from map(frozenset, itertools.combinations(positions, size))


def told(*kvns: int) -> bytes:
    """Key information that names these sets of three AES keys."""
    entries = [KeyEntry(kid, kvn, ((0x88, 16),)) for kvn in kvns for kid in (1, 2, 3)]
    return KeyInformation(tuple(entries)).encode() + b"\x90\x00"


def stubborn_tap(world: World, fails: frozenset[int], sw: int, *, obeys: bool, purpose: str = "replace") -> None:
    """A tap of a card that fails these commands, at a terminal that stops where it should, or goes on regardless."""
    world.card.fails_at, world.card.fails_with, world.card.count = fails, sw, 0
    tap(Kiosk(world, "k1", obeys=obeys), purpose)


@pytest.mark.parametrize("obeys", [True, False], ids=["a good terminal", "a terminal that never stops"])
@pytest.mark.parametrize("sw", [ERROR, ABSENT], ids=hex)
def test_a_card_that_fails_any_subset_of_a_replacement_is_finished_by_the_next_tap(sw: int, obeys: bool) -> None:
    # INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, DELETE, PUT KEY, GET DATA, INITIALIZE UPDATE
    for fails in subsets(tuple(range(6))):
        world = issued()
        stubborn_tap(world, fails, sw, obeys=obeys)
        world.assert_something_opens_the_card()
        assert honest_tap(world) in ("done", "already-done"), fails
        world.assert_finished(2, fails)


@pytest.mark.slow
@pytest.mark.parametrize("obeys", [True, False], ids=["a good terminal", "a terminal that never stops"])
def test_a_card_that_fails_any_subset_of_two_replacement_scripts_is_finished_by_the_next_tap(obeys: bool) -> None:
    first, second = tuple(range(2, 6)), tuple(range(8, 13))
    for one, other in itertools.product(subsets(first), subsets(second)):
        if obeys and (len(one) > 1 or len(other) > 1):
            continue  # a good terminal sends nothing after the first failure of a script
        fails = one | other
        world = issued()
        stubborn_tap(world, fails, ABSENT, obeys=obeys)
        assert honest_tap(world) in ("done", "already-done"), fails
        world.assert_finished(2, fails)


@pytest.mark.slow
@pytest.mark.parametrize("obeys", [True, False], ids=["a good station", "a station that never stops"])
def test_a_card_that_fails_any_subset_of_each_issuing_script_is_finished_by_the_next_tap(obeys: bool) -> None:
    scripts = tuple(tuple(subsets(one)) for one in ((2, 3, 4), (6, 7, 8), (10, 11, 12)))
    for parts in itertools.product(*scripts):
        if obeys and any(len(one) > 1 for one in parts):
            continue  # a good station sends nothing after the first failure of a script
        fails = frozenset[int]().union(*parts)
        world = blank()
        stubborn_tap(world, fails, ABSENT, obeys=obeys, purpose="issue")
        assert honest_tap(world, "issue") in ("issued", "already-issued"), fails
        world.assert_finished(1, fails)


@pytest.mark.slow
def test_a_key_set_planted_anywhere_is_deleted_whether_the_terminal_shows_it_or_not() -> None:
    for kvn in set(range(0x01, 0x80)) - {KRK}:
        for hearsay in (None, told(0x31, KRK), told(0x32, KRK)):
            world = issued(slots=3)
            world.plant(stranger(kvn))
            tap(Kiosk(world, "k1", hearsay=hearsay))
            assert honest_tap(world) in ("done", "already-done"), hex(kvn)
            world.assert_finished(2, hex(kvn))


def test_twelve_planted_key_sets_are_deleted_in_one_tap() -> None:
    world = issued(slots=20)
    world.plant(*(stranger(kvn) for kvn in range(0x10, 0x1C)))
    assert honest_tap(world) == "done"
    world.assert_finished(2)


def test_a_key_set_planted_while_the_card_is_issued_is_deleted_before_it_counts_as_issued() -> None:
    world = blank(slots=3)
    kiosk = Kiosk(world, "station")
    world.plant(stranger(0x15))
    kiosk.hearsay = told(0xFF)  # it was hidden when the bystanders were read
    assert tap(kiosk, "issue") == "issued"
    world.assert_finished(1)


@pytest.mark.slow
def test_hearsay_never_makes_the_engine_delete_the_krk_a_bystander_or_a_version_that_means_all() -> None:
    for named in subsets((0x00, 0x05, 0x31, 0x32, 0x35, KRK, 0x80, 0xFF)):
        world = issued(bystanders=TOKEN, slots=3)
        world.plant(stranger(0x35))
        tap(Kiosk(world, "k1", hearsay=told(*sorted(named))))
        assert honest_tap(world) in ("done", "already-done"), named
        world.assert_finished(2, named)
        deleted = {kvn for one in world.log if isinstance(one, Intent) and one.number > 3 for kvn in one.deletes}
        assert deleted <= {0x31, 0x32, 0x35}, named


@pytest.mark.parametrize("kvn", [0x30, 0x31, 0x35, 0x3D, KRK, 0x3F], ids=hex)
def test_a_card_with_a_foreign_key_set_in_our_range_is_not_issued_and_not_touched(kvn: int) -> None:
    world = blank(others=tuple(KeyEntry(kid, kvn, ((0x88, 16),)) for kid in (1, 2, 3)))
    before = memory_of(world)
    for _ in range(2):
        assert honest_tap(world, "issue") == "card-unfit"
    assert memory_of(world) == before
    assert world.state == CardState()


def test_bystanders_stay_through_issuance_and_every_replacement() -> None:
    world = issued(bystanders=TOKEN)
    assert honest_tap(world) == "done"
    assert world.card.memory.others == TOKEN
    world.assert_finished(2)


def test_a_thief_who_took_a_bystander_away_keeps_the_case_open_and_the_new_set_is_there() -> None:
    """Nothing is closed that is not exactly as recorded: an operator must look at this card."""
    world = issued(bystanders=TOKEN)
    world.card.memory = world.card.memory.without(0x05)
    for _ in range(2):
        assert honest_tap(world) == "not-finished"
    assert world.state.open
    assert world.card.kvns == {KRK, 0x32}


def test_a_thief_who_added_a_key_to_the_krks_version_keeps_the_case_open_and_the_krk_is_not_deleted() -> None:
    """It can go only with the whole set, and that set is what opens the card."""
    world = issued()
    world.card.memory = replace(world.card.memory, others=(KeyEntry(4, KRK, ((0x88, 16),)),))
    for _ in range(2):
        assert honest_tap(world) == "not-finished"
    assert world.state.open
    assert world.card.kvns == {KRK, 0x32}


class Watched(Kiosk):
    """A terminal that keeps a list of the instructions it sent."""

    def __post_init__(self) -> None:
        self.sent: list[int] = []

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        self.sent.append(command[1])
        return Kiosk.transmit(self, script, command)


def test_a_card_whose_krk_was_overwritten_is_never_authenticated_to_and_is_charged_to_the_terminal_alone() -> None:
    world = issued()
    world.plant(stranger(KRK))
    before, lease = memory_of(world), world.lease
    for name in ("k1", "k1", "k2"):
        kiosk = Watched(world, name)
        assert tap(kiosk) == "wrong-cryptogram"
        assert kiosk.sent == [INS.INITIALIZE_UPDATE]
    assert world.charged == {"k1": 2, "k2": 1}
    assert (memory_of(world), world.lease) == (before, lease)
    assert not world.state.open


def test_the_profile_keeps_its_slots_inside_its_own_range() -> None:
    profile = DEFAULT_PROFILE
    assert {profile.master_kvn(generation) for generation in range(100)} == set(range(0x30, 0x3E))
    assert {profile.master_kvn(1), profile.krk_kvn} < set(profile.our_kvns)
    assert profile.factory_kvn not in profile.our_kvns
