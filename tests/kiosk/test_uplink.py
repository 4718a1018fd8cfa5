"""The standing link: hello and welcome, one sequence in each direction, waiting reports, and links that fail."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed, KioskError, LinkLost, Malformed
from kioskd.rekey.wire import (
    MAX_MESSAGE_BYTES,
    MAX_STEPS,
    Ack,
    End,
    Head,
    Hello,
    Message,
    Report,
    ReportMessage,
    Script,
    Step,
    Tap,
    Verdict,
    Welcome,
    encode,
)
from kioskd.terminal.uplink import Uplink
from kioskd.virtual.faults import Faults, When
from tests.loopback import EPOCH, Conversation, Door, House, becomes, build_house, linger


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(tmp_path / "journal")
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.terminal.uplink.RETRY_S", (0.02, 0.1))


@contextlib.asynccontextmanager
async def running(door: Door, journal: SqliteJournal) -> AsyncIterator[Uplink]:
    """An uplink to a door, from its start to its end."""
    uplink = Uplink("k1", "test", door.connect, journal)
    task = asyncio.create_task(uplink.run())
    try:
        yield uplink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def script(number: int) -> Script:
    return Script(number, "cplc-00", b"", 1000, (Step(bytes.fromhex("84D80081"), (0x9000,)),))


def report(number: int, answers: tuple[bytes, ...] = (b"\x90\x00",)) -> Report:
    return Report(number, script(number).digest, End.COMPLETE, answers)


async def test_a_terminal_says_hello_first_and_waits_for_the_welcome(house: House, journal: SqliteJournal) -> None:
    async with Door(house, linger).open() as door, running(door, journal) as uplink:
        await uplink.wait(5)
        assert uplink.connected and uplink.problem == "" and len(uplink.identify) == 4
        hello = door.conversations[0].heard[0]
        assert isinstance(hello, Hello)
        assert (hello.head.kiosk, hello.head.epoch, hello.head.sequence, hello.software) == ("k1", 0, 1, "test")


async def test_each_message_goes_out_under_the_next_number_and_the_links_epoch(
    house: House, journal: SqliteJournal
) -> None:
    async with Door(house, linger).open() as door, running(door, journal) as uplink:
        await uplink.wait(5)
        async with uplink.tap("t1") as one, uplink.tap("t2") as other:
            for line in (one, other, one):
                await line.send(lambda head: Tap(head, "replace", ()))
            heard = door.conversations[0].heard
            await becomes(lambda: len(heard) == 4)
        assert [(m.head.tap, m.head.sequence, m.head.epoch) for m in heard[1:]] == [
            ("t1", 2, EPOCH),
            ("t2", 3, EPOCH),
            ("t1", 4, EPOCH),
        ]


async def test_a_message_reaches_the_tap_that_it_is_for_and_no_other(
    house: House, journal: SqliteJournal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def answer(conversation: Conversation) -> None:
        await conversation.welcome()
        await conversation.hear()
        for tap in ("ended", "t2", "t1"):
            await conversation.say(lambda head: Verdict(head, "done"), tap)
        await conversation.hear()

    async with Door(house, answer).open() as door, running(door, journal) as uplink:
        await uplink.wait(5)
        async with uplink.tap("t1") as one, uplink.tap("t2") as other:
            await one.send(lambda head: Tap(head, "replace", ()))
            for line in (one, other):
                message = await line.receive()
                assert message.head.tap == line.tap
                assert line.inbox.empty()
        assert "Verdict for tap ended, which has ended" in caplog.text
        assert uplink.connected


SayWrongly = Callable[[Conversation], "asyncio.Future[None]"]


async def skips(conversation: Conversation) -> None:
    """A number is left out."""
    await conversation.say(lambda head: Verdict(head, "done"), "t1", skip=1)


async def repeats(conversation: Conversation) -> None:
    """The same number twice."""
    await conversation.say(lambda head: Ack(head, 1, bytes(32)))
    await conversation.say(lambda head: Verdict(head, "done"), "t1", skip=-1)


async def is_of_another_epoch(conversation: Conversation) -> None:
    """A message of another link."""
    await conversation.say(lambda head: Verdict(head, "done"), "t1", epoch=EPOCH + 1)


async def is_for_another_kiosk(conversation: Conversation) -> None:
    """A message for somebody else."""
    await conversation.say(lambda h: Verdict(Head(h.version, "k2", h.epoch, h.tap, h.sequence, 0, ""), "done"), "t1")


async def is_no_message(conversation: Conversation) -> None:
    """Words that are none."""
    await conversation.link._socket.send_str('{"version": 1, "kind": "verdict"}')


@pytest.mark.parametrize("wrong", [skips, repeats, is_of_another_epoch, is_for_another_kiosk, is_no_message])
async def test_a_message_that_does_not_fit_ends_the_link_and_never_reaches_a_tap(
    house: House, journal: SqliteJournal, wrong: SayWrongly
) -> None:
    async def answer(conversation: Conversation) -> None:
        await conversation.welcome()
        if len(door.conversations) == 1:
            await conversation.hear()
            await wrong(conversation)
        with contextlib.suppress(KioskError):
            await conversation.hear()

    door = Door(house, answer)
    async with door.open(), running(door, journal) as uplink:
        await uplink.wait(5)
        async with uplink.tap("t1") as line:
            await line.send(lambda head: Tap(head, "replace", ()))
            with pytest.raises(Malformed) as failed:
                await line.receive()
        assert failed.value.outcome == "bad-message"
        await becomes(lambda: len(door.conversations) == 2)  # and it comes back by itself
        await uplink.wait(5)


@pytest.mark.parametrize("first", ["verdict", "a welcome for another", "a welcome with another number"])
async def test_a_first_message_that_is_not_our_welcome_is_not_taken(
    house: House, journal: SqliteJournal, first: str
) -> None:
    def make(head: Head) -> Message:
        if first == "verdict":
            return Verdict(head, "done")
        other = "k2" if first == "a welcome for another" else head.kiosk
        return Welcome(Head(head.version, other, head.epoch, "", head.sequence, 0, ""), ())

    async def answer(conversation: Conversation) -> None:
        await conversation.hear()
        await conversation.say(make, skip=1 if "number" in first else 0)
        with contextlib.suppress(KioskError):
            await conversation.hear()

    async with Door(house, answer).open() as door, running(door, journal) as uplink:
        await becomes(lambda: uplink.problem == "bad-message")
        assert not uplink.connected
        with pytest.raises(LinkLost):
            await uplink.wait(0.1)
        assert len(door.conversations) > 0


async def test_waiting_reports_go_up_after_the_welcome_and_are_forgotten_when_acknowledged(
    house: House, journal: SqliteJournal
) -> None:
    for number in (3, 4):
        await journal.note_in_doubt(script(number))
    await journal.keep_report("cplc-00", report(4))

    async def answer(conversation: Conversation) -> None:
        await conversation.welcome()
        for _ in range(2):
            late = await conversation.hear()
            assert isinstance(late, ReportMessage) and (late.head.tap, late.head.card) == ("", "cplc-00")
            await conversation.say(lambda h, late=late: Ack(h, late.report.number, late.report.digest))  # type: ignore[misc]
        with contextlib.suppress(LinkLost):
            await conversation.hear()

    async with Door(house, answer).open() as door, running(door, journal) as uplink:
        async with asyncio.timeout(5):
            while await journal.pending():  # noqa: ASYNC110 - a journal knows no events
                await asyncio.sleep(0.01)
        ends = [m.report.end for m in door.conversations[0].heard if isinstance(m, ReportMessage)]
        assert ends == [End.IN_DOUBT, End.COMPLETE]
        assert uplink.connected


async def test_a_journal_that_cannot_forget_does_not_cost_the_link(house: House, journal: SqliteJournal) -> None:
    await journal.note_in_doubt(script(1))
    faults = Faults(cut_at=0, when=When.BEFORE, error=lambda: JournalFailed("the disk is full"))

    async def answer(conversation: Conversation) -> None:
        await conversation.welcome()
        await conversation.hear()
        await conversation.say(lambda head: Ack(head, 1, script(1).digest))
        await conversation.say(lambda head: Verdict(head, "done"), "t1")
        with contextlib.suppress(LinkLost):
            await conversation.hear()

    async with Door(house, answer).open() as door:
        uplink = Uplink("k1", "test", door.connect, faults.wrap(journal, "acknowledge"))
        async with uplink.tap("t1") as line:
            task = asyncio.create_task(uplink.run())
            assert isinstance(await line.receive(), Verdict)
        assert faults.points == ["acknowledge"]
        assert uplink.connected
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(await journal.pending()) == 1, "it comes again"


async def test_a_script_that_is_under_way_is_no_waiting_report(house: House, journal: SqliteJournal) -> None:
    async with Door(house, linger).open() as door, running(door, journal) as uplink:
        await uplink.wait(5)
        for number in (1, 2):
            await journal.note_in_doubt(script(number))
        async with uplink.tap("t1") as line:
            line.running = script(2).digest
            assert [late.report.number for late in await uplink.waiting()] == [1]
        assert [late.report.number for late in await uplink.waiting()] == [1, 2]


async def test_a_tap_takes_along_the_newest_reports_that_have_room(house: House, journal: SqliteJournal) -> None:
    long = tuple(bytes(258) for _ in range(MAX_STEPS))
    for number in range(1, 101):
        await journal.keep_report("cplc-00", report(number, long if number < 90 else (b"\x90\x00",)))
    uplink = Uplink("k1", "test", Door(house, linger).connect, journal)
    chosen = await uplink.waiting_for_tap()
    numbers = [late.report.number for late in chosen]
    assert numbers == list(range(numbers[0], 101)), "the newest, in order"
    assert 11 < len(numbers) < 60
    message = Tap(Head(1, "k1", EPOCH, "t1", 2, 0, ""), "replace", tuple(bytes(258) for _ in range(8)), chosen)
    assert len(encode(message)) < MAX_MESSAGE_BYTES


async def test_a_server_that_is_down_is_tried_again_until_it_is_there(house: House, journal: SqliteJournal) -> None:
    door = Door(house, linger)
    async with running(door, journal) as uplink:
        await asyncio.sleep(0.15)
        assert (uplink.connected, uplink.problem) == (False, "server-down")
        async with door.open():
            await uplink.wait(5)
            assert uplink.problem == ""
        await becomes(lambda: uplink.problem == "server-down")


async def test_a_failure_that_nobody_foresaw_is_logged_and_the_link_comes_back(
    house: House, journal: SqliteJournal, caplog: pytest.LogCaptureFixture
) -> None:
    async with Door(house, linger).open() as door:
        tries = 0

        @contextlib.asynccontextmanager
        async def connect() -> AsyncIterator[object]:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise ZeroDivisionError("nobody foresaw it")
            async with door.connect() as link:
                yield link

        uplink = Uplink("k1", "test", connect, journal)  # type: ignore[arg-type]
        task = asyncio.create_task(uplink.run())
        await uplink.wait(5)
        assert "nobody foresaw it" in caplog.text
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_silent_server_does_not_hold_a_tap_for_ever(house: House, journal: SqliteJournal) -> None:
    async with Door(house, linger).open() as door, running(door, journal) as uplink:
        await uplink.wait(5)
        async with uplink.tap("t1") as line:
            with pytest.raises(LinkLost, match=r"said nothing for 0\.05 s"):
                await line.receive(0.05)
