"""A kiosk or station of a simulation: the shipped relay, a journal in memory, one reader; killed and started anew."""

import contextlib
import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kioskd.drive import drive
from kioskd.errors import JournalFailed, KioskError, LinkLost
from kioskd.gp.apdu import INS
from kioskd.gp.executive import STATE_TAG
from kioskd.rekey.asks import Ask, Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.exchange import exchange
from kioskd.rekey.profile import identify_steps
from kioskd.rekey.relay import CardSession, RelayPolicy, relay
from kioskd.rekey.wire import (
    MAX_PENDING,
    WIRE_VERSION,
    Ack,
    CardReport,
    End,
    Head,
    Message,
    Refuse,
    Report,
    ReportMessage,
    Script,
    ScriptMessage,
    Tap,
    Verdict,
)
from kioskd.sim.cards import HeldCard
from kioskd.sim.faults import Kind, Plan, Side
from kioskd.sim.kinds import PROFILES
from kioskd.sim.link import Link, Wire
from kioskd.sim.place import Place
from kioskd.sim.scheduler import Died, Mailbox, Sleep, Task
from kioskd.sim.server import AccessServer
from kioskd.sim.store import MemoryJournal
from kioskd.virtual.oracle import Violation

ANSWER_MS = 8_000
LINK_PATIENCE_MS = 3_000
RECONNECT_MS, RESTART_MS = (300, 3_000), (3_000, 15_000)
COMMAND_MS, DISK_MS = (5, 60), 4
SLOW_MS = (20_000, 70_000)
CARRIED_MS = (3_000, 40_000)
HALF_OPEN_MS = 20_000

_LEVEL = functools.reduce(operator.and_, (one.level for one in PROFILES))
POLICY = RelayPolicy(
    tuple(dict.fromkeys(one.aid for one in PROFILES)),
    _LEVEL,
    (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF, STATE_TAG),
    executive=True,
)
IDENTIFY = identify_steps(*PROFILES)
CHANGING = frozenset({INS.DELETE, INS.PUT_KEY, INS.SET_STATUS, INS.SEAL})


@dataclass(slots=True)
class Visit:
    """One card in the reader."""

    card: HeldCard
    plan: Plan
    name: str
    outcome: Mailbox
    inbox: Mailbox
    there: bool = True
    carried: bool = False
    slow_ms: int = 0
    running: bytes = b""
    script: Script | None = None
    arrived: int = 0
    session: CardSession = field(default_factory=CardSession)

    def pull(self) -> None:
        """The card is out."""
        self.there = False
        self.card.reset()


def _nowhere(_: HeldCard) -> None:
    """There is no other reader."""


class Terminal:
    """One terminal."""

    def __init__(self, place: Place, name: str, purpose: str, server: AccessServer, wire: Wire) -> None:
        self.place, self.name, self.purpose, self.server, self._wire = place, name, purpose, server, wire
        self.journal = MemoryJournal()
        self.up = True
        self.link: Link | None = None
        self.shares: Callable[[HeldCard], None] = _nowhere  # puts the card into another reader as well
        self._visits: dict[str, Visit] = {}
        self._tasks: dict[str, Task] = {}
        self._taps = 0
        self.connect()

    @property
    def free(self) -> bool:
        """Whether a card can be put in."""
        return self.up and not self._visits

    def holds(self, card: HeldCard) -> bool:
        """Whether the card is in the reader."""
        return any(one.card is card for one in self._visits.values())

    def head(self, tap: str, card: str) -> Head:
        """Of a message."""
        return Head(WIRE_VERSION, self.name, 1, tap, 2, 0, card)

    # --- the link -------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Links up, or tries again later; then sends what waits."""
        if not self.up or self.link is not None:
            return
        if not self.server.up:
            self._later(2_000)
            return
        self.link = Link(self._wire, self._cut)
        self.server.accept(self.link, self)
        self.place.log(f"{self.name} linked")
        for late in self._waiting():
            self._send(ReportMessage(self.head("", late.card), late.report), Plan())

    def _later(self, ms: int) -> None:
        self.place.scheduler.after(ms, self.connect)

    def _cut(self, link: Link) -> None:
        """The link is gone, and both ends know."""
        if not link.up:
            return
        link.up = False
        self.server.lost(link)
        if self.link is link:
            self.link = None
            for visit in self._visits.values():
                visit.inbox.put(LinkLost("the link was lost"))
            if self.up:
                self._later(self.place.some.randint(*RECONNECT_MS))

    def cut_link(self) -> None:
        """Cuts the present link, if there is one."""
        if self.link is not None:
            self._cut(self.link)

    def _send(self, message: Message, plan: Plan) -> None:
        if self.link is None:
            raise LinkLost("no link to the access server")
        link, server = self.link, self.server
        link.send(message, lambda one: server.receive(link, self, plan, one), plan, upward=True)

    def _waiting(self) -> tuple[CardReport, ...]:
        running = {one.running for one in self._visits.values()}
        return tuple(one for one in self.journal.rows.values() if one.report.digest not in running)

    def receive(self, message: Message) -> None:
        """One message from the access server."""
        if not self.up:
            return
        if isinstance(message, Ack):
            self.journal.forget(message.number, message.digest)
        elif message.head.tap in self._visits:
            self._visits[message.head.tap].inbox.put(message)

    # --- life and death -------------------------------------------------------------------------------------------

    def die(self, *, power: bool) -> None:
        """The process is gone; with the power also what was not on the disk. It comes back by itself."""
        if not self.up:
            return
        self.up = False
        visits, self._visits = self._visits, {}
        for visit in visits.values():
            visit.pull()
        for task in tuple(self._tasks.values()):
            self.place.scheduler.kill(task)
        self._tasks = {}
        self.cut_link()
        if power:
            self.journal.lose_power()
        for visit in visits.values():
            visit.outcome.put("the kiosk went dark")
        self.place.scheduler.after(self.place.some.randint(*RESTART_MS), self.start)

    def start(self) -> None:
        """On again."""
        if not self.up:
            self.up = True
            self.place.log(f"{self.name} up")
            self.connect()

    # --- a tap ----------------------------------------------------------------------------------------------------

    def visit(self, card: HeldCard, plan: Plan) -> Visit:
        """Puts a card in; its outcome comes to the visit's mailbox."""
        self._taps += 1
        scheduler = self.place.scheduler
        one = Visit(card, plan, f"{self.name}.{self._taps}", Mailbox(scheduler), Mailbox(scheduler))
        self.place.tally.taps += 1
        self.place.log(f"{one.name} {card.name} in")
        card.reset()
        self._visits[one.name] = one
        self._tasks[one.name] = scheduler.spawn(self._whole(one))
        return one

    async def _whole(self, visit: Visit) -> None:
        try:
            outcome = await self._tap(visit)
        except KioskError as wrong:
            outcome = wrong.outcome
        except Exception as wrong:
            raise Violation("a kiosk failed inside", visit.card.name, repr(wrong)) from wrong
        visit.pull()
        self._visits.pop(visit.name, None)
        self._tasks.pop(visit.name, None)
        self.journal.fails = False
        self.place.log(f"{visit.name} {visit.card.name} {outcome}")
        visit.outcome.put(outcome)

    async def _tap(self, visit: Visit) -> str:
        answers = []
        for step in IDENTIFY:
            raw = await self._exchange(visit, step.command)
            if raw is None:
                return "card-pulled"
            answers.append(raw)
        for _ in range(6):
            if self.link is not None:
                break
            await Sleep(LINK_PATIENCE_MS // 6)
        pending = self._waiting()[-MAX_PENDING:]
        tap = Tap(self.head(visit.name, visit.card.key), self.purpose, tuple(answers), pending, visit.card.kind.atr)
        self._send(tap, visit.plan)
        while True:
            message = await visit.inbox.get(ANSWER_MS + visit.slow_ms)
            match message:
                case None:
                    raise LinkLost("the access server says nothing")
                case KioskError():
                    raise message
                case ScriptMessage(_, script):
                    report = await self._run(visit, script)
                    self._send(ReportMessage(self.head(visit.name, visit.card.key), report), visit.plan)
                case Verdict(_, outcome) | Refuse(_, outcome, _):
                    assert isinstance(outcome, str)
                    return outcome
                case _:
                    raise AssertionError(message)

    async def _run(self, visit: Visit, script: Script) -> Report:
        visit.script, visit.arrived, visit.running = script, self.place.scheduler.now, script.digest

        async def answer(ask: Ask[Any]) -> Any:
            match ask:
                case Transmit(command):
                    return await self._transmit(visit, command)
                case NoteInDoubt():
                    await self._disk(visit)
                    await self.journal.note_in_doubt(script)
                    self.place.log(f"{visit.name} note {script.number}", script.digest)
                    await self._disk(visit)
                case KeepReport(report):
                    await self._disk(visit)
                    with contextlib.suppress(JournalFailed):  # its note stands
                        await self.journal.keep_report(script.card, report)
                    self.place.log(f"{visit.name} kept {script.number} {report.end.value}", report.digest)
                    await self._disk(visit)
                case Elapsed():
                    return self.place.scheduler.now - visit.arrived
            return None

        try:
            report, visit.session = await drive(relay(script, POLICY, visit.session), answer)
        except JournalFailed:
            report = Report(script.number, script.digest, End.REFUSED, ())
        finally:
            visit.running = b""
        return report

    async def _exchange(self, visit: Visit, command: bytes) -> bytes | None:
        async def answer(ask: Ask[Any]) -> Any:
            assert isinstance(ask, Transmit)
            return await self._transmit(visit, ask.command)

        raw, bare = await drive(exchange(command, visit.session.bare), answer)
        visit.session = replace(visit.session, bare=bare)
        return raw

    async def _disk(self, visit: Visit) -> None:
        self._strike(visit, visit.plan.next(Side.KIOSK))
        await Sleep(DISK_MS)

    async def _transmit(self, visit: Visit, command: bytes) -> bytes | None:
        kind = visit.plan.next(Side.KIOSK)
        self._strike(visit, kind)
        ms = self.place.some.randint(*COMMAND_MS)
        if kind is Kind.SLOW:
            visit.slow_ms = ms = self.place.some.randint(*SLOW_MS)
        await Sleep(ms)
        if not visit.there:
            return None
        changing = command[1] in CHANGING
        if changing:
            assert visit.script is not None
            visit.card.changing(visit.script, self.journal)
        raw = visit.card.transmit(command)
        self.place.tally.commands += 1
        self.place.log(f"{visit.name} {command[:4].hex()} {raw[-2:].hex()}", command + raw)
        if changing:
            visit.card.changed()
        if kind is Kind.PULL_AFTER:
            visit.pull()
            return None
        return raw

    def _strike(self, visit: Visit, kind: Kind | None) -> None:
        """What a fault does at once."""
        if kind is None:
            return
        self.place.struck(kind)
        match kind:
            case Kind.PULL_BEFORE:
                visit.pull()
            case Kind.CARRIED:
                visit.carried = True
                if self.link is not None:
                    self.link.lag(self.place.some.randint(*CARRIED_MS))
                visit.pull()
            case Kind.SHARED:
                self.shares(visit.card)
            case Kind.REFUSES:
                visit.card.card.refuses = True
            case Kind.KIOSK_KILLED | Kind.KIOSK_POWER:
                self.die(power=kind is Kind.KIOSK_POWER)
                raise Died
            case Kind.JOURNAL_FULL:
                self.journal.fails = True
            case Kind.LINK_CUT:
                self.cut_link()
            case Kind.HALF_OPEN if self.link is not None:
                link = self.link
                link.silent = True
                self.place.scheduler.after(HALF_OPEN_MS, lambda: self._cut(link))
