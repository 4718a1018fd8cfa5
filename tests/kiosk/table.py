"""A terminal on a table: a virtual card in its reader, a real door behind the wire, a test that plays the server."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import KioskError
from kioskd.outcomes import CATALOGUE
from kioskd.ports import Card, Journal
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.relay import RelayPolicy
from kioskd.rekey.wire import Report, ReportMessage, Script, ScriptMessage, Step, Tap, Verdict
from kioskd.terminal.panel import LinePanel
from kioskd.terminal.tap import TapRun, Terminal
from kioskd.terminal.uplink import Uplink
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.faults import Faults
from kioskd.virtual.reader import VirtualReaders
from tests.loopback import Conversation, Door, House

READER = "Virtual reader"
POLICY = RelayPolicy((DEFAULT_PROFILE.aid,), DEFAULT_PROFILE.level, (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF))

# The card refuses all that follows INITIALIZE UPDATE, for the cryptogram is none; most of these steps accept that.
GREET = Step(bytes.fromhex("8050FF0008") + bytes(8) + b"\0", ())
AUTHENTICATE = Step(bytes.fromhex("8482330010") + bytes(16), ())
DELETE = Step(bytes.fromhex("84E400000C") + bytes(12), ())
READ = Step(bytes.fromhex("84CA00E000"), ())
STOPS = Step(DELETE.command, (0x9000,))
PLAIN = Script(0, "cplc-00", b"", 5000, (GREET,))
FORBIDDEN = Script(1, "cplc-00", b"", 5000, (Step(bytes.fromhex("80E6000000"), ()),))


@dataclass(slots=True)
class Readers:
    """Virtual readers whose connections go through a schedule of faults."""

    inner: VirtualReaders = field(default_factory=VirtualReaders)
    faults: Faults = field(default_factory=Faults)
    connections: int = 0

    def lose(self, *at: int) -> None:
        """Has the connection lost at these commands, counted from 0, while the card stays in."""
        points = self.faults.points
        self.faults.bend = lambda _, reply: None if len(points) - 1 in at else reply

    async def connect(self, reader: str) -> Card:
        """The connection."""
        self.connections += 1
        return self.faults.wrap(await self.inner.connect(reader), "transmit")


@dataclass(slots=True)
class Table:
    """A terminal on a table, its card in the reader, a door behind the wire."""

    house: House
    journal: SqliteJournal
    card: VirtualCard = field(default_factory=VirtualCard)
    readers: Readers = field(default_factory=Readers)
    faulty: Faults = field(default_factory=Faults)  # of the journal
    purpose: str = "replace"
    same_card: Callable[[], bool] = lambda: False
    door: Door = field(init=False)
    run: TapRun = field(init=False)

    async def tap(self, server: Callable[[Conversation], Awaitable[None]]) -> str:
        """One tap against a server that says this after its welcome and the tap."""

        async def talk(conversation: Conversation) -> None:
            await conversation.welcome()
            if not isinstance(await conversation.hear(), Tap):
                return
            await server(conversation)
            with contextlib.suppress(KioskError):
                while True:
                    await conversation.hear()

        self.door = Door(self.house, talk)
        async with self.door.open():
            return await self.tap_at(self.door)

    async def tap_at(self, door: Door, patience_s: float = 3.0) -> str:
        """One tap of the card."""
        self.readers.inner.insert(READER, self.card)
        journal: Journal = self.faulty.wrap(self.journal, "note_in_doubt", "keep_report")
        uplink = Uplink("k1", "test", door.connect, journal)
        terminal = Terminal(self.purpose, self.readers, uplink, journal, LinePanel(), POLICY, patience_s)
        task = asyncio.create_task(uplink.run())
        try:
            self.run = TapRun(terminal, READER, self.same_card)
            outcome = await self.run.run()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.readers.inner.pull(READER)
        assert outcome in CATALOGUE
        assert self.run.record.outcome == outcome
        return outcome

    @property
    def reports(self) -> list[Report]:
        """What the server heard of scripts, without a tap or within one."""
        heard = [message for one in self.door.conversations for message in one.heard]
        return [message.report for message in heard if isinstance(message, ReportMessage)]


def tap_of(conversation: Conversation) -> str:
    """The tap that the server is in."""
    return next(message.head.tap for message in conversation.heard if isinstance(message, Tap))


async def send(conversation: Conversation, script: Script) -> ReportMessage:
    """Sends a script and hears its report."""
    await conversation.say(lambda head: ScriptMessage(head, script), tap_of(conversation), "cplc-00")
    report = await conversation.hear()
    assert isinstance(report, ReportMessage)
    return report


def changing(after: bytes, delete: Step = DELETE) -> Script:
    """A script that may change the card, for the session of that answer."""
    return Script(1, "cplc-00", after, 5000, (AUTHENTICATE, delete, READ))


async def greeting(conversation: Conversation) -> bytes:
    """Has the card greeted; its answer, without the status word."""
    return (await send(conversation, PLAIN)).report.answers[0][:-2]


async def change(conversation: Conversation, delete: Step = DELETE) -> Report:
    """Greets the card and sends a script that may change it; the report."""
    return (await send(conversation, changing(await greeting(conversation), delete))).report


async def conclude(conversation: Conversation, outcome: str) -> None:
    """The verdict."""
    await conversation.say(lambda head: Verdict(head, outcome), tap_of(conversation))
