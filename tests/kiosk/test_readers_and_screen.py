"""What the readers say, and what the cardholder sees then: one tap a card, one true word on the screen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed
from kioskd.kiosk.status_words import next_step, table
from kioskd.outcomes import CATALOGUE, outcome
from kioskd.ports import ReaderEvent, ReaderState
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.relay import RelayPolicy
from kioskd.terminal.observer import Nobody
from kioskd.terminal.panel import LEAVE_IT, WELCOME, LinePanel
from kioskd.terminal.run import Floor
from kioskd.terminal.status import KEPT_TAPS, Status
from kioskd.terminal.tap import TapRecord, Terminal
from kioskd.terminal.uplink import Uplink
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.faults import Faults
from kioskd.virtual.reader import VirtualReaders
from tests.loopback import Door, House, becomes, build_house, linger

POLICY = RelayPolicy((DEFAULT_PROFILE.aid,), DEFAULT_PROFILE.level, (0x9F7F, 0x66, 0xE0))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))


@dataclass(slots=True)
class Noting(Nobody):
    """Keeps every tap that has ended."""

    taps: list[TapRecord]

    async def ends(self, tap: TapRecord) -> bool:
        """Never the last."""
        self.taps.append(tap)
        return False


@dataclass(slots=True)
class Room:
    """A terminal without a server: every tap ends after a moment, with server-down."""

    terminal: Terminal
    status: Status
    readers: VirtualReaders
    out: StringIO
    floor: Floor = field(init=False)
    taps: list[TapRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.terminal.observer = Noting(self.taps)
        self.floor = Floor(self.terminal, self.status, asyncio.Event())

    async def watch(self) -> None:
        """Takes events as the daemon does."""
        async with contextlib.aclosing(self.readers.events()) as events:
            async for event in events:
                await self.floor.take(event)

    @property
    def screen(self) -> list[str]:
        """What the screen showed, in turn."""
        return [line.removeprefix("screen: ").split("  [")[0] for line in self.out.getvalue().splitlines()]


@pytest.fixture
async def room(house: House, tmp_path: Path) -> AsyncIterator[Room]:
    journal, readers, out = SqliteJournal(tmp_path / "journal"), VirtualReaders(("left", "right")), StringIO()
    uplink = Uplink("k1", "test", Door(house, linger).connect, journal)
    terminal = Terminal("replace", readers, uplink, journal, LinePanel(out), POLICY, link_patience_s=0.05)
    made = Room(terminal, Status("k1", "kiosk", "test"), readers, out)
    task = asyncio.create_task(made.watch())
    await becomes(lambda: len(made.status.readers) == 2)
    yield made
    await readers.close()
    await task
    await made.floor.finish()
    await journal.close()


def says(name: str) -> str:
    """The cardholder's words of an outcome."""
    return outcome(name).cardholder


async def test_an_empty_reader_invites(room: Room) -> None:
    assert room.screen == [WELCOME]


async def test_a_card_is_one_tap_and_its_leaving_makes_room_for_the_next(room: Room) -> None:
    room.readers.insert("left", VirtualCard())
    await becomes(lambda: len(room.taps) == 1)
    room.readers.pull("left")
    await becomes(lambda: len(room.screen) == 4)
    assert room.screen == [WELCOME, LEAVE_IT, says("server-down"), WELCOME]
    assert room.taps[0].outcome == "server-down"
    assert list(room.status.taps) == room.taps
    assert room.status.tallies == {"server-down": 1}


async def test_a_card_that_stays_is_not_tapped_again(room: Room) -> None:
    room.readers.insert("left", VirtualCard())
    await becomes(lambda: len(room.taps) == 1)
    await asyncio.sleep(0.1)
    assert (len(room.taps), room.status.under_way) == (1, 0)


async def test_two_readers_take_two_cards_at_once(room: Room) -> None:
    room.readers.insert("left", VirtualCard())
    room.readers.insert("right", VirtualCard())
    await becomes(lambda: room.status.under_way == 2)
    await becomes(lambda: len(room.taps) == 2)
    assert {tap.reader for tap in room.taps} == {"left", "right"}


@pytest.mark.slow
async def test_of_cards_that_come_and_go_while_one_is_being_finished_only_the_last_is_tapped(room: Room) -> None:
    room.terminal.link_patience_s = 2.0  # the first tap outlasts the others' coming and going, on a busy machine too
    for last in (False, False, False, True):
        room.readers.insert("left", VirtualCard())
        await becomes(lambda: room.status.readers["left"] is ReaderState.CARD)
        if not last:
            room.readers.pull("left")
            await becomes(lambda: room.status.readers["left"] is ReaderState.EMPTY)
    await becomes(lambda: len(room.taps) == 2, 15)
    await asyncio.sleep(0.15)
    assert (len(room.taps), room.status.under_way) == (2, 0), "the first and the last"


@pytest.mark.slow
async def test_a_card_that_left_while_the_one_before_was_being_finished_is_not_tapped(room: Room) -> None:
    room.terminal.link_patience_s = 2.0  # the first tap outlasts the second card, on a busy machine too
    for _ in range(2):
        room.readers.insert("left", VirtualCard())
        await becomes(lambda: room.status.readers["left"] is ReaderState.CARD)
        room.readers.pull("left")
        await becomes(lambda: room.status.readers["left"] is ReaderState.EMPTY)
    await becomes(lambda: len(room.taps) == 1, 15)
    await asyncio.sleep(0.2)
    assert (len(room.taps), room.status.under_way) == (1, 0)


async def test_a_mute_card_is_said_to_be_unreadable(room: Room) -> None:
    room.readers.insert("left", None)
    await becomes(lambda: len(room.taps) == 1)
    assert room.screen == [WELCOME, LEAVE_IT, says("unreadable-card")]
    assert room.taps[0].outcome == "unreadable-card"


async def test_without_a_daemon_the_terminal_is_out_of_service_until_it_is_back(room: Room) -> None:
    room.readers.go_down()
    await becomes(lambda: room.status.pcscd == "down")
    assert room.status.readers == {}
    room.readers.come_up()
    await becomes(lambda: len(room.status.readers) == 2)
    assert room.status.pcscd == "up"
    assert room.screen == [WELCOME, says("pcscd-down"), WELCOME]


async def test_the_last_reader_that_goes_takes_the_terminal_out_of_service(room: Room) -> None:
    room.readers.unplug("left")
    await becomes(lambda: len(room.status.readers) == 1)
    assert room.screen == [WELCOME]
    room.readers.unplug("right")
    await becomes(lambda: len(room.screen) == 2)
    assert room.screen == [WELCOME, says("no-reader")]
    room.readers.plug("right")
    await becomes(lambda: len(room.screen) == 3)
    assert room.screen[-1] == WELCOME


async def test_a_terminal_that_starts_without_a_reader_does_not_invite(room: Room) -> None:
    room.status.readers.clear()
    await room.floor.take(ReaderEvent("", ReaderState.GONE))
    assert room.screen[-1] == says("no-reader")
    assert room.status.pcscd == "up"


async def test_a_fault_that_stands_has_the_last_word_after_a_tap(room: Room) -> None:
    room.terminal.link_patience_s = 0.2
    room.readers.insert("left", VirtualCard())
    await becomes(lambda: room.status.under_way == 1)
    room.readers.go_down()
    await becomes(lambda: len(room.taps) == 1)
    await becomes(lambda: room.screen[-1] == says("pcscd-down"))


async def test_a_terminal_that_ends_finishes_its_tap_and_takes_no_new_card(room: Room) -> None:
    room.terminal.link_patience_s = 0.3
    room.readers.insert("left", VirtualCard())
    await becomes(lambda: room.status.under_way == 1)
    ending = asyncio.create_task(room.floor.finish())
    await asyncio.sleep(0)
    room.readers.insert("right", VirtualCard())
    await ending
    assert [tap.reader for tap in room.taps] == ["left"]


# --- status -------------------------------------------------------------------------------------------------------


async def test_the_status_tells_state_taps_and_codes(room: Room) -> None:
    room.readers.insert("left", VirtualCard())
    await becomes(lambda: len(room.taps) == 1)
    told = await room.status.tell(room.terminal)
    assert told["readers"] == {"left": "card", "right": "empty"}
    assert told["link"] == {"connected": False, "problem": "server-down"}
    assert (told["pending_reports"], told["under_way"], told["outcomes"]) == (0, 0, {"server-down": 1})
    assert (told["taps"][0]["outcome"], told["taps"][0]["code"]) == ("server-down", "K400")


async def test_the_status_keeps_the_last_taps_and_counts_all(room: Room) -> None:
    for number in range(KEPT_TAPS + 5):
        room.status.count(TapRecord(str(number), "left", outcome="done"))
    told = await room.status.tell(room.terminal)
    assert [tap["tap"] for tap in told["taps"]] == [str(n) for n in range(5, KEPT_TAPS + 5)]
    assert told["outcomes"] == {"done": KEPT_TAPS + 5}


async def test_a_journal_that_cannot_be_read_does_not_silence_the_status(room: Room) -> None:
    broken = Faults(cut_at=0, error=lambda: JournalFailed("the disk is gone"))
    room.terminal.journal = broken.wrap(room.terminal.journal, "pending")
    told = await room.status.tell(room.terminal)
    assert told["pending_reports"] is None
    assert next_step(told) == outcome("journal-failed").advice
    assert any(outcome("journal-failed").technician in line for line in table(told))


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, "nothing; the terminal is ready for cards."),
        ({"pcscd": "down", "readers": {}}, outcome("pcscd-down").advice),
        ({"readers": {}}, outcome("no-reader").advice),
        ({"link": {"connected": False, "problem": "kiosk-not-trusted"}}, outcome("kiosk-not-trusted").advice),
        ({"link": {"connected": False, "problem": ""}}, outcome("server-down").advice),
    ],
)
async def test_the_next_step_is_the_one_that_helps_first(room: Room, change: dict[str, object], step: str) -> None:
    told = {**await room.status.tell(room.terminal), "link": {"connected": True, "problem": ""}, **change}
    assert table(told)[-1] == f"Next: {step}"


@pytest.mark.parametrize("name", list(CATALOGUE))
async def test_every_outcome_has_a_place_in_the_table(room: Room, name: str) -> None:
    room.status.count(TapRecord("00", "left", outcome=name))
    told = {**await room.status.tell(room.terminal), "link": {"connected": True, "problem": ""}}
    assert any(f" {outcome(name).code}  {name} " in line for line in table(told))
