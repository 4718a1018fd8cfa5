"""The terminal's half, driven by hand: what it lets through, and in which order it writes, sends and stops."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from kioskd.gp.apdu import INS, CommandAPDU
from kioskd.gp.isd import ISD_AID, get_data, initialize_update, select
from kioskd.gp.keys import KVN
from kioskd.rekey.asks import Ask, Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.profile import DEFAULT_PROFILE, fallback_steps, identify_steps
from kioskd.rekey.relay import CardSession, Forbidden, RelayPolicy, check, relay
from kioskd.rekey.wire import End, Report, Script, Step

POLICY = RelayPolicy((ISD_AID,), 0x33, (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF))
ANSWER = bytes(range(32))  # of an INITIALIZE UPDATE

GREET = initialize_update(KVN(0x3E), bytes(8))
OPEN = CommandAPDU(0x84, INS.EXTERNAL_AUTHENTICATE, 0x33, 0, bytes(16))
DELETE = CommandAPDU(0x84, INS.DELETE, 0, 0, bytes(24), 256)
PUT = CommandAPDU(0x84, INS.PUT_KEY, 0, 0x81, bytes(88), 256)
LOCK = CommandAPDU(0x84, INS.SET_STATUS, 0x80, 0x7F, bytes(8))
SECURE = CommandAPDU(0x84, INS.SET_STATUS, 0x80, 0x0F, bytes(8))
STATUS = CommandAPDU(0x84, INS.GET_STATUS, 0x80, 0x02, bytes(24), 256)
KEYS = CommandAPDU(0x84, INS.GET_DATA, 0, 0xE0, bytes(8), 256)
MORE = CommandAPDU(0x00, INS.GET_RESPONSE, 0, 0, le=256)


def bent(command: CommandAPDU, **changes: Any) -> CommandAPDU:
    """A command with something in it changed."""
    return replace(command, **changes)


ALLOWED: list[tuple[str, tuple[CommandAPDU, ...], bool]] = [
    ("SELECT of our security domain", (select(ISD_AID),), False),
    ("plain reads before authentication", (get_data(0x9F7F), get_data(0xE0), bent(get_data(0x66), cla=0)), False),
    ("INITIALIZE UPDATE", (GREET,), False),
    ("INITIALIZE UPDATE with a challenge of 16 bytes, for S16", (bent(GREET, data=bytes(16)),), False),
    ("INITIALIZE UPDATE of one set after another", (GREET, GREET, GREET), False),
    ("reads between INITIALIZE UPDATE and its session", (GREET, get_data(0xE0), OPEN), False),
    ("a whole session", (GREET, OPEN, DELETE, PUT, KEYS, GREET), False),
    ("a session on an answer that is still open", (OPEN, DELETE, PUT, KEYS, GREET), True),
    ("two sessions", (OPEN, KEYS, GREET, OPEN, KEYS), True),
    ("relocking and its proof", (OPEN, SECURE, STATUS, LOCK), True),
    ("the rest of a long answer", (OPEN, KEYS, MORE), True),
    ("the rest of a long answer before authentication", (get_data(0xE0), MORE), False),
]

FORBIDDEN: list[tuple[str, tuple[CommandAPDU, ...], bool, int]] = [
    ("a logical channel", (bent(get_data(0xE0), cla=0x01),), False, 1),
    ("a logical channel of a card manager's command", (bent(GREET, cla=0x81),), False, 1),
    ("a logical channel in a session", (OPEN, bent(KEYS, cla=0x85)), True, 2),
    ("a further logical channel", (bent(get_data(0xE0), cla=0x40),), False, 1),
    ("chained commands", (OPEN, bent(PUT, cla=0x94)), True, 2),
    ("SELECT of another application", (select(bytes.fromhex("A0000000041010")),), False, 1),
    ("SELECT of the beginning of our name", (select(ISD_AID[:-1]),), False, 1),
    ("SELECT of nothing, the default application", (bent(select(ISD_AID), data=b""),), False, 1),
    ("SELECT of the next application", (bent(select(ISD_AID), p2=0x02),), False, 1),
    ("SELECT of a file", (bent(select(ISD_AID), p1=0x00),), False, 1),
    ("SELECT in another class", (bent(select(ISD_AID), cla=0x80),), False, 1),
    ("SELECT in a session's class", (OPEN, bent(select(ISD_AID), cla=0x84)), True, 2),
    ("GET DATA of a tag that is not listed", (get_data(0x5F50),), False, 1),
    ("GET DATA of a tag that is not listed, in a session", (OPEN, bent(KEYS, p2=0xC1)), True, 2),
    ("a plain read in a session", (OPEN, get_data(0xE0)), True, 2),
    ("a secure read before a session", (KEYS,), False, 1),
    ("a secure read before a session, on an open answer", (KEYS,), True, 1),
    ("INITIALIZE UPDATE in a session's class", (OPEN, bent(GREET, cla=0x84)), True, 2),
    ("INITIALIZE UPDATE with a key identifier", (bent(GREET, p2=0x01),), False, 1),
    ("INITIALIZE UPDATE with a challenge of 12 bytes", (bent(GREET, data=bytes(12)),), False, 1),
    ("EXTERNAL AUTHENTICATE in the clear", (bent(OPEN, cla=0x80),), True, 1),
    ("EXTERNAL AUTHENTICATE without INITIALIZE UPDATE", (OPEN,), False, 1),
    ("EXTERNAL AUTHENTICATE twice", (GREET, OPEN, OPEN), False, 3),
    ("EXTERNAL AUTHENTICATE after SELECT", (GREET, select(ISD_AID), OPEN), False, 3),
    ("EXTERNAL AUTHENTICATE after SELECT, on an open answer", (select(ISD_AID), OPEN), True, 2),
    *(
        (f"EXTERNAL AUTHENTICATE at level {level:02X}", (GREET, bent(OPEN, p1=level)), False, 2)
        for level in (0x00, 0x01, 0x03, 0x11, 0x13, 0x30)
    ),
    *(
        (f"{INS(one.ins).name} in the clear", (OPEN, bent(one, cla=0x80)), True, 2)
        for one in (DELETE, PUT, LOCK, STATUS)
    ),
    *((f"{INS(one.ins).name} before authentication", (GREET, one), False, 2) for one in (DELETE, PUT, LOCK, STATUS)),
    *(
        (f"{INS(one.ins).name} after the session was relocked", (OPEN, GREET, one), True, 3)
        for one in (DELETE, PUT, LOCK, STATUS)
    ),
    ("PUT KEY after the session was left by SELECT", (OPEN, select(ISD_AID), PUT), True, 3),
    *((f"SET STATUS to {state:02X}", (OPEN, bent(LOCK, p2=state)), True, 2) for state in (0x01, 0x07, 0xFF)),
    ("GET RESPONSE with data", (bent(MORE, data=b"\x00"),), False, 1),
    ("GET RESPONSE in another class", (bent(MORE, cla=0x80),), False, 1),
    ("STORE DATA", (OPEN, CommandAPDU(0x84, INS.STORE_DATA, 0x90, 0, bytes(16))), True, 2),
    ("INSTALL", (OPEN, CommandAPDU(0x84, 0xE6, 0x0C, 0, bytes(16))), True, 2),
    ("LOAD", (OPEN, CommandAPDU(0x84, 0xE8, 0x80, 0, bytes(16))), True, 2),
    ("MANAGE CHANNEL", (CommandAPDU(0x00, 0x70, 0, 0, le=1),), False, 1),
    ("VERIFY, a PIN", (CommandAPDU(0x00, 0x20, 0, 0x80, bytes(8)),), False, 1),
    ("READ BINARY", (CommandAPDU(0x00, 0xB0, 0, 0, le=256),), False, 1),
    ("one foreign command after many good ones", (GREET, OPEN, DELETE, PUT, get_data(0xE0)), False, 5),
]


def steps(commands: Sequence[CommandAPDU], accept: tuple[int, ...] = (0x9000,)) -> tuple[Step, ...]:
    """The commands as steps that go on only at these status words."""
    return tuple(Step(command.encode(), accept) for command in commands)


@pytest.mark.parametrize(("commands", "greeted"), [case[1:] for case in ALLOWED], ids=[case[0] for case in ALLOWED])
def test_it_lets_through(commands: tuple[CommandAPDU, ...], greeted: bool) -> None:
    check(steps(commands), POLICY, greeted=greeted)


@pytest.mark.parametrize(
    ("commands", "greeted", "position"), [case[1:] for case in FORBIDDEN], ids=[case[0] for case in FORBIDDEN]
)
def test_it_refuses(commands: tuple[CommandAPDU, ...], greeted: bool, position: int) -> None:
    with pytest.raises(Forbidden) as refused:
        check(steps(commands), POLICY, greeted=greeted)
    assert str(refused.value).startswith(f"step {position}: ")


@pytest.mark.parametrize("raw", [b"", b"\x80\xca\x00", b"\x80\xe2\x00\x00\x05\xaa", bytes(300)], ids=len)
def test_it_refuses_what_is_no_command(raw: bytes) -> None:
    with pytest.raises(Forbidden):
        check((Step(raw, ()),), POLICY, greeted=False)


def test_the_identify_scripts_are_allowed() -> None:
    check((*identify_steps(DEFAULT_PROFILE), *fallback_steps()), POLICY, greeted=False)


@dataclass(slots=True)
class Hand:
    """Answers the relay's asks and notes their order; every command succeeds unless `replies` says otherwise."""

    replies: dict[int, bytes | None] = field(default_factory=dict)  # by position of the command, from 1
    elapsed_ms: list[int] = field(default_factory=list)  # one for each time that the clock is read, then 0
    asked: list[Ask[Any]] = field(default_factory=list)
    sent: int = 0

    def run(self, script: Script, session: CardSession | None = None) -> tuple[Report, CardSession]:
        """The relay's result."""
        conversation = relay(script, POLICY, session or CardSession())
        reply: Any = None
        while True:
            try:
                ask = conversation.send(reply)
            except StopIteration as end:
                result: tuple[Report, CardSession] = end.value
                return result
            self.asked.append(ask)
            reply = self._answer(ask)

    def _answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Elapsed():
                return self.elapsed_ms.pop(0) if self.elapsed_ms else 0
            case Transmit(command):
                self.sent += 1
                data = ANSWER if command[1] == INS.INITIALIZE_UPDATE else b""
                return self.replies.get(self.sent, data + b"\x90\x00")
        return None

    @property
    def order(self) -> str:
        """What was asked, clock readings left out: N a note, K a kept report, else the instruction."""
        marks = {NoteInDoubt: "N", KeepReport: "K"}
        done = (one for one in self.asked if not isinstance(one, Elapsed))
        return " ".join(f"{one.command[1]:02X}" if isinstance(one, Transmit) else marks[type(one)] for one in done)


OPENED = CardSession(ANSWER, 4)


def script(*commands: CommandAPDU, number: int = 5, after: bytes = ANSWER, deadline_ms: int = 1000) -> Script:
    """A script for the session `OPENED`."""
    return Script(number, "cplc:47", after, deadline_ms, steps(commands))


REPLACE = script(OPEN, DELETE, PUT, KEYS, GREET)


def test_one_note_comes_before_the_first_command_that_changes_the_card() -> None:
    hand = Hand()
    report, _ = hand.run(REPLACE, OPENED)
    assert hand.order == "82 N E4 D8 CA 50 K"
    assert [one.script for one in hand.asked if isinstance(one, NoteInDoubt)] == [REPLACE]
    assert [one.report for one in hand.asked if isinstance(one, KeepReport)] == [report]
    assert (report.number, report.digest, report.end) == (5, REPLACE.digest, End.COMPLETE)
    assert len(report.answers) == 5


@pytest.mark.parametrize("changing", [DELETE, PUT, LOCK], ids=lambda one: INS(one.ins).name)
def test_each_command_that_changes_the_card_is_noted(changing: CommandAPDU) -> None:
    hand = Hand()
    hand.run(script(OPEN, changing), OPENED)
    assert hand.order == f"82 N {changing.ins:02X} K"


def test_a_script_that_changes_nothing_writes_nothing() -> None:
    hand = Hand()
    report, _ = hand.run(script(OPEN, KEYS, STATUS, GREET), OPENED)
    assert hand.order == "82 CA F2 50"
    assert report.end is End.COMPLETE


def test_the_commands_go_out_as_they_came() -> None:
    hand = Hand()
    hand.run(REPLACE, OPENED)
    assert [one.command for one in hand.asked if isinstance(one, Transmit)] == [s.command for s in REPLACE.steps]


def test_it_stops_at_the_first_status_word_that_the_step_does_not_accept() -> None:
    for position, order in ((1, "82"), (2, "82 N E4 K"), (3, "82 N E4 D8 K"), (5, "82 N E4 D8 CA 50 K")):
        hand = Hand({position: b"\x6a\x88"})
        report, _ = hand.run(REPLACE, OPENED)
        assert hand.order == order
        assert report.end is End.STOPPED
        assert len(report.answers) == position
        assert report.answers[-1] == b"\x6a\x88"


def test_it_goes_on_at_a_status_word_that_the_step_accepts() -> None:
    first, delete, *rest = REPLACE.steps
    lenient = replace(REPLACE, steps=(first, replace(delete, accept=(0x9000, 0x6A88)), *rest))
    report, _ = Hand({2: b"\x6a\x88"}).run(lenient, OPENED)
    assert (report.end, len(report.answers)) == (End.COMPLETE, 5)


def test_a_step_that_accepts_anything_never_stops() -> None:
    anything = replace(REPLACE, steps=tuple(replace(step, accept=()) for step in REPLACE.steps))
    report, _ = Hand(dict.fromkeys(range(1, 6), b"\x6f\x00")).run(anything, OPENED)
    assert (report.end, report.answers) == (End.COMPLETE, (b"\x6f\x00",) * 5)


@pytest.mark.parametrize("cut", [None, b"", b"\x90"], ids=["no answer", "an empty answer", "half a status word"])
def test_a_torn_card_ends_the_script_and_nothing_is_retried(cut: bytes | None) -> None:
    for position, order in ((1, "82"), (2, "82 N E4 K"), (4, "82 N E4 D8 CA K"), (5, "82 N E4 D8 CA 50 K")):
        hand = Hand({position: cut})
        report, session = hand.run(REPLACE, OPENED)
        assert hand.order == order
        assert (report.end, len(report.answers)) == (End.TORN, position - 1)
        assert session.last_answer == b""
        assert session.last_number == 5


def test_a_forbidden_script_sends_nothing_and_leaves_the_connection_as_it_was() -> None:
    hand = Hand()
    report, session = hand.run(script(OPEN, DELETE, get_data(0xE0)), OPENED)
    assert hand.asked == []
    assert (report.end, report.answers, session) == (End.REFUSED, (), OPENED)


NOT_NOW: list[tuple[str, Script, CardSession]] = [
    ("the same script again", REPLACE, CardSession(ANSWER, 5)),
    ("an older script", script(OPEN, KEYS, number=3), OPENED),
    ("a script for another answer", script(OPEN, KEYS, after=ANSWER[::-1]), OPENED),
    ("a script for an answer that is no longer open", script(OPEN, KEYS), CardSession(b"", 4)),
    ("a script in a fresh connection", script(OPEN, KEYS), CardSession()),
    ("a changing script without a number", script(OPEN, PUT, number=0), OPENED),
    ("a session on an answer that the script does not name", script(OPEN, KEYS, after=b""), OPENED),
]


@pytest.mark.parametrize(("wrong", "session"), [case[1:] for case in NOT_NOW], ids=[case[0] for case in NOT_NOW])
def test_it_does_not_run(wrong: Script, session: CardSession) -> None:
    hand = Hand()
    report, after = hand.run(wrong, session)
    assert hand.order == ""
    assert (report.end, report.answers, after) == (End.REFUSED, (), session)


def test_a_script_runs_at_most_once() -> None:
    _, session = Hand().run(REPLACE, OPENED)
    again = Hand()
    report, _ = again.run(replace(REPLACE, after=session.last_answer), session)
    assert (again.order, report.end) == ("", End.REFUSED)


def test_a_script_that_comes_too_late_sends_nothing() -> None:
    hand = Hand(elapsed_ms=[1001])
    report, session = hand.run(REPLACE, OPENED)
    assert (hand.order, report.end, report.answers, session) == ("", End.LATE, (), OPENED)


def test_a_script_that_becomes_late_stops_before_it_changes_anything() -> None:
    hand = Hand(elapsed_ms=[0, 1001])
    report, _ = hand.run(REPLACE, OPENED)
    assert hand.order == "82"
    assert (report.end, len(report.answers)) == (End.LATE, 1)


def test_a_card_that_is_being_changed_is_finished_however_late_it_gets() -> None:
    hand = Hand(elapsed_ms=[1000, 1000, 5000, 5000])
    report, _ = hand.run(REPLACE, OPENED)
    assert hand.order == "82 N E4 D8 CA 50 K"
    assert report.end is End.COMPLETE


def test_an_answer_stays_open_until_it_is_used_or_replaced() -> None:
    other = bytes(32) + b"\x90\x00"
    _, greeted = Hand().run(script(GREET, get_data(0xE0), number=0, after=b""))
    assert greeted.last_answer == ANSWER
    for commands, replies, left in (
        ((get_data(0xE0),), {}, ANSWER),
        ((select(ISD_AID),), {}, b""),
        ((GREET,), {1: other}, bytes(32)),
        ((GREET,), {1: b"\x6a\x88"}, b""),
        ((get_data(0xE0),), {1: None}, b""),
    ):
        _, session = Hand(dict(replies)).run(script(*commands, number=0, after=b""), greeted)
        assert session.last_answer == left
    _, used = Hand().run(script(OPEN, KEYS), greeted)
    assert used.last_answer == b""
    _, refused = Hand({1: b"\x63\x00"}).run(script(OPEN, KEYS), greeted)
    assert refused.last_answer == b""


def test_a_greeting_at_the_end_of_a_script_opens_the_next_one() -> None:
    _, session = Hand().run(REPLACE, OPENED)
    report, _ = Hand().run(script(OPEN, KEYS, number=6), session)
    assert report.end is End.COMPLETE


def test_plain_reads_may_run_again_and_again() -> None:
    session = CardSession(b"", 9)
    for _ in range(3):
        report, session = Hand().run(script(select(ISD_AID), get_data(0xE0), number=0, after=b""), session)
        assert report.end is End.COMPLETE
    assert session.last_number == 9
