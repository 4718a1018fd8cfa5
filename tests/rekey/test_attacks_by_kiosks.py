"""Two conversations about one card at once, and certificates that were stolen: one card, one conversation."""

import itertools
from collections.abc import Callable

import pytest

from kioskd.access.office import Office
from kioskd.access.session import Session
from kioskd.access.taps import converse
from kioskd.errors import LinkLost
from kioskd.gp.apdu import INS
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.records import Found, Intent
from kioskd.rekey.wire import WIRE_VERSION, End, Head, Hello, Message, Report, ReportMessage, Script, Tap
from tests.rekey.stepping import Talk
from tests.rekey.world import KRK, Kiosk, World, blank, honest_tap, issued, late, memory_of, office, talk
from tests.rig import Rig

GOOD = ("done", "already-done", "issued", "already-issued")


def intents(world: World, known: int = 0) -> list[Intent]:
    """The intents written after the first so many records."""
    return [one for one in world.log[known:] if isinstance(one, Intent)]


def length(world: World, purpose: str) -> int:
    """How many points an undisturbed tap has."""
    whole = talk(Kiosk(world, "k1"), purpose)
    whole.finish()
    return len(whole.points)


def assert_one_conversation(world: World, known: int) -> None:
    """Who became firm later wrote later, and no two scripts of one number left."""
    written = intents(world, known)
    assert [one.fence for one in written] == sorted(one.fence for one in written), "a stale conversation wrote"
    assert len({one.number for one in written}) == len(written)
    taps: dict[int, str] = {}
    for one in written:
        assert taps.setdefault(one.fence, one.tap) == one.tap, "two conversations under one fence"


@pytest.mark.slow
@pytest.mark.parametrize("moved", [False, True], ids=["both have it", "it is carried"])
def test_two_kiosks_with_one_card_never_both_write_and_the_next_tap_finishes(moved: bool) -> None:
    """The first runs to a point, the second to another, the first to its end, the second to its end."""
    count = length(issued(), "replace")
    for first, second in itertools.product(range(1, count), range(1 + moved, count + 8, 1 + moved)):
        world = issued()
        known = len(world.log)
        one, other = Kiosk(world, "k1"), Kiosk(world, "k2")
        earlier, later = talk(one), talk(other)
        earlier.steps(first)
        if moved:
            world.card.reset()
        later.steps(second)
        if moved:
            world.card.reset()
        earlier.finish()
        later.finish()
        assert_one_conversation(world, known)
        assert honest_tap(world) in GOOD, (first, second)
        world.assert_finished(2, (first, second))


@pytest.mark.slow
def test_two_stations_with_one_card_never_both_write_and_the_next_tap_finishes() -> None:
    count = length(blank(), "issue")
    for first, second in itertools.product(range(1, count, 3), range(1, count + 10, 4)):
        world = blank()
        earlier, later = talk(Kiosk(world, "s1"), "issue"), talk(Kiosk(world, "s2"), "issue")
        earlier.steps(first)
        later.steps(second)
        earlier.finish()
        later.finish()
        assert_one_conversation(world, 0)
        assert honest_tap(world, "issue") in GOOD, (first, second)
        world.assert_finished(1, (first, second))


def test_a_conversation_whose_card_was_carried_away_writes_no_intent_any_more() -> None:
    world = issued()
    stale = talk(Kiosk(world, "k1"))
    while not stale.points or stale.points[-1] != "append":
        stale.step()  # it is about to write
    known = len(world.log)
    world.card.reset()
    assert talk(Kiosk(world, "k2")).finish() == "done"
    assert stale.finish() == "busy-elsewhere"
    assert {one.kiosk for one in intents(world, known)} == {"k2"}
    world.assert_finished(2)


def test_a_challenge_from_before_somebody_became_firm_takes_no_card_away() -> None:
    world = issued()
    early = talk(Kiosk(world, "k1"))
    while not early.points or early.points[-1] != "firm_lease":
        early.step()
    world.card.reset()
    begun = talk(Kiosk(world, "k2"))
    while not begun.points or begun.points[-1] != "note":
        begun.step()
    assert early.finish() == "busy-elsewhere"
    assert begun.finish() == "done"
    world.assert_finished(2)


class Thief(Kiosk):
    """A stolen certificate without the card: it says what the card said once, and invents the rest."""

    def __post_init__(self) -> None:
        self.heard = Kiosk.identify(Kiosk(issued(), "heard"))
        self.says: list[bytes] = [bytes(10) + bytes((KRK, 0x03, 0x70)) + bytes(19) + b"\x90\x00"]

    def identify(self) -> tuple[bytes, ...]:
        return self.heard

    async def run(self, script: Script, fence: int) -> Report:
        assert not script.number, "the server wrote a script for a thief"
        return Report(script.number, script.digest, End.COMPLETE, tuple(self.says[:1]))


def test_a_stolen_certificate_without_the_card_can_neither_quarantine_nor_lease_it() -> None:
    world = issued()
    outcomes = [talk(Thief(world, "stolen")).finish() for _ in range(8)]
    assert outcomes == ["wrong-cryptogram"] * 5 + ["attempts-spent"] * 3
    assert world.charged == {"stolen": 5}
    assert world.lease == issued().lease
    assert world.log == issued().log
    assert honest_tap(world) == "done"


def test_a_thief_who_talks_all_the_time_does_not_disturb_an_honest_tap() -> None:
    count = length(issued(), "replace")
    for at in range(count):
        world = issued()
        honest = talk(Kiosk(world, "k1"))
        honest.steps(at)
        assert talk(Thief(world, "stolen")).finish() in ("wrong-cryptogram", "already-done")
        assert honest.finish() == "done", at
        world.assert_finished(2, at)


def test_answers_that_are_no_answers_charge_nobody_and_open_nothing() -> None:
    """They end the tap before the vault is asked: there is nothing to charge."""
    for said in (b"\x90\x00", b"\x6a\x88", bytes(13) + b"\x90\x00", b"\x69\x83", bytes(258)):
        world = issued()
        thief = Thief(world, "stolen")
        thief.says = [said]
        begun = talk(thief)
        assert begun.finish() in ("scp-unsupported", "not-finished", "card-locked"), said.hex()
        assert "recover_krk" not in begun.points
        assert world.log == issued().log


def test_a_kiosk_may_not_issue_and_a_station_may_not_replace() -> None:
    for purpose, role in (("issue", "kiosk"), ("replace", "station"), ("anything", "kiosk")):
        world = issued()
        kiosk = Kiosk(world, "k1")
        head = Head(WIRE_VERSION, "k1", 1, "tap", 2, 0, "")
        answers = kiosk.identify()
        before = memory_of(world)
        asked = Talk(converse(office(world), "k1", role, Tap(head, purpose, answers, ()), kiosk))
        assert asked.finish() == "role-forbidden"
        assert (memory_of(world), kiosk.seen) == (before, [])


class Replaying(Kiosk):
    """Runs every script twice, the second time in a new connection of the same card."""

    def __post_init__(self) -> None:
        self.second: list[Report] = []

    async def run(self, script: Script, fence: int) -> Report:
        report = await Kiosk.run(self, script, fence)
        if script.number:
            again = Kiosk(self.world, self.name, session=self.session)
            self.second.append(await Kiosk.run(again, script, fence))
            again.identify()
            self.second.append(await Kiosk.run(again, script, fence))
        return report


def test_a_script_runs_once_in_its_own_connection_whoever_sends_it_again() -> None:
    world = issued()
    kiosk = Replaying(world, "k1")
    assert talk(kiosk).finish() == "done"
    assert [(one.end, one.answers) for one in kiosk.second] == [(End.REFUSED, ())] * 2
    world.assert_finished(2)


def test_the_commands_of_an_old_script_do_nothing_on_the_card_even_without_a_relay() -> None:
    """Somebody recorded a tap and plays its bytes to the card: alone, and behind each INITIALIZE UPDATE of the tap."""
    world = issued()
    recorded = Kiosk(world, "k1")
    assert talk(recorded).finish() == "done"
    greet, script = (one for one, _ in recorded.seen)
    before = {(one.kvn, one.enc) for one in world.card.memory.sets}
    for order in ((), (greet.steps[0].command,), (script.steps[-1].command,)):
        world.card.reset()
        for command in (*order, *(one.command for one in script.steps[:-1])):
            world.card.transmit(command)
        assert {(one.kvn, one.enc) for one in world.card.memory.sets} == before


def test_a_late_report_from_another_terminal_is_judged_by_its_proofs_alone() -> None:
    """Evidence is true whoever brings it; its kiosk's name opens no door."""
    world = issued()
    kiosk = Kiosk(world, "k1")
    begun = talk(kiosk)
    while not begun.points or begun.points[-1] != "report" or not kiosk.journal:
        begun.step()
    begun.cut()
    world.card.reset()
    (report,) = kiosk.journal.values()
    assert late(world, report, "somebody else").finish() is True
    assert isinstance(world.log[-2], Found)
    world.assert_finished(2)


class Bending(Kiosk):
    """Changes one bit of every answer to INITIALIZE UPDATE."""

    def __post_init__(self) -> None:
        self.at = 0

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        assert command[1] == INS.INITIALIZE_UPDATE, "it went on after a wrong cryptogram"
        raw = Kiosk.transmit(self, script, command) or b""
        return raw[: self.at] + bytes((raw[self.at] ^ 1,)) + raw[self.at + 1 :]


def test_every_wrong_cryptogram_ends_before_external_authenticate() -> None:
    """A liar bends each byte of the card's challenge and cryptogram in turn."""
    for at in range(13, 29):
        world = issued()
        kiosk = Bending(world, "k1")
        kiosk.at = at
        assert talk(kiosk).finish() == "wrong-cryptogram"
        assert world.charged == {"k1": 1}


class Flood:
    """A terminal's link on which everything is there at once."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count, self.sent, self.epoch = name, count, 0, 0

    async def send(self, message: Message) -> None:
        """Takes what the server says."""
        self.epoch = message.head.epoch

    async def receive(self) -> Message:
        """Hello, a tap, then reports without end."""
        self.sent += 1
        head = Head(WIRE_VERSION, self.name, self.epoch, "tap", self.sent, 0, "")
        if self.sent == 1:
            return Hello(head, "flood")
        if self.sent == 2:
            return Tap(head, "replace", Kiosk(issued()).identify(), ())
        if self.sent > self.count:
            raise LinkLost("it has had enough")
        return ReportMessage(head, Report(0, bytes(32), End.COMPLETE, ()))


async def _never() -> bool:
    """Whether the terminal is revoked."""
    return False


async def test_a_terminal_that_sends_more_reports_than_scripts_is_cut_off(issued_card: Callable[[], Rig]) -> None:
    rig = issued_card()
    link = Flood("k1", 1000)
    server = Office(rig.vault, rig.store, (DEFAULT_PROFILE,))
    try:
        await Session(server, "k1", "kiosk", link, _never).serve()
    finally:
        server.worker.shutdown()
    assert link.sent < 10
    assert not (await rig.state()).open
