"""A server that has been taken over and asks a terminal for what it must not do: every header byte is tried."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.errors import Malformed
from kioskd.gp.apdu import INS, CommandAPDU
from kioskd.gp.isd import ISD_AID, initialize_update, select
from kioskd.gp.keys import KVN
from kioskd.rekey.asks import Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.relay import CardSession, Forbidden, check, relay
from kioskd.rekey.wire import End, Report, Script, Step
from tests.rekey.world import POLICY

pytestmark = pytest.mark.slow  # every class, instruction and parameter

ANSWER = bytes(range(32))
OPENED = CardSession(ANSWER, 4)
GREET = initialize_update(KVN(0x3E), bytes(8)).encode()
OPEN = CommandAPDU(0x84, INS.EXTERNAL_AUTHENTICATE, 0x33, 0, bytes(16)).encode()
DELETE = CommandAPDU(0x84, INS.DELETE, 0, 0, bytes(24), 256).encode()
PUT = CommandAPDU(0x84, INS.PUT_KEY, 0, 0x81, bytes(88), 256).encode()
KEYS = CommandAPDU(0x84, INS.GET_DATA, 0, 0xE0, bytes(8), 256).encode()
LOCK = CommandAPDU(0x84, INS.SET_STATUS, 0x80, 0x7F, bytes(8)).encode()
BEFORE: tuple[bytes, ...] = ()
INSIDE = (OPEN,)


def passes(*commands: bytes, greeted: bool = True) -> bool:
    """Whether the allow-list lets all of them through."""
    try:
        check(tuple(Step(one, (0x9000,)) for one in commands), POLICY, greeted=greeted)
    except Forbidden:
        return False
    return True


def ran(script: Script, session: CardSession = OPENED, elapsed_ms: int = 0) -> tuple[Report, list[bytes]]:
    """The report of a relay whose card says yes to everything, and the commands that reached the card."""
    conversation = relay(script, POLICY, session)
    sent: list[bytes] = []
    reply: Any = None
    while True:
        try:
            ask = conversation.send(reply)
        except StopIteration as end:
            return end.value[0], sent
        match ask:
            case Transmit(command):
                sent.append(command)
                reply = (ANSWER if command[1] == INS.INITIALIZE_UPDATE else b"") + b"\x90\x00"
            case Elapsed():
                reply = elapsed_ms
            case NoteInDoubt() | KeepReport():
                reply = None


def script(*commands: bytes, number: int = 5, after: bytes = ANSWER, deadline_ms: int = 1000) -> Script:
    """A script for the session `OPENED`."""
    return Script(number, "cplc:47", after, deadline_ms, tuple(Step(one, (0x9000,)) for one in commands))


@pytest.mark.parametrize("inside", [False, True], ids=["before authentication", "in a session"])
@pytest.mark.parametrize("body", [b"", b"\x00", bytes((8,)) + bytes(8), bytes((16,)) + bytes(16) + b"\x00"], ids=len)
def test_of_all_classes_and_instructions_only_the_listed_ones_pass(body: bytes, inside: bool) -> None:
    """P1 and P2 are those of a read of the key information, so that a read may pass."""
    lead = INSIDE if inside else BEFORE
    through = {
        (cla, ins) for cla in range(256) for ins in range(256) if passes(*lead, bytes((cla, ins, 0x00, 0xE0)) + body)
    }
    expected = set()
    data = len(body) > 1
    if not inside and not data:
        expected |= {(0x00, INS.GET_DATA), (0x80, INS.GET_DATA)}
    if not data:
        expected |= {(0x00, INS.GET_RESPONSE)}
    if inside:
        expected |= {(0x84, INS.GET_DATA), (0x84, INS.PUT_KEY), (0x84, INS.GET_STATUS)}
    assert through == expected


def test_of_all_levels_and_parameters_only_the_profiles_level_opens_a_session() -> None:
    through = {
        (p1, p2)
        for p1 in range(256)
        for p2 in range(256)
        if passes(bytes((0x84, INS.EXTERNAL_AUTHENTICATE, p1, p2, 16)) + bytes(16))
    }
    assert through == {(0x33, 0x00)}
    assert {n for n in range(1, 256) if passes(OPEN[:4] + bytes((n,)) + bytes(n))} == {16, 32}


def test_of_all_states_only_secured_and_card_locked_of_the_card_itself_can_be_set() -> None:
    through = {
        (p1, p2) for p1 in range(256) for p2 in range(256) if passes(OPEN, bytes((0x84, 0xF0, p1, p2, 8)) + bytes(8))
    }
    assert through == {(0x80, 0x0F), (0x80, 0x7F)}


@pytest.mark.slow
def test_of_all_tags_only_the_listed_ones_can_be_read_in_either_class() -> None:
    tags = {tag for tag in range(0x10000) if passes(b"\x80\xca" + tag.to_bytes(2) + b"\x00")}
    secured = {tag for tag in range(0x10000) if passes(OPEN, b"\x84\xca" + tag.to_bytes(2) + b"\x08" + bytes(8))}
    assert tags == secured == set(POLICY.tags)


def test_delete_reaches_one_object_and_nothing_that_hangs_on_it() -> None:
    through = {
        (p1, p2)
        for p1 in range(256)
        for p2 in range(256)
        if passes(OPEN, bytes((0x84, INS.DELETE, p1, p2, 24)) + bytes(24))
    }
    assert through == {(0x00, p2) for p2 in range(0x80)}


def test_only_our_security_domain_can_be_selected_and_only_by_its_whole_name() -> None:
    names = [ISD_AID[:n] for n in range(9)] + [ISD_AID + b"\x00", bytes(8), ISD_AID[:-1] + b"\x01"]
    assert [name for name in names if passes(select(name).encode())] == [ISD_AID]
    right = select(ISD_AID).encode()
    parameters = {(0x04, n) for n in range(256)} | {(n, 0x00) for n in range(256)}
    headers = [bytes((cla, 0xA4, p1, p2)) for cla in (0, 4, 0x80, 0x84) for p1, p2 in sorted(parameters)]
    assert [one for one in headers if passes(one + right[4:])] == [right[:4]]


@pytest.mark.parametrize("inside", [False, True], ids=["before authentication", "in a session"])
def test_nothing_rides_behind_a_command_or_inside_another_length(inside: bool) -> None:
    """Extended lengths, a second command behind the first, lengths that lie: a card might read them otherwise."""
    lead = INSIDE if inside else BEFORE
    for good in (KEYS, DELETE, PUT) if inside else (select(ISD_AID).encode(), GREET):
        assert passes(*lead, good)
        data = good[5 : 5 + good[4]]
        for bad in (
            good[:4] + b"\x00" + len(data).to_bytes(2) + data,
            good[:4] + b"\x00" + len(data).to_bytes(2) + data + b"\x00\x00",
            good + b"\x00",
            good + DELETE,
            good[:4] + bytes((len(data) - 1,)) + good[5:],
            good[:4] + bytes((len(data) + 3,)) + good[5:],
            good[:3],
            good[:4] + b"\x00\x00\x00",
        ):
            assert not passes(*lead, bad), bad.hex()


@given(st.binary(max_size=300))
def test_a_command_that_passes_reads_back_to_the_very_bytes_that_reach_the_card(raw: bytes) -> None:
    """The relay checks what it decoded and sends what it got: the two must be one."""
    try:
        decoded = CommandAPDU.decode(raw)
    except Malformed:
        assert not passes(raw)
    else:
        assert decoded.encode() == raw


def test_a_plain_change_never_passes_wherever_it_stands() -> None:
    """After a greeting, in a session, after the session was relocked, behind a long answer's rest."""
    more = CommandAPDU(0x00, INS.GET_RESPONSE, 0, 0, le=256).encode()
    leads = ((), (GREET,), (OPEN,), (OPEN, KEYS), (OPEN, KEYS, more), (OPEN, GREET), (OPEN, select(ISD_AID).encode()))
    for lead in leads:
        for change in (DELETE, PUT, LOCK):
            for cla in (*range(0x84), *range(0x85, 0x100)):
                assert not passes(*lead, bytes((cla,)) + change[1:]), (lead, cla)


def test_a_changing_script_must_name_the_session_that_it_belongs_to() -> None:
    """A card whose next challenge can be foreseen would take a script that greets for itself, in any connection."""
    whole = script(GREET, OPEN, DELETE, PUT, after=b"")
    assert ran(whole, CardSession()) == (Report(5, whole.digest, End.REFUSED, ()), [])


def test_a_script_is_refused_in_every_session_but_its_own() -> None:
    good = script(OPEN, DELETE, PUT)
    assert ran(good)[0].end is End.COMPLETE
    for session in (
        CardSession(),
        CardSession(ANSWER, 5),
        CardSession(ANSWER, 6),
        CardSession(ANSWER[:-1], 4),
        CardSession(b"", 4),
        *(CardSession(bytes(b ^ (at == n) for n, b in enumerate(ANSWER)), 4) for at in range(32)),
    ):
        report, sent = ran(good, session)
        assert (report.end, sent) == (End.REFUSED, [])


def test_numbers_start_again_in_a_new_connection_and_an_old_script_still_does_not_run() -> None:
    """What binds a script to its connection is the card's answer, which no other connection repeats."""
    old = script(OPEN, DELETE, PUT, number=9)
    assert ran(old, CardSession(ANSWER, 0))[0].end is End.COMPLETE
    assert ran(old, CardSession(ANSWER[::-1], 0))[1] == []


@pytest.mark.parametrize("number", [-1, 0], ids=str)
def test_a_changing_script_without_a_proper_number_does_not_run(number: int) -> None:
    assert ran(script(OPEN, DELETE, number=number))[1] == []


def test_a_script_without_changes_cannot_smuggle_a_session_in_under_number_zero() -> None:
    """Opening a session needs the answer that it belongs to, numbered or not."""
    assert ran(script(OPEN, KEYS, number=0, after=b""))[1] == []
    assert ran(script(OPEN, KEYS, number=0, after=ANSWER[::-1]))[1] == []


@pytest.mark.parametrize(("deadline_ms", "elapsed_ms", "runs"), [(0, 0, True), (0, 1, False), (-1, 0, False)])
def test_a_deadline_is_the_last_millisecond_that_counts(deadline_ms: int, elapsed_ms: int, runs: bool) -> None:
    report, sent = ran(script(OPEN, DELETE, deadline_ms=deadline_ms), elapsed_ms=elapsed_ms)
    assert (report.end is End.COMPLETE) == bool(sent) == runs


def test_a_script_cannot_be_altered_under_its_digest() -> None:
    good = script(OPEN, DELETE, PUT)
    first, *rest = good.steps
    others = (
        replace(good, number=6),
        replace(good, card="cplc:48"),
        replace(good, after=b""),
        replace(good, deadline_ms=1001),
        replace(good, steps=(replace(first, accept=()), *rest)),
        replace(good, steps=tuple(reversed(good.steps))),
        replace(good, steps=good.steps[:-1]),
    )
    assert len({good.digest, *(one.digest for one in others)}) == 1 + len(others)
