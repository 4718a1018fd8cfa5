"""Terminals that lie twice, swap, replay and relabel: they can delay a card, never make a case close falsely.

Every closing in these runs is compared with the card's memory, keys included, at the moment it is written.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.profile import DEFAULT_PROFILE, identify_steps
from kioskd.rekey.records import Purpose
from kioskd.rekey.wire import CardReport, End, Report, Script
from tests.rekey.world import KRK, Kiosk, World, blank, honest_tap, issued, late, stranger, talk, tap

Lie = Callable[[bytes], bytes]


def keys_of(*kvns: int) -> bytes:
    """Key information of these sets."""
    entries = tuple(entry for kvn in kvns for entry in DEFAULT_PROFILE.entries(kvn))
    return KeyInformation(entries).encode() + b"\x90\x00"


LIES: dict[str, Lie] = {
    "another status word": lambda raw: raw[:-2] + (b"\x6a\x88" if raw[-2:] == b"\x90\x00" else b"\x90\x00"),
    "one bit": lambda raw: bytes((raw[0] ^ 1,)) + raw[1:],
    "only a status word": lambda _: b"\x90\x00",
    "the key information that is wanted": lambda _: keys_of(KRK, 0x32),
    "the key information of before": lambda _: keys_of(KRK, 0x31),
}


class Forger(Kiosk):
    """Bends the answers at some places, counted over the identify script and all reports of a tap."""

    def __post_init__(self) -> None:
        self.lies: dict[int, Lie] = {}
        self.count = len(identify_steps(DEFAULT_PROFILE))
        self.bend = self._forge

    def identify(self) -> tuple[bytes, ...]:
        honest = Kiosk.identify(self)
        return tuple(self.lies[at](raw) if at in self.lies else raw for at, raw in enumerate(honest))

    def _forge(self, _: Script, report: Report) -> Report:
        answers = []
        for raw in report.answers:
            answers.append(self.lies[self.count](raw) if self.count in self.lies else raw)
            self.count += 1
        return replace(report, answers=tuple(answers))


def lying_tap(world: World, lies: dict[int, Lie], purpose: str = "replace") -> str:
    """A tap at a forger."""
    kiosk = Forger(world, "k1")
    kiosk.lies = lies
    return tap(kiosk, purpose)


def answers_in(world: World, purpose: str) -> int:
    """How many answers a tap has."""
    kiosk = Forger(world, "k1")
    tap(kiosk, purpose)
    return kiosk.count


@pytest.mark.slow
def test_any_two_lies_in_a_tap_close_nothing_falsely_and_the_next_tap_finishes() -> None:
    count = answers_in(issued(), "replace")
    assert count == 10
    for one, other in itertools.combinations(range(count), 2):
        for lie, second in itertools.product(LIES.values(), repeat=2):
            world = issued(slots=3)
            lying_tap(world, {one: lie, other: second})
            assert honest_tap(world) in ("done", "already-done"), (one, other)
            world.assert_finished(2, (one, other))


@pytest.mark.slow
def test_any_two_lies_about_a_card_with_a_planted_key_set_do_not_hide_it() -> None:
    for one, other in itertools.combinations(range(3, 10), 2):
        for lie, second in itertools.product(LIES.values(), repeat=2):
            world = issued(slots=3)
            world.plant(stranger(0x37))
            lying_tap(world, {one: lie, other: second})
            assert honest_tap(world) in ("done", "already-done"), (one, other)
            world.assert_finished(2, (one, other))


@pytest.mark.slow
def test_any_two_lies_in_the_reports_of_a_station_count_no_card_falsely() -> None:
    identified = len(identify_steps(DEFAULT_PROFILE))
    count = answers_in(blank(), "issue")
    assert count == identified + 16, "three of them its further ids"
    lies = [LIES[name] for name in ("another status word", "one bit", "the key information of before")]
    for one, other in itertools.combinations(range(identified, count), 2):
        for lie, second in itertools.product(lies, repeat=2):
            world = blank()
            lying_tap(world, {one: lie, other: second}, "issue")
            assert honest_tap(world, "issue") in ("issued", "already-issued"), (one, other)
            world.assert_finished(1, (one, other))


def test_a_report_under_another_end_or_cut_short_closes_only_what_its_answers_prove() -> None:
    for end in End:
        for length in range(6):
            world = issued()
            kiosk = Kiosk(world, "k1")
            kiosk.bend = lambda script, report, end=end, length=length: (
                replace(report, end=end, answers=report.answers[:length]) if script.number else report
            )
            tap(kiosk)
            assert honest_tap(world) in ("done", "already-done"), (end, length)
            world.assert_finished(2, (end, length))


def test_a_torn_script_that_is_claimed_complete_closes_nothing() -> None:
    """The script stops before each of its commands; the liar fills up with answers of an earlier, whole tap."""
    donor = issued()
    whole = Kiosk(donor, "k1")
    assert tap(whole) == "done"
    old = whole.seen[-1][1].answers
    for length in range(1, len(old)):
        world = issued()
        kiosk = Kiosk(world, "k1")

        def stop(script: Script, command: bytes, kiosk: Kiosk = kiosk, length: int = length) -> bytes | None:
            if script.number and script.steps.index(next(s for s in script.steps if s.command == command)) >= length:
                return None
            return Kiosk.transmit(kiosk, script, command)

        kiosk.bend = lambda script, report: (
            replace(report, end=End.COMPLETE, answers=(*report.answers, *old[len(report.answers) :]))
            if script.number
            else report
        )
        outcome = talk(_with(kiosk, stop)).finish()
        # A second, shorter script (a mere proof) may have run to its end within the same tap.
        assert outcome == "not-finished" or world.state.intents[-1].purpose is Purpose.VERIFY, length
        assert world.state.open == (outcome == "not-finished")
        assert honest_tap(world) in ("done", "already-done"), length
        world.assert_finished(2, length)


def _with(kiosk: Kiosk, transmit: Callable[[Script, bytes], bytes | None]) -> Kiosk:
    """The terminal with another way to the card."""

    class Bent(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            return transmit(script, command)

    return Bent(kiosk.world, kiosk.name, bend=kiosk.bend)


def test_the_answers_of_one_script_prove_nothing_about_another() -> None:
    """Reports are swapped between the scripts of one card, of two taps, in both directions, digests set right."""
    world = issued()
    torn = Kiosk(world, "k1", bend=lambda s, r: replace(r, end=End.TORN, answers=r.answers[:1]) if s.number else r)
    assert tap(torn) == "card-pulled-in-doubt"
    again = world.fork()
    first = next(pair for pair in torn.seen if pair[0].number)
    replaying = Kiosk(again, "k2")
    replaying.bend = lambda s, r: (
        replace(first[1], number=s.number, digest=s.digest, end=End.COMPLETE) if s.number else r
    )
    assert tap(replaying) == "not-finished"
    assert again.state.open
    second = next(pair for pair in replaying.seen if pair[0].number)
    swapped = Report(first[0].number, first[0].digest, End.COMPLETE, second[1].answers)
    assert late(again, CardReport(first[0].card, swapped)).finish() is True
    assert again.state.open
    assert honest_tap(again) == "done"
    again.assert_finished(2)


def test_a_report_for_a_script_that_the_server_never_sent_is_not_taken() -> None:
    world = issued()
    before = list(world.log)
    number = max(one.number for one in world.state.intents)
    for invented in (Report(number, bytes(32), End.COMPLETE, ()), Report(number + 1, bytes(32), End.COMPLETE, ())):
        assert late(world, CardReport(str(world.subject.card), invented)).finish() is False
    known = world.state.intents[-1]
    foreign = CardReport("cplc:00112233445566778899", Report(known.number, known.digest, End.COMPLETE, ()))
    assert late(world, foreign).finish() is False
    assert late(world, CardReport("no card at all", foreign.report)).finish() is False
    assert world.log == before


def test_an_old_key_information_under_a_right_mac_of_another_session_is_refused() -> None:
    """The planted set is in slot 37; the liar shows what an honest session of the same card said before."""
    world = issued(slots=3)
    honest = Kiosk(world, "k1")
    assert tap(honest) == "done"
    clean = honest.seen[-1][1].answers[-2]
    attacked = issued(slots=3)
    attacked.plant(stranger(0x37))
    liar = Kiosk(attacked, "k1", hearsay=keys_of(KRK, 0x31))
    liar.bend = lambda s, r: (
        replace(r, answers=(*r.answers[:-2], clean, r.answers[-1])) if s.number and len(r.answers) > 3 else r
    )
    assert tap(liar) == "not-finished"
    assert attacked.state.open
    assert honest_tap(attacked) == "done"
    attacked.assert_finished(2)


def test_a_greeting_of_the_old_key_set_under_the_new_ones_name_proves_nothing() -> None:
    """INITIALIZE UPDATE's answer names its key version without a MAC: a liar may rewrite it."""
    world = issued()

    class Renaming(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            if not script.number or command[1] != 0x50:
                return None if script.number and command[1] in (0xE4, 0xD8) else Kiosk.transmit(self, script, command)
            raw = self.world.card.transmit(bytes((*command[:2], 0x31, *command[3:])))
            return raw[:10] + b"\x32" + raw[11:]

    liar = Renaming(world, "k1", obeys=False)
    liar.bend = lambda s, r: (
        replace(r, end=End.COMPLETE, answers=(r.answers[0], *(b"\x90\x00",) * 3, _greeted(liar, s))) if s.number else r
    )
    assert tap(liar) in ("not-finished", "bad-message")
    assert 0x31 in world.card.kvns and world.state.open
    assert all(one.proven_master is None for n, one in world.state.found.items() if n > 3)
    assert honest_tap(world) == "done"
    world.assert_finished(2)


def _greeted(liar: Kiosk, script: Script) -> bytes:
    return liar.transmit(script, script.steps[-1].command) or b""


def test_another_card_of_ours_cannot_stand_in_for_the_one_that_is_named() -> None:
    named, other = issued(), issued()
    assert honest_tap(other) == "done"
    other_card = blank(serial=b"\x00\x00\x00\x07")
    assert honest_tap(other_card, "issue") == "issued"
    kiosk = Kiosk(named, "k1")
    answers = kiosk.identify()
    named.card = other_card.card
    before = named.card.memory.sets
    assert talk(kiosk, answers=answers).finish() == "wrong-cryptogram"
    assert {one.kvn for one in named.card.memory.sets} == {one.kvn for one in before}
    assert named.charged == {"k1": 1}
