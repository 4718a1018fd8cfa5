"""One terminal's link, at the access server: hello and welcome, then taps, each in its own task, and late reports."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Protocol

from kioskd.access.office import Office
from kioskd.access.taps import converse, settle_report
from kioskd.errors import KioskError, KioskRevoked, LinkLost, Malformed, StoreFailed, TapEnds
from kioskd.log_fields import MessageId, card_hash, entry, tell, telling
from kioskd.rekey.profile import identify_steps
from kioskd.rekey.wire import (
    WIRE_VERSION,
    Ack,
    CardReport,
    Head,
    Hello,
    Message,
    Refuse,
    Report,
    ReportMessage,
    Script,
    ScriptMessage,
    Tap,
    Verdict,
    Welcome,
)

log = logging.getLogger(__name__)

MAX_TAPS = 16
"""Conversations that one terminal may have at once (one for each of its readers)."""

MAX_UNREAD = 2
"""Reports of one tap that may wait to be read: each script has one."""

PATIENCE_S = 30.0
"""How long past a script's deadline its report is waited for."""


class Link(Protocol):
    """A terminal's live connection."""

    async def send(self, message: Message) -> None:
        """Sends; `LinkLost` if the link is gone."""
        ...

    async def receive(self) -> Message:
        """The next message; `LinkLost` or `Malformed`."""
        ...


@dataclass(slots=True)
class Session:
    """A terminal that has said hello, known by its certificate."""

    office: Office
    name: str
    role: str
    link: Link
    revoked: Callable[[], Awaitable[bool]]  # whether the terminal's certificate is revoked by now
    epoch: int = field(default_factory=lambda: secrets.randbelow(2**31 - 1) + 1)
    _sent: int = 0
    _received: int = 0
    _desks: "dict[str, _Line]" = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self) -> None:
        """Speaks with the terminal until the link is lost or it says something that it must not."""
        tell(KIOSK=self.name)
        try:
            await self._welcome()
            while True:
                message = await self._receive()
                if await self._admits(message):
                    await self._dispatch(message)
        except KioskRevoked as wrong:
            log.warning("%s: %s; the link is closed", self.name, wrong)
        except LinkLost:
            log.info("%s: link closed", self.name, extra=entry(MessageId.TERMINAL_WENT))
        except Malformed as wrong:
            gone = entry(MessageId.TERMINAL_WENT, wrong.outcome)
            log.warning("%s: %s; the link is closed", self.name, wrong, extra=gone)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _welcome(self) -> None:
        hello = await self.link.receive()
        if not isinstance(hello, Hello) or hello.head.sequence != 1:
            raise Malformed("the first message is not hello")
        if hello.head.kiosk != self.name:
            raise Malformed(f"hello from {hello.head.kiosk!r:.40} under the certificate of {self.name}")
        self._received = 1
        kind = entry(MessageId.TERMINAL_CAME)
        await self._admits(hello)
        log.info("%s: %s connected, software %s", self.name, self.role, hello.software, extra=kind)
        await self.post(lambda head: Welcome(head, identify_steps(*self.office.profiles)))

    async def _receive(self) -> Message:
        message = await self.link.receive()
        head = message.head
        if (head.kiosk, head.epoch, head.sequence) != (self.name, self.epoch, self._received + 1):
            raise Malformed("a message out of order, of another link, or of another terminal")
        self._received = head.sequence
        return message

    async def _admits(self, message: Message) -> bool:
        """Refuses whatever comes from a terminal that was revoked, also on a link that was open before.

        Where the store does not answer, no tap is begun; a report is judged by the store anyway.
        """
        try:
            if not await self.revoked():
                return True
        except StoreFailed as wrong:
            log.warning("%s: whether it is revoked cannot be looked up: %s", self.name, wrong)
            if isinstance(message, Tap):
                await self._refuse(message, StoreFailed.outcome, str(wrong))
            return not isinstance(message, Tap)
        words = "the certificate of this terminal was revoked"
        await self._refuse(message, KioskRevoked.outcome, words)
        raise KioskRevoked(words)

    async def _refuse(self, message: Message, outcome: str, words: str) -> None:
        head = message.head
        await self.post(lambda one: Refuse(one, outcome, words), tap=head.tap, card=head.card)

    async def _dispatch(self, message: Message) -> None:
        match message:
            case Tap():
                if message.head.tap in self._desks or len(self._desks) >= MAX_TAPS:
                    raise Malformed("a tap that is already under way, or too many")
                line = _Line(self, message.head.tap, message.head.card)
                self._desks[message.head.tap] = line
                self._start(self._tap(message, line))
            case ReportMessage() if message.head.tap in self._desks:
                waiting = self._desks[message.head.tap].reports
                if waiting.full():
                    raise Malformed("more reports than scripts")
                waiting.put_nowait(message.report)
            case ReportMessage():
                self._start(self._late(CardReport(message.head.card, message.report)))
            case _:
                raise Malformed(f"a terminal does not send {type(message).__name__}")

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tap(self, tap: Tap, line: "_Line") -> None:
        tell(TAP=tap.head.tap)
        with self.office.taps.one():
            await self._serve_tap(tap, line)

    async def _serve_tap(self, tap: Tap, line: "_Line") -> None:
        try:
            for pending in tap.pending:
                await self._late(pending)
            outcome, detail, refused = await self._converse(tap, line)
            self.office.count(outcome)
            if refused:
                await line.post(lambda head: Refuse(head, outcome, detail))
            else:
                await line.post(lambda head: Verdict(head, outcome))
            await line.send_acknowledgements()  # behind the verdict: the cardholder does not wait for them
            log.info("tap %s: %s", tap.head.tap, outcome, extra=entry(MessageId.TAP_ENDED, outcome))
        except LinkLost:
            words = "tap %s: the link was lost; the card's records decide what is left to do"
            log.info(words, tap.head.tap, extra=entry(MessageId.TAP_TROUBLE, "link-lost"))
        finally:
            del self._desks[tap.head.tap]

    async def _converse(self, tap: Tap, line: "_Line") -> tuple[str, str, bool]:
        """The outcome's name, a sentence, and whether it is a refusal."""
        if self.office.taps.draining:
            return "server-down", "the access server is being stopped", True
        try:
            return await converse(self.office, self.name, self.role, tap, line), "", False
        except TapEnds as end:
            return end.name, end.detail, True
        except LinkLost:
            raise
        except KioskError as wrong:
            kind = entry(MessageId.TAP_TROUBLE, wrong.outcome)
            log.warning("tap %s: %s: %s", tap.head.tap, wrong.outcome, wrong, extra=kind)
            return wrong.outcome, str(wrong), True
        except Exception:
            log.exception("tap %s: failed", tap.head.tap, extra=entry(MessageId.TAP_TROUBLE, "internal"))
            return "internal", "", True

    async def _late(self, late: CardReport) -> None:
        with telling(CARD=card_hash(late.card)):
            await self._judge_late(late)

    async def _judge_late(self, late: CardReport) -> None:
        kind = entry(MessageId.LATE_REPORT)
        try:
            if await settle_report(self.office, self.name, late):
                await self.post(lambda head: Ack(head, late.report.number, late.report.digest), card=late.card)
            else:
                words = "%s: a report for script %d of %s, not on record"
                log.warning(words, self.name, late.report.number, late.card, extra=kind)
        except LinkLost:
            pass  # it comes again
        except KioskError as wrong:
            log.warning("%s: a late report could not be judged: %s", self.name, wrong, extra=kind)

    async def post(self, make: Callable[[Head], Message], *, tap: str = "", card: str = "", fence: int = 0) -> None:
        """Sends one message under the link's next sequence number."""
        async with self._sending:
            self._sent += 1
            await self.link.send(make(Head(WIRE_VERSION, self.name, self.epoch, tap, self._sent, fence, card)))


@dataclass(slots=True)
class _Line:
    """One tap's way to its terminal."""

    session: Session
    tap: str
    card: str
    reports: asyncio.Queue[Report] = field(default_factory=lambda: asyncio.Queue(MAX_UNREAD))
    _acks: list[tuple[int, bytes]] = field(default_factory=list)

    async def run(self, script: Script, fence: int) -> Report:
        """Sends the script and waits for its report."""
        self.card = script.card or self.card
        await self.post(lambda head: ScriptMessage(head, script), fence=fence)
        await self.send_acknowledgements()
        try:
            async with asyncio.timeout(script.deadline_ms / 1000 + PATIENCE_S):
                report = await self.reports.get()
        except TimeoutError as wrong:
            raise TapEnds("too-late", f"no report for script {script.number}") from wrong
        if (report.number, report.digest) != (script.number, script.digest):
            raise Malformed("a report for another script")
        return report

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Tells the terminal that the report is durable here, behind the next script or verdict."""
        self._acks.append((number, digest))

    async def send_acknowledgements(self) -> None:
        """Sends what is to be acknowledged."""
        while self._acks:
            number, digest = self._acks.pop(0)
            await self.post(lambda head, number=number, digest=digest: Ack(head, number, digest))  # type: ignore[misc]

    async def post(self, make: Callable[[Head], Message], fence: int = 0) -> None:
        """Sends one message of this tap."""
        await self.session.post(make, tap=self.tap, card=self.card, fence=fence)
