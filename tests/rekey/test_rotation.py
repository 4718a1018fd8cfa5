"""The KRK's rotation: after a replacement the card gets one that its access server cannot compute again."""

import itertools
from dataclasses import replace

import pytest

from kioskd.errors import LinkLost, NotArmed
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.records import Closed, Intent, KrkProof, Purpose, Receipt
from kioskd.rekey.wire import CardReport, End, Report, Script
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.test_attacks_by_liars import Forger, keys_of, lying_tap
from tests.rekey.vaults import armed, rotating
from tests.rekey.world import KRK, Kiosk, World, deliver, honest_tap, issued, late, stranger, tap

OTHER = 0x3F
NEW_MASTER = 0x32


def due(**options: object) -> World:
    """A card of generation 1 and epoch 1; the server is armed for both, and epoch 2 issues."""
    world = issued().fork(rotating(1), **options)
    world.rotates = True
    return world


def krk_of(world: World) -> Cryptogram:
    """The replacement set that the case was closed with."""
    closed = world.state.closed
    assert closed is not None
    return closed.krk


def closings(world: World) -> list[Closed]:
    """Every closing since issuance."""
    return [one for one in world.log if isinstance(one, Closed) and one.purpose is not Purpose.CONCLUDE]


def assert_rotated(world: World, context: object = "") -> None:
    """The case is closed, truly, with generation 2 and a KRK of epoch 2 in the other slot."""
    world.assert_finished(2, context)
    assert (krk_of(world).epoch, krk_of(world).kvn) == (2, OTHER), context
    assert world.card.kvns == {OTHER, NEW_MASTER}, context


def finish(world: World, context: object = "") -> None:
    """At most two taps at a good terminal finish the card, and the one after has nothing to do."""
    outcomes = [honest_tap(world) for _ in range(2)]
    assert set(outcomes) <= {"done", "already-done", "nothing-to-do"}, (context, outcomes)
    assert_rotated(world, context)


# --- what it does -----------------------------------------------------------------------------------------------------


def test_a_replaced_card_gets_a_krk_that_its_access_server_cannot_compute() -> None:
    world = due()
    old = krk_of(world)
    assert tap(Kiosk(world)) == "done"
    assert_rotated(world)
    new = krk_of(world)
    assert world.keys.recover_krk(old, world.subject.krk_label(1, old.install, old.kvn))
    with pytest.raises(NotArmed):
        world.keys.recover_krk(new, world.subject.krk_label(2, new.install, new.kvn))
    assert [one.purpose for one in closings(world)] == [Purpose.REPLACE, Purpose.ROTATE]
    last = closings(world)[-1]
    assert (last.krk_proof, last.receipt) == (KrkProof.CRYPTOGRAM, Receipt.MATCH)


def test_the_new_krk_leaves_after_the_new_master_set_is_proven_and_under_the_old_krk() -> None:
    world = due()
    kiosk = Kiosk(world)
    tap(kiosk)
    (script,) = (one for one, _ in kiosk.seen if one.cryptogram is not None)
    intent = next(one for one in world.log if isinstance(one, Intent) and one.number == script.number)
    assert intent.opened.kvn == KRK and not intent.deletes
    assert isinstance(world.log[world.log.index(intent) - 1], Closed)
    assert script.cryptogram in world.cryptograms


def test_without_being_told_to_or_without_a_newer_epoch_nothing_is_rotated() -> None:
    told, untold = issued().fork(armed()), due()
    told.rotates, untold.rotates = True, False
    for world in (told, untold):
        assert tap(Kiosk(world)) == "done"
        world.assert_finished(2)
        assert (krk_of(world).epoch, krk_of(world).kvn) == (1, KRK)


def test_a_card_that_was_replaced_before_is_rotated_at_its_next_tap() -> None:
    world = due()
    world.rotates = False
    assert tap(Kiosk(world)) == "done"
    world.rotates = True
    assert tap(Kiosk(world)) == "done"
    assert_rotated(world)
    assert tap(Kiosk(world)) == "nothing-to-do"


def test_the_rotated_krk_replaces_the_next_master_set_and_is_rotated_back_to_the_first_slot() -> None:
    world = due()
    tap(Kiosk(world))
    later = world.fork(rotating(2))
    kiosk = Kiosk(later)
    assert tap(kiosk) == "done"
    later.assert_finished(3)
    assert (krk_of(later).epoch, krk_of(later).kvn) == (3, KRK)
    # The KRK of epoch 1 was in this slot, too. Nobody asks the vault for it any more: its epoch may be destroyed.
    assert later.state.krk_candidates == (krk_of(later),)


# --- cuts, lies, failing cards ----------------------------------------------------------------------------------------


def test_one_cut_anywhere_is_repaired() -> None:
    count = len(points(due()))
    assert count > 60
    for at in range(count):
        world = due()
        cut_tap(world, at, "k1")
        finish(world, at)
        for name in ("k1", "honest"):
            deliver(Kiosk(world, name))
        assert_rotated(world, at)


@pytest.mark.slow
def test_any_two_cuts_are_repaired() -> None:
    begun = len(points(replaced_card()))
    for first in range(begun):
        once = replaced_card()
        cut_tap(once, first, "k1")
        for second in range(len(points(once.fork()))):
            world = once.fork()
            cut_tap(world, second, "k2")
            finish(world, (first, second))


def replaced_card() -> World:
    world = due()
    world.rotates = False
    assert tap(Kiosk(world)) == "done"
    world.rotates = True
    return world


@pytest.mark.slow
def test_one_lie_anywhere_closes_nothing_falsely_and_the_card_is_finished_by_a_good_terminal() -> None:
    lies = {
        "another status word": lambda raw: raw[:-2] + (b"\x6a\x88" if raw[-2:] == b"\x90\x00" else b"\x90\x00"),
        "one bit": lambda raw: bytes((raw[0] ^ 1,)) + raw[1:],
        "the key information that is wanted": lambda _: keys_of(OTHER, NEW_MASTER),
        "the key information of before": lambda _: keys_of(KRK, NEW_MASTER),
        "both": lambda _: keys_of(KRK, OTHER, NEW_MASTER),
    }
    kiosk = Forger(replaced_card(), "k1")
    tap(kiosk)
    for at, (name, lie) in itertools.product(range(kiosk.count), lies.items()):
        world = replaced_card()
        lying_tap(world, {at: lie})
        lying_tap(world, {at: lie})
        finish(world, (at, name))


@pytest.mark.slow
@pytest.mark.parametrize("obeys", [True, False], ids=["a good terminal", "a terminal that never stops"])
def test_a_card_that_fails_any_subset_of_a_rotation_is_finished_and_always_opened(obeys: bool) -> None:
    for size in range(1, 5):
        for failing in itertools.combinations(range(6), size):
            world = replaced_card()
            world.card.fails_at = frozenset(failing)
            tap(Kiosk(world, "k1", obeys=obeys))
            assert honest_tap(world) in ("done", "nothing-to-do", "already-done"), failing
            world.assert_finished(2, failing)


def test_a_report_that_comes_late_says_where_the_krk_is_and_that_its_key_was_not_seen() -> None:
    world = replaced_card()
    kiosk = Kiosk(world, "k1")
    kiosk.bend = _withheld
    tap(kiosk)
    assert world.state.rotating is not None
    deliver(kiosk)
    assert_rotated(world)
    assert closings(world)[-1].krk_proof is KrkProof.KEY_INFORMATION
    assert closings(world)[-1].receipt is Receipt.MATCH


def _withheld(script: Script, report: Report) -> Report:
    if script.cryptogram is not None:
        raise LinkLost("the line is gone")
    return report


def test_a_rotation_whose_report_is_lost_is_concluded_in_a_session_of_the_proven_master_set() -> None:
    world = replaced_card()
    kiosk = Kiosk(world, "k1")
    kiosk.bend = _withheld
    tap(kiosk)
    kiosk.journal.clear()
    assert tap(Kiosk(world, "k2")) == "done"
    assert_rotated(world)
    last = closings(world)[-1]
    assert (last.purpose, last.krk_proof, last.receipt) == (Purpose.LOCATE, KrkProof.KEY_INFORMATION, Receipt.LOST)


def test_key_information_in_the_clear_that_lies_about_the_slot_costs_a_greeting_and_no_attempt() -> None:
    for lie in (keys_of(KRK, NEW_MASTER), keys_of(OTHER, NEW_MASTER)):
        for cut in (True, False):
            world = replaced_card()
            if cut:
                _cut_before_put(world)
            else:
                kiosk = Kiosk(world, "k1")
                kiosk.bend = _withheld
                tap(kiosk)
                kiosk.journal.clear()
            assert tap(Kiosk(world, "k2", hearsay=lie)) == "done"
            assert_rotated(world, (lie, cut))
            assert not world.charged


def _cut_before_put(world: World) -> None:
    names = points(world.fork())
    cut_tap(world, names.index("note"), "k1")
    assert world.state.rotating is not None
    world.notes.clear()


def test_what_an_earlier_attempt_may_have_left_is_deleted_before_the_next_one() -> None:
    world = replaced_card()
    _cut_before_put(world)
    world.plant(stranger(OTHER))
    assert tap(Kiosk(world, "k2")) == "done"
    assert_rotated(world)


def test_a_stranger_in_the_other_slot_is_never_taken_for_the_new_krk() -> None:
    world = replaced_card()
    world.card.options = replace(world.card.options, slots=3)
    world.plant(stranger(OTHER))
    assert tap(Kiosk(world)) == "done"
    assert_rotated(world)


def test_a_wrong_receipt_never_closes_on_the_key_information() -> None:
    world = replaced_card()
    world.card.receipts_are_wrong = True
    kiosk = Kiosk(world)
    for _ in range(3):
        tap(kiosk)
    assert world.state.rotating is not None
    assert [one.purpose for one in closings(world)] == [Purpose.REPLACE]


def test_an_old_report_proves_nothing_about_a_newer_attempt() -> None:
    world = replaced_card()
    kiosk = Kiosk(world, "k1")
    _cut_before_put(world)
    (number,) = (one.number for one in world.state.intents if one.purpose is Purpose.ROTATE)
    kiosk.bend = _withheld
    tap(kiosk)
    (report,) = kiosk.journal.values()
    assert report.report.number > number
    old = next(one for one in world.state.intents if one.number == number)
    late(world, CardReport(report.card, Report(number, old.digest, End.COMPLETE, report.report.answers))).finish()
    assert world.state.rotating is not None
    deliver(kiosk)
    assert_rotated(world)


# --- cards that cannot ------------------------------------------------------------------------------------------------


def test_a_card_that_does_not_change_a_key_version_number_keeps_its_krk_and_is_not_asked_again() -> None:
    world = due(renumbers=False)
    old = krk_of(world)
    assert tap(Kiosk(world)) == "done"
    world.assert_finished(2)
    assert krk_of(world) == old
    assert [one.purpose for one in closings(world)] == [Purpose.REPLACE, Purpose.ROTATE]
    count = len(world.log)
    assert tap(Kiosk(world)) == "already-done"
    assert len(world.log) == count, "asked again"


def test_a_card_that_kept_its_krk_is_replaced_under_it_later() -> None:
    world = due(renumbers=False)
    tap(Kiosk(world))
    later = world.fork(armed(3))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(3)
    assert krk_of(later).epoch == 1


def test_a_rotation_that_was_begun_is_closed_also_if_no_epoch_issues_any_more() -> None:
    world = replaced_card()
    _cut_before_put(world)
    ended = world.fork(armed())
    assert tap(Kiosk(ended)) in ("done", "already-done")
    ended.assert_finished(2)
    assert (krk_of(ended).epoch, krk_of(ended).kvn) == (1, KRK)
