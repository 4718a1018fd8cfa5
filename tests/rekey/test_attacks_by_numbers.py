"""Generations that share a slot, generations that go backwards, install numbers that come twice."""

import itertools
from dataclasses import replace

import pytest

from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.records import Intent
from kioskd.rekey.wire import End
from tests.rekey.vaults import armed
from tests.rekey.world import KRK, Kiosk, World, honest_tap, issued, memory_of, talk

LAST = 17
CUTS = ("note", "transmit", "keep", "report", "append")


@pytest.mark.slow
def test_any_later_generation_is_installed_unless_it_falls_on_the_present_slot() -> None:
    for generation in range(2, LAST):
        world = issued(generation)
        before = memory_of(world)
        outcome = honest_tap(world)
        if DEFAULT_PROFILE.master_kvn(generation) == 0x31:
            assert (outcome, memory_of(world)) == ("kvn-taken", before)
        else:
            assert outcome == "done"
            world.assert_finished(generation)


def test_a_card_never_goes_back_to_a_generation_that_it_has_left() -> None:
    """An older sealed vault file was put back, or another access server has not had the last bundle yet."""
    for newer in range(3, LAST):
        if DEFAULT_PROFILE.master_kvn(newer) == 0x31:
            continue
        world = issued(newer)
        assert honest_tap(world) == "done"
        for older in range(2, newer):
            world.keys = armed(older)
            before = memory_of(world)
            assert honest_tap(world) == "not-armed", (newer, older)
            assert memory_of(world) == before
        world.assert_finished(newer)


def test_a_card_in_doubt_about_a_newer_generation_is_not_given_an_older_one() -> None:
    for at in cuts():
        world = issued(3)
        cut(world, at)
        begun = world.state.open
        world.keys = armed(2)
        if begun:
            assert honest_tap(world) == "not-armed"
        world.keys = armed(3)
        assert honest_tap(world) in ("done", "already-done")
        world.assert_finished(3, at)


def cuts() -> list[int]:
    """The points of a tap at which something was written, sent or heard."""
    whole = talk(Kiosk(issued(), "k1"))
    whole.finish()
    return [at for at, name in enumerate(whole.points) if name in CUTS]


def cut(world: World, at: int) -> None:
    """A tap that ends there, for everybody."""
    begun = talk(Kiosk(world, "k1"))
    begun.steps(at + 1)
    begun.cut()
    world.card.reset()


def test_a_torn_card_is_finished_by_any_newer_generation_also_one_in_the_slot_of_the_torn_one() -> None:
    """Generation 2 is in doubt in slot 32 when the server is armed with another, among them 16: slot 32 again."""
    for at, newer in itertools.product(cuts(), (3, 9, 14, 16)):
        world = issued(2)
        cut(world, at)
        world.keys = armed(newer)
        finished = not world.state.open and world.state.closed is not None and world.state.closed.master.generation == 2
        outcome = honest_tap(world)
        if finished and newer == 16:
            assert outcome == "kvn-taken"
        else:
            assert outcome == "done", (at, newer)
            world.assert_finished(newer, (at, newer))


def test_two_generations_of_one_slot_are_told_apart_by_the_cryptogram_also_if_the_delete_failed() -> None:
    """Slot 32 holds generation 2, unproven; generation 16 is sent there; the card keeps the old one."""
    world = issued(2)
    liar = Kiosk(world, "k1", bend=lambda s, r: replace(r, end=End.TORN, answers=r.answers[:1]) if s.number else r)
    assert talk(liar).finish() == "card-pulled-in-doubt"
    assert world.card.kvns == {KRK, 0x32}
    world.keys = armed(16)
    for fails in itertools.chain.from_iterable(itertools.combinations(range(2, 7), size) for size in range(6)):
        again = world.fork()
        again.card.fails_at, again.card.fails_with = frozenset(fails), 0x6A88
        talk(Kiosk(again, "k2", obeys=False)).finish()
        state = again.state
        assert state.closed is not None
        if not state.open:
            again.assert_finished(16, fails)
        assert honest_tap(again) in ("done", "already-done"), fails
        again.assert_finished(16, fails)


@pytest.mark.slow
def test_no_key_set_is_ever_put_twice_under_one_install_number() -> None:
    """Putting the same set again would zero the card's challenge counter, and a recorded session would fit again."""
    for first, second in itertools.product(cuts(), repeat=2):
        world = issued(2)
        cut(world, first)
        cut(world, second)
        assert honest_tap(world) in ("done", "already-done")
        installs = [one.master or one.cryptogram for one in world.log if isinstance(one, Intent) and one.put_kvn]
        numbers = [one.install for one in installs if one is not None]
        assert len(numbers) == len(set(numbers)) and numbers == sorted(numbers), (first, second)


def test_a_torn_card_waits_while_the_server_is_armed_with_the_slot_of_its_last_proven_set() -> None:
    """Slot 32: generation 2 is proven, 3 is torn, 16 would share the slot. It keeps its KRK; 17 finishes it."""
    world = issued(2)
    assert honest_tap(world) == "done"
    world.keys = armed(3)
    torn = Kiosk(world, "k1")
    begun = talk(torn)
    while torn.world.card.kvns != {KRK}:
        begun.step()
    begun.cut()
    world.keys = armed(16)
    assert honest_tap(world) == "kvn-taken"
    world.assert_something_opens_the_card()
    world.keys = armed(17)
    assert honest_tap(world) == "done"
    world.assert_finished(17)
