"""Attacks on the KRK's rotation: cards that keep both sets, thieves, two terminals, two lies, stores put back."""

import itertools
from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS, CommandAPDU, ResponseAPDU
from kioskd.rekey.notices import HandedBack, Restored
from kioskd.rekey.records import Purpose
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.test_attacks_by_kiosks import assert_one_conversation
from tests.rekey.test_attacks_by_liars import LIES, keys_of, lying_tap
from tests.rekey.test_rotation import NEW_MASTER, OTHER, assert_rotated, closings, due, finish, krk_of, replaced_card
from tests.rekey.vaults import armed, both, rotating
from tests.rekey.world import KRK, AttackedCard, Kiosk, World, deliver, honest_tap, stranger, talk, tap


class KeepsBoth(AttackedCard):
    """A card that puts the new set, and does not take away the one that it replaces."""

    def _done(self, command: CommandAPDU) -> ResponseAPDU:
        kept = self.memory.at(command.p1) if command.ins == INS.PUT_KEY and command.p1 else None
        response = AttackedCard._done(self, command)
        if kept is not None and response.ok and self.memory.at(kept.kvn) is None:
            self.memory = self.memory.having(kept)
        return response


def test_a_card_that_keeps_both_sets_is_brought_back_to_the_old_one_and_not_asked_again() -> None:
    world = replaced_card()
    old, card = krk_of(world), KeepsBoth(options=replace(world.card.options, slots=3))
    card.memory = world.card.memory
    world.card = card
    for _ in range(3):
        tap(Kiosk(world))
    world.assert_finished(2)
    assert krk_of(world) == old and world.card.kvns == {KRK, NEW_MASTER}
    count = len(world.log)
    assert tap(Kiosk(world)) == "already-done"
    assert len(world.log) == count, "asked again"


@pytest.mark.slow
def test_any_two_lies_in_a_rotation_close_nothing_falsely_and_a_good_terminal_finishes() -> None:
    lies = {
        **LIES,
        "the rotated sets": lambda _: keys_of(OTHER, NEW_MASTER),
        "the sets of before": lambda _: keys_of(KRK, NEW_MASTER),
    }
    for one, other in itertools.combinations(range(9), 2):
        for lie, second in itertools.product(lies.values(), repeat=2):
            world = replaced_card()
            lying_tap(world, {one: lie, other: second})
            finish(world, (one, other))


@pytest.mark.slow
@pytest.mark.parametrize("moved", [False, True], ids=["both have it", "it is carried"])
def test_two_terminals_with_one_card_never_both_rotate_and_the_next_tap_finishes(moved: bool) -> None:
    """The first runs to a point, the second to another, the first to its end, the second to its end."""
    count = len(points(replaced_card()))
    for first, second in itertools.product(range(1, count), range(1, count + 8)):
        world = replaced_card()
        known = len(world.log)
        earlier, later = talk(Kiosk(world, "k1")), talk(Kiosk(world, "k2"))
        earlier.steps(first)
        if moved:
            world.card.reset()
        later.steps(second)
        if moved:
            world.card.reset()
        earlier.finish()
        later.finish()
        assert_one_conversation(world, known)
        finish(world, (first, second))


def test_a_look_that_did_not_come_back_is_repeated_under_the_proven_master_set() -> None:
    """A second terminal saw the rotation under way, and only looked; the first had finished it meanwhile."""
    world = replaced_card()
    earlier, later = talk(Kiosk(world, "k1")), talk(Kiosk(world, "k2"))
    earlier.steps(24)
    later.steps(9)
    earlier.finish()
    later.finish()
    looks = [one for one in world.state.intents if one.purpose is Purpose.LOCATE]
    assert looks, "the trace is another one by now"
    finish(world)


@pytest.mark.slow
def test_a_late_report_at_any_moment_of_the_next_tap_does_no_harm() -> None:
    names = points(replaced_card())
    for first in (at for at, name in enumerate(names) if name in ("keep", "report", "ack")):
        begun = replaced_card()
        cut_tap(begun, first, "k1")
        for moment in range(len(points(begun.fork()))):
            world = begun.fork()
            now = talk(Kiosk(world, "k2"))
            now.steps(moment + 1)
            deliver(Kiosk(world, "k1"))
            now.finish()
            finish(world, (first, moment))


def cut_after_the_put(world: World) -> None:
    """The card has the new KRK; the terminal died, and its journal is lost with it."""
    names = points(world.fork())
    put = next(at for at, name in enumerate(names) if name == "transmit" and at > names.index("note"))
    cut_tap(world, put + 1, "k1")
    assert world.card.kvns == {OTHER, NEW_MASTER}
    world.notes.clear()


def test_an_epoch_that_is_armed_while_its_first_card_is_under_way_changes_nothing_for_it() -> None:
    world = replaced_card()
    cut_after_the_put(world)
    later = world.fork(rotating(2))
    later.rotates = False
    assert tap(Kiosk(later)) in ("done", "already-done")
    assert_rotated(later) if later.state.masters[-1].generation == 2 else later.assert_finished(3)
    assert krk_of(later).epoch == 2


def test_an_epoch_that_issues_no_more_leaves_a_rotation_that_happened_where_it_is() -> None:
    world = replaced_card()
    cut_after_the_put(world)
    ended = world.fork(armed())
    assert tap(Kiosk(ended)) == "done"
    assert_rotated(ended)


def test_a_thief_who_plants_a_set_in_the_other_slot_before_the_replacement_is_cleared_away() -> None:
    world = due(slots=3)
    world.plant(stranger(OTHER))
    assert tap(Kiosk(world)) == "done"
    finish(world)


@pytest.mark.slow
@pytest.mark.parametrize("journal", [True, False], ids=["with the journal", "without"])
def test_a_store_put_back_at_any_point_of_a_rotation_closes_nothing_falsely(journal: bool) -> None:
    """With the journal's cryptograms and every epoch armed, the card is always opened again."""
    for at in range(len(points(replaced_card()))):
        world = replaced_card()
        before = list(world.log)
        cut_tap(world, at, "k1")
        world.ledger.log[:] = [*before, Restored(1)]
        world.notes.clear()
        if journal:
            known = world.state.krks
            world.ledger.log += [HandedBack(one) for one in world.cryptograms if one not in known]
        opened = world.fork(both())
        opened.rotates = False
        outcome = honest_tap(opened)
        if journal or opened.card.memory.at(KRK) is not None:
            assert not opened.state.open, (at, outcome)
            opened.assert_closed_truly()
        else:
            assert opened.state.open, (at, "closed with a KRK that no record knows")


@pytest.mark.slow
@pytest.mark.parametrize("obeys", [True, False], ids=["good terminals", "terminals that never stop"])
def test_a_card_that_fails_different_commands_in_two_taps_is_finished_by_a_third(obeys: bool) -> None:
    for first, second in itertools.product(range(6), range(7)):
        world = replaced_card()
        for failing in (first, second):
            world.card.fails_at, world.card.count = frozenset((failing,)), 0
            tap(Kiosk(world, "k1", obeys=obeys))
        assert honest_tap(world) in ("done", "nothing-to-do", "already-done"), (first, second)
        world.assert_finished(2, (first, second))


def test_a_report_of_the_replacement_is_no_evidence_about_the_rotation() -> None:
    world = due()
    kiosk = Kiosk(world)
    assert tap(kiosk) == "done"
    (replaced,) = (one for one in world.state.intents if one.purpose is Purpose.REPLACE)
    (rotated,) = (one for one in world.state.intents if one.purpose is Purpose.ROTATE)
    assert replaced.digest != rotated.digest and rotated.number == replaced.number + 1
    count = len(closings(world))
    deliver(kiosk)
    assert len(closings(world)) == count
