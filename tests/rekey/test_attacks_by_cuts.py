"""Cuts of the tap that repairs a cut, and reports that arrive at any time: nothing but delay."""

from collections.abc import Callable

import pytest

from kioskd.rekey.records import Found, Intent, Purpose
from kioskd.rekey.wire import CardReport, End
from tests.rekey.stepping import Talk
from tests.rekey.vaults import issuing
from tests.rekey.world import KRK, Kiosk, World, blank, deliver, honest_tap, issued, late, talk

RELAYED = ("transmit", "note", "keep", "append", "ack")


def points(world: World, purpose: str = "replace") -> list[str]:
    """The points of an undisturbed tap."""
    whole = talk(Kiosk(world, "k1"), purpose)
    whole.finish()
    return whole.points


def cut_tap(world: World, at: int, name: str, purpose: str = "replace") -> Talk:
    """A tap where terminal and server die before point `at`; the card loses power."""
    begun = talk(Kiosk(world, name), purpose)
    begun.steps(at + 1)
    begun.cut()
    world.card.reset()
    return begun


def cuts_of(make: Callable[[], World], purpose: str, *names: str) -> list[int]:
    """Which points of an undisturbed tap to cut at: all, or those of certain names."""
    return [at for at, name in enumerate(points(make(), purpose)) if not names or name in names]


@pytest.mark.slow
def test_any_two_cuts_are_repaired_by_a_third_tap_and_late_reports_change_nothing_any_more() -> None:
    for first in cuts_of(issued, "replace"):
        begun = issued()
        cut_tap(begun, first, "k1")
        for second in cuts_of(begun.fork, "replace"):
            world = begun.fork()
            cut_tap(world, second, "k2")
            assert honest_tap(world) in ("done", "already-done"), (first, second)
            world.assert_finished(2, (first, second))
            closed = world.state.closed
            for name in ("k2", "k1"):
                deliver(Kiosk(world, name))
                assert not world.notes.get(name), "a report that nobody takes"
            world.assert_finished(2, (first, second))
            assert world.state.closed == closed


@pytest.mark.slow
def test_any_two_cuts_of_the_relay_are_repaired_by_a_third_tap_at_the_station() -> None:
    for first in cuts_of(blank, "issue", *RELAYED):
        begun = blank()
        cut_tap(begun, first, "station", "issue")
        for second in cuts_of(begun.fork, "issue", *RELAYED):
            world = begun.fork()
            cut_tap(world, second, "station", "issue")
            assert honest_tap(world, "issue", "station") in ("issued", "already-issued"), (first, second)
            world.assert_finished(1, (first, second))


@pytest.mark.slow
def test_a_late_report_at_any_point_of_the_next_tap_does_no_harm() -> None:
    waiting = [at for at in cuts_of(issued, "replace") if at > points(issued()).index("note")]
    for first in waiting:
        begun = issued()
        cut_tap(begun, first, "k1")
        reports = list(begun.notes["k1"].values())
        for moment in cuts_of(begun.fork, "replace"):
            world = begun.fork()
            now = talk(Kiosk(world, "k2"))
            now.steps(moment + 1)
            for report in reports:
                late(world, report).finish()
            now.finish()
            assert honest_tap(world) in ("done", "already-done"), (first, moment)
            world.assert_finished(2, (first, moment))


@pytest.mark.slow
def test_reports_of_several_torn_taps_may_arrive_in_any_order() -> None:
    """Scripts are ordered by number: the oldest report, coming last, proves nothing about the card of today."""
    kept = [at for at in cuts_of(issued, "replace") if at > points(issued()).index("keep")]
    for first in kept[:4]:
        begun = issued()
        cut_tap(begun, first, "k1")
        for second in cuts_of(begun.fork, "replace", *RELAYED):
            torn = begun.fork()
            cut_tap(torn, second, "k2")
            one, other = (list(torn.notes.get(name, {}).values()) for name in ("k1", "k2"))
            for order in ((*one, *other), (*other, *one)):
                world = torn.fork()
                for report in order:
                    assert late(world, report).finish() is True
                if not world.state.open and world.state.closed is not None:
                    world.assert_closed_truly()
                assert honest_tap(world) in ("done", "already-done"), (first, second)
                world.assert_finished(2, (first, second))


def test_a_card_whose_script_ran_to_its_end_is_closed_by_its_report_without_another_tap() -> None:
    """Also if the server died between judging the report and closing the case, or had judged it already."""
    names = points(issued())
    for at in range(names.index("keep") + 1, len(names)):
        world = issued()
        kiosk = Kiosk(world, "k1")
        begun = talk(kiosk)
        begun.steps(at + 1)
        begun.cut()
        deliver(kiosk)
        world.assert_finished(2, names[at])
        assert not kiosk.journal, names[at]


def test_a_terminal_forgets_its_report_only_when_the_case_is_closed() -> None:
    names = points(issued())
    acknowledged = names.index("ack")
    assert names[acknowledged - 2 : acknowledged] == ["append", "append"]  # what was found, and the closing
    assert names.index("keep") < acknowledged


def test_a_second_report_of_the_same_script_takes_no_proof_away() -> None:
    """At a station with two readers the same report may be judged twice at once: once without the KRK's handle."""
    names = points(blank(), "issue")
    judged = [at for at, name in enumerate(names) if name == "keep"][1]  # of the script that installs the KRK
    for at in range(judged + 1, len(names)):
        world = blank()
        kiosk = Kiosk(world, "station")
        begun = talk(kiosk, "issue")
        begun.steps(judged + 2)
        (report,) = (one for one in kiosk.journal.values() if one.report.end is End.COMPLETE)
        twin = late(world, report)
        twin.steps(2)  # it has read the records, without what the conversation finds
        begun.steps(at - judged)
        twin.finish()
        begun.cut()
        world.card.reset()
        assert honest_tap(world, "issue") in ("issued", "already-issued"), names[at]
        world.assert_finished(1, names[at])


@pytest.mark.slow
def test_issuance_is_finished_also_if_the_server_turns_to_another_generation_in_between() -> None:
    for at in cuts_of(blank, "issue"):
        world = blank()
        begun = cut_tap(world, at, "station", "issue")
        world.keys = issuing(2)
        assert honest_tap(world, "issue") in ("issued", "already-issued"), begun.points[-1]
        state = world.state
        assert state.closed is not None and not state.open
        world.assert_closed_truly()
        gone = any(isinstance(one, Intent) and one.purpose is Purpose.CONCLUDE for one in world.log)
        assert gone and world.card.kvns == {KRK, state.closed.master.kvn}


def test_every_cryptogram_whose_put_key_may_have_left_stays_on_record() -> None:
    """The handle of a KRK dies with its conversation: the next tap mints another, and the first stays a candidate."""
    for at in cuts_of(blank, "issue", *RELAYED):
        world = blank()
        cut_tap(world, at, "station", "issue")
        assert honest_tap(world, "issue") in ("issued", "already-issued")
        assert set(world.cryptograms) <= set(world.state.krks)
        installs = [one.install for one in world.state.krks]
        assert len(installs) == len(set(installs))


def test_a_receipt_that_comes_late_and_does_not_match_keeps_the_case_open_whatever_proves_the_set() -> None:
    """The third key is proven by the receipt alone: a set that opens the card may still be unable to load keys."""
    world = issued()
    world.card.receipts_are_wrong = True
    first = Kiosk(world, "k1")
    torn = talk(first)
    while not first.seen or not first.seen[-1][0].number:
        torn.step()
    torn.cut()
    world.card.receipts_are_wrong = False
    world.card.reset()
    second = Kiosk(world, "k2")
    proving = talk(second)
    while not second.seen or not second.seen[-1][0].number:
        proving.step()
    proving.cut()
    world.card.reset()
    assert world.state.intents[-1].purpose is Purpose.VERIFY
    for script, report in (first.seen[-1], second.seen[-1]):
        assert late(world, CardReport(script.card, report)).finish() is True
    assert world.state.open
    assert honest_tap(world) == "done"
    world.assert_finished(2)
    closed = world.state.closed
    assert closed is not None and closed.receipt is closed.receipt.MATCH


def test_evidence_adds_up_in_any_order() -> None:
    world = issued()
    assert honest_tap(world) == "done"
    whole = [one for one in world.log if isinstance(one, Found)][-1]
    nothing = Found(whole.number, End.TORN, whole.receipt.LOST, None, None, None, forged=True)
    for both in (whole.and_also(nothing), nothing.and_also(whole)):
        assert both.receipt is whole.receipt
        assert both.key_information == whole.key_information
        assert both.proven_master == whole.proven_master
        assert both.forged
    mismatch = Found(whole.number, End.COMPLETE, whole.receipt.MISMATCH, None, None, None)
    assert mismatch.and_also(whole).receipt is whole.and_also(mismatch).receipt is whole.receipt.MISMATCH
