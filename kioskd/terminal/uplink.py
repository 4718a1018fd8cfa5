"""The terminal's standing link: reconnects by itself, hands each tap its messages, sends waiting reports."""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from kioskd.errors import JournalFailed, KioskError, KioskRevoked, LinkLost, Malformed
from kioskd.log_fields import MessageId, entry
from kioskd.ports import Journal
from kioskd.ports import Uplink as Link
from kioskd.rekey.wire import (
    MAX_MESSAGE_BYTES,
    MAX_PENDING,
    WIRE_VERSION,
    Ack,
    CardReport,
    Head,
    Hello,
    Message,
    Refuse,
    ReportMessage,
    Step,
    Welcome,
)
from kioskd.shape import to_plain

log = logging.getLogger(__name__)

RETRY_S = (0.5, 30.0)
WELCOME_S = 10.0
ANSWER_S = 8.0
"""How long a tap waits for the access server's next word: a cardholder waits no longer at a silent screen."""

TAP_BYTES = MAX_MESSAGE_BYTES // 2
"""What the waiting reports in a tap message may take up together."""

Connect = Callable[[], AbstractAsyncContextManager[Link]]
"""Makes one link; raises a kind of `LinkLost`."""


@dataclass(slots=True)
class TapLine:
    """One tap's messages on the present link; dead when the link goes."""

    uplink: "Uplink"
    tap: str
    inbox: "asyncio.Queue[Message | KioskError]" = field(default_factory=asyncio.Queue)
    fence: int = 0
    card: str = ""
    running: bytes = b""  # the digest of the script that is under way: its note is no report yet

    async def send(self, make: Callable[[Head], Message]) -> None:
        """Sends one message of this tap; `LinkLost` if the link is gone."""
        await self.uplink.send(make, self.tap, self.fence, self.card)

    async def receive(self, patience_s: float = ANSWER_S) -> Message:
        """The next message for this tap; `LinkLost` if the link goes or stays silent, or `Malformed` if that is why."""
        try:
            async with asyncio.timeout(patience_s):
                message = await self.inbox.get()
        except TimeoutError as wrong:
            raise LinkLost(f"the access server said nothing for {patience_s:g} s") from wrong
        if isinstance(message, KioskError):
            raise message
        self.fence, self.card = message.head.fence or self.fence, message.head.card or self.card
        return message


class Uplink:
    """The link that is there, or the reason why there is none."""

    def __init__(self, name: str, software: str, connect: Connect, journal: Journal) -> None:
        self.problem = "server-down"
        self.losses = 0  # how often a link that stood went away
        self.server_ahead_s: float | None = None  # its clock against ours, when the last link was made
        self.identify: tuple[Step, ...] = ()
        self.listeners: list[Callable[[], None]] = []  # hear when the link has come or gone
        self._name, self._software = name, software
        self._connect, self._journal = connect, journal
        self._link: Link | None = None
        self._ready = asyncio.Event()
        self._hurry = asyncio.Event()
        self._epoch = self._sent = self._received = 0
        self._sending = asyncio.Lock()
        self._taps: dict[str, TapLine] = {}
        self._acknowledging: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether the access server has welcomed this terminal."""
        return self._ready.is_set()

    async def run(self) -> None:
        """Keeps a link up until cancelled."""
        pause_s = RETRY_S[0]
        while True:
            self._hurry.clear()
            try:
                async with self._connect() as link:
                    await self._greet(link)
                    pause_s = RETRY_S[0]
                    await self._listen(link)
            except KioskError as wrong:
                self._drop(wrong)
            except Exception as wrong:
                log.exception("link: failed")
                self._drop(KioskError(str(wrong)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - not a secret
                    await self._hurry.wait()
            pause_s = min(2 * pause_s, RETRY_S[1])

    def hurry(self) -> None:
        """Tries at once, if there is no link, and does not wait out its pause."""
        self._hurry.set()

    async def wait(self, patience_s: float) -> None:
        """Waits for the link, tries at once if there is none; `LinkLost` if it does not come in time."""
        self._hurry.set()
        try:
            async with asyncio.timeout(patience_s):
                await self._ready.wait()
        except TimeoutError as wrong:
            raise LinkLost("no link to the access server") from wrong

    @contextlib.asynccontextmanager
    async def tap(self, name: str) -> AsyncIterator[TapLine]:
        """One tap's line on the present link."""
        line = TapLine(self, name)
        self._taps[name] = line
        try:
            yield line
        finally:
            del self._taps[name]

    async def send(self, make: Callable[[Head], Message], tap: str = "", fence: int = 0, card: str = "") -> None:
        """Sends one message under the link's next sequence number."""
        async with self._sending:
            if self._link is None or (tap and not self.connected):  # only hello goes out before the welcome
                raise LinkLost("no link to the access server")
            self._sent += 1
            await self._link.send(make(Head(WIRE_VERSION, self._name, self._epoch, tap, self._sent, fence, card)))

    async def waiting(self) -> tuple[CardReport, ...]:
        """The reports that wait in the journal, oldest first, without the scripts that are under way."""
        running = self._running()
        waiting = await self._journal.pending()
        running |= self._running()
        return tuple(one for one in waiting if one.report.digest not in running)

    def _running(self) -> set[bytes]:
        return {line.running for line in self._taps.values()}

    async def waiting_for_tap(self) -> tuple[CardReport, ...]:
        """The newest waiting reports that have room in one message."""
        room, chosen = TAP_BYTES, []
        for one in reversed((await self.waiting())[-MAX_PENDING:]):
            room -= len(json.dumps(to_plain(one)))
            if room < 0:
                break
            chosen.append(one)
        return tuple(reversed(chosen))

    async def _send_waiting(self) -> None:
        """Sends the waiting reports outside of any tap."""
        for late in await self.waiting():
            report = late.report
            await self.send(lambda head, report=report: ReportMessage(head, report), card=late.card)  # type: ignore[misc]

    async def _greet(self, link: Link) -> None:
        self._link, self._epoch, self._sent, self._received = link, 0, 1, 0
        welcome = await greet(link, self._name, self._software)
        _heed(welcome)
        if not isinstance(welcome, Welcome) or welcome.head.kiosk != self._name or welcome.head.sequence != 1:
            raise Malformed("the access server's first message is not our welcome")
        self._epoch, self._received, self.identify = welcome.head.epoch, 1, welcome.identify
        self.problem = ""
        self.server_ahead_s = link.server_ahead_s
        self._ready.set()
        self._tell()
        log.info("link: welcome, epoch %d", self._epoch, extra=entry(MessageId.LINK_UP))
        await self._send_waiting()

    async def _listen(self, link: Link) -> None:
        while True:
            message = await link.receive()
            head = message.head
            if (head.kiosk, head.epoch, head.sequence) != (self._name, self._epoch, self._received + 1):
                raise Malformed("a message out of order, of another link, or for another terminal")
            self._received = head.sequence
            if isinstance(message, Ack):
                # The verdict may be right behind it, and need not wait for the disk.
                task = asyncio.create_task(self._acknowledge(message))
                self._acknowledging.add(task)
                task.add_done_callback(self._acknowledging.discard)
            elif head.tap in self._taps:
                self._taps[head.tap].inbox.put_nowait(message)
            else:
                log.info("link: %s for tap %s, which has ended", type(message).__name__, head.tap)
            _heed(message)

    async def _acknowledge(self, ack: Ack) -> None:
        try:
            await self._journal.acknowledge(ack.number, ack.digest)
        except JournalFailed as wrong:
            kind = entry(MessageId.JOURNAL_FAILED, wrong.outcome)
            log.error("link: report %d stays in the journal and goes up again: %s", ack.number, wrong, extra=kind)

    def _tell(self) -> None:
        for hear in self.listeners:
            hear()

    def _drop(self, wrong: KioskError) -> None:
        """Ends the link, its taps with it."""
        if wrong.outcome != self.problem:
            kind = entry(MessageId.LINK_DOWN, wrong.outcome)
            log.warning("link: %s: %s", wrong.outcome, wrong, extra=kind)
        changed = self.connected or wrong.outcome != self.problem
        self.losses += self.connected
        self.problem = wrong.outcome
        self._link = None
        self._ready.clear()
        if changed:
            self._tell()
        for line in self._taps.values():
            line.inbox.put_nowait(wrong)


async def greet(link: Link, name: str, software: str) -> Message:
    """What the access server answers to a terminal that says hello; `LinkLost` if it says nothing."""
    await link.send(Hello(Head(WIRE_VERSION, name, 0, "", 1, 0, ""), software))
    try:
        async with asyncio.timeout(WELCOME_S):
            return await link.receive()
    except TimeoutError as wrong:
        raise LinkLost("the access server did not say welcome") from wrong


def _heed(message: Message) -> None:
    """`KioskRevoked` if the access server refuses not a card but this terminal."""
    if isinstance(message, Refuse) and message.outcome == KioskRevoked.outcome:
        raise KioskRevoked(message.detail)
