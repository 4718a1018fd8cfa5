"""The access server of a simulation: the shipped conversations, over a store in memory, killed and started anew."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kioskd.access.office import Office
from kioskd.access.session import PATIENCE_S
from kioskd.access.taps import converse, settle_report
from kioskd.errors import KioskError, LinkLost, Malformed, StoreFailed, TapEnds, VaultError
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.wire import (
    Ack,
    CardReport,
    Message,
    Refuse,
    Report,
    ReportMessage,
    Script,
    ScriptMessage,
    Tap,
    Verdict,
)
from kioskd.sim.faults import Kind, Plan, Side
from kioskd.sim.kinds import PROFILES
from kioskd.sim.link import Link
from kioskd.sim.place import Place
from kioskd.sim.scheduler import Died, Mailbox, Sleep, Task
from kioskd.sim.store import MemoryStore, Tables
from kioskd.virtual.oracle import Violation
from kioskd.virtual.seeded_vault import SeededVault

T = TypeVar("T")

RESTART_MS = (2_000, 20_000)
STORE_MS, VAULT_MS = 1, 1


@dataclass(slots=True)
class SteppedOffice(Office):
    """What one conversation sees of the access server: every call of vault and store is a point."""

    point: Callable[[str], Any] = field(kw_only=True)

    async def in_vault(self, job: Callable[..., T], *args: Any) -> T:
        """Calls a vault verb here and now."""
        await self.point(getattr(job, "__name__", "vault"))
        return job(*args)


@dataclass(slots=True)
class Desk:
    """One conversation's line to its terminal."""

    server: "AccessServer"
    link: Link
    terminal: Any
    tap: Tap
    plan: Plan
    reports: Mailbox
    acks: list[tuple[int, bytes]] = field(default_factory=list)

    async def run(self, script: Script, fence: int) -> Report:
        """Sends the script and waits for its report, as long as the shipped server does."""
        head = self.tap.head
        self.post(ScriptMessage(head, script))
        self.send_acks()
        report = await self.reports.get(script.deadline_ms + int(1000 * PATIENCE_S))
        if report is None:
            raise TapEnds("too-late", f"no report for script {script.number}")
        if isinstance(report, KioskError):
            raise report
        if (report.number, report.digest) != (script.number, script.digest):
            raise Malformed("a report for another script")
        assert isinstance(report, Report)
        return report

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Behind the next script or verdict."""
        self.acks.append((number, digest))

    def send_acks(self) -> None:
        """Sends what is to be acknowledged."""
        while self.acks:
            self.post(Ack(self.tap.head, *self.acks.pop(0)))

    def post(self, message: Message) -> None:
        """Sends one message of this tap."""
        self.link.send(message, self.terminal.receive, self.plan, upward=False)


class AccessServer:
    """One process at a time; its tables outlive it."""

    def __init__(self, place: Place, vault: SeededVault) -> None:
        self.place = place
        self.tables = Tables()
        self.vault = vault
        self.up = True
        self.rotates = False
        self.jump_s = 0  # how wrong its clock is
        self.conversations = 0  # since the beginning
        self._desks: dict[str, Desk] = {}
        self._tasks: dict[int, Task] = {}
        self._links: dict[int, tuple[Link, Any]] = {}
        self._office = self._opened(None, None)

    @property
    def busy(self) -> bool:
        """Whether a conversation is under way."""
        return bool(self._desks or self._tasks)

    def accept(self, link: Link, terminal: Any) -> None:
        """A terminal has connected."""
        self._links[id(link)] = (link, terminal)

    def receive(self, link: Link, terminal: Any, plan: Plan, message: Message) -> None:
        """One message from a terminal."""
        if not self.up:
            return
        match message:
            case Tap() if message.head.tap in self._desks or not link.up:
                link.cut(link)
            case Tap():
                self._desks[message.head.tap] = desk = Desk(
                    self, link, terminal, message, plan, Mailbox(self.place.scheduler)
                )
                self._spawn(self._converse(desk))
            case ReportMessage(head, report):
                desk_there = self._desks.get(head.tap)
                if desk_there is not None and desk_there.link is link:
                    desk_there.reports.put(report)
                else:
                    self._spawn(self._late_alone(link, terminal, plan, CardReport(head.card, report)))

    def lost(self, link: Link) -> None:
        """A link is gone; its conversations hear of it."""
        self._links.pop(id(link), None)
        for desk in tuple(self._desks.values()):
            if desk.link is link:
                desk.reports.put(LinkLost("the link was lost"))

    def arm(self, vault: SeededVault, campaign: Campaign, *, rotates: bool) -> None:
        """A campaign has begun; the office in which conversations begin is a new one."""
        self.vault, self.rotates = vault, rotates
        self.tables.campaigns = (*self.tables.campaigns, campaign)
        self._office = self._opened(None, self._office)

    def speaks_of(self, card: str) -> bool:
        """Whether a conversation about a card is under way."""
        return any(desk.tap.head.card == card for desk in self._desks.values())

    def die(self, restart_ms: int | None = None) -> None:
        """The process is killed, and started again later."""
        if not self.up:
            return
        self.up = False
        for task in tuple(self._tasks.values()):
            self.place.scheduler.kill(task)
        self._tasks, self._desks = {}, {}
        for link, _ in tuple(self._links.values()):
            link.cut(link)
        self.place.scheduler.after(restart_ms or self.place.some.randint(*RESTART_MS), self.start)

    def start(self) -> None:
        """A new process over the same tables and keys."""
        if self.up:
            return
        self.vault = self.vault.restarted()
        self._office = self._opened(None, None)
        self.up = True
        self.place.log("server up")

    def _opened(self, point: Any, of: SteppedOffice | None) -> SteppedOffice:
        """An office for one conversation, that shares what all of a process share."""
        place = self.place
        return SteppedOffice(
            self.vault,
            MemoryStore(self.tables, point),
            PROFILES,
            self.rotates,
            tallies={} if of is None else of.tallies,
            recoveries={} if of is None else of.recoveries,
            worker=None if of is None else of.worker,  # type: ignore[arg-type] # an instant vault needs none
            monotonic=lambda: place.scheduler.now / 1000,
            now=lambda: place.wall_s() + self.jump_s,
            point=point,
        )

    def _point(self, plan: Plan) -> Callable[[str], Any]:
        async def point(name: str) -> None:
            kind = plan.next(Side.SERVER)
            if kind is not None:
                self.place.struck(kind)
                self._strike(kind)
            await Sleep(STORE_MS if name.startswith("store") else VAULT_MS)

        return point

    def _strike(self, kind: Kind) -> None:
        if kind is Kind.STORE_FULL:
            raise StoreFailed("the disk is full")
        if kind is Kind.VAULT_FAILS:
            raise VaultError("the token does not answer")
        self.die()
        raise Died

    def _spawn(self, work: Any) -> None:
        number = self.conversations = self.conversations + 1

        async def whole() -> None:
            try:
                await work
            finally:
                self._tasks.pop(number, None)

        self._tasks[number] = self.place.scheduler.spawn(whole())

    async def _converse(self, desk: Desk) -> None:
        tap, plan = desk.tap, desk.plan
        office = self._opened(self._point(plan), self._office)
        head = tap.head
        try:
            for pending in tap.pending:
                await self._late(office, desk.link, desk.terminal, plan, pending)
            message: Message
            try:
                role = "station" if tap.purpose == "issue" else "kiosk"
                message = Verdict(head, await converse(office, head.kiosk, role, tap, desk))
            except TapEnds as end:
                self.place.log(f"refused {end}")
                message = Refuse(head, end.name, end.detail)
            except LinkLost:
                return
            except KioskError as wrong:
                message = Refuse(head, wrong.outcome, str(wrong))
            except Exception as wrong:
                raise Violation("the access server failed inside", head.card, repr(wrong)) from wrong
            desk.post(message)
            desk.send_acks()
        except LinkLost:
            pass
        finally:
            if self._desks.get(head.tap) is desk:
                del self._desks[head.tap]

    async def _late_alone(self, link: Link, terminal: Any, plan: Plan, late: CardReport) -> None:
        await self._late(self._opened(self._point(plan), self._office), link, terminal, plan, late)

    async def _late(self, office: Office, link: Link, terminal: Any, plan: Plan, late: CardReport) -> None:
        try:
            if await settle_report(office, terminal.name, late):
                head = terminal.head("", late.card)
                link.send(Ack(head, late.report.number, late.report.digest), terminal.receive, plan, upward=False)
            else:
                self.place.log(f"not on record: report {late.report.number}")
        except KioskError:
            pass  # it comes again
        except Exception as wrong:
            raise Violation("the access server failed inside", late.card, repr(wrong)) from wrong
