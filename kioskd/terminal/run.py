"""A terminal from start to end: readers, link, journal, status socket, and a task for each tap."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from kioskd.config import TerminalConfig, file_of
from kioskd.edges import systemd
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.link import connect
from kioskd.edges.pcsc import PcscReaders
from kioskd.edges.status_http import serve_status
from kioskd.edges.tls import client_context
from kioskd.edges.trace_file import RecordingReaders
from kioskd.gp.executive import STATE_TAG
from kioskd.log_fields import MessageId, entry, tell
from kioskd.ports import Panel, ReaderEvent, ReaderState
from kioskd.rekey.relay import RelayPolicy
from kioskd.terminal.begun import cards_begun
from kioskd.terminal.events import Kind, TooMany
from kioskd.terminal.observer import Observer
from kioskd.terminal.panel import WELCOME, LinePanel
from kioskd.terminal.renewal import Renewal
from kioskd.terminal.standing import standing
from kioskd.terminal.status import Status
from kioskd.terminal.status_api import StatusApi
from kioskd.terminal.tap import TapRun, Terminal
from kioskd.terminal.uplink import Uplink
from kioskd.terminal.who_may import WhoMay
from kioskd.version import VERSION

log = logging.getLogger(__name__)

FINISH_S = 40.0
"""How long a script that is under way may take to finish when the service is told to stop."""

THERE = (ReaderState.CARD, ReaderState.MUTE)
"""A card is in the reader. One that did not answer to reset is tried all the same: connecting powers it up anew."""


class Floor:
    """Starts a tap for each card that arrives, one at a time in each reader."""

    def __init__(self, terminal: Terminal, status: Status, enough: asyncio.Event) -> None:
        self._terminal, self._status, self._enough = terminal, status, enough
        self._closing = False
        self._taps: dict[str, asyncio.Task[None]] = {}
        self._turned_away: set[str] = set()  # readers with a card that was not taken: drained, or closed
        self.standing = systemd.Standing(lambda: standing(status, terminal.uplink, self._closing))

    async def take(self, event: ReaderEvent) -> None:
        """Acts on one change at the readers."""
        panel, readers = self._terminal.panel, self._status.readers
        self._note(event)
        self._terminal.observer.reader(event.reader, event.state)
        self._status.events.tell(Kind.READER, event.reader, event.state.value)
        self._status.pcscd = "down" if event.state is ReaderState.DOWN else "up"
        if event.state is ReaderState.DOWN:
            readers.clear()
        elif event.state is ReaderState.GONE:
            readers.pop(event.reader, None)
        else:
            readers[event.reader] = event.state
        self._turned_away.discard(event.reader)
        if event.state in THERE and not self._status.takes(event.reader):
            self._turned_away.add(event.reader)
        self.standing.changed()
        if self._show_standing_fault() or event.state is ReaderState.GONE:
            return
        if event.state in THERE:
            if not self._status.takes(event.reader):
                panel.show("reader-closed")
            else:
                self._start(event.reader)
        elif not self._busy():
            panel.say(WELCOME)

    def _start(self, reader: str) -> None:
        if not self._closing:
            before = self._taps.get(reader)
            self._taps[reader] = asyncio.create_task(self._tap(reader, before))

    async def finish(self) -> None:
        """Waits for the taps that are under way, for a bounded time; takes no new card."""
        self._closing = True
        self.standing.changed()
        running = [task for task in self._taps.values() if not task.done()]
        if running:
            await asyncio.wait(running, timeout=FINISH_S)

    async def _tap(self, reader: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
            if not self._same_card(reader, asyncio.current_task()):
                return  # that card has left while the one before it was being finished
            if not self._status.takes(reader):
                self._turned_away.add(reader)
                return
        task = asyncio.current_task()
        run = TapRun(self._terminal, reader, lambda: self._same_card(reader, task))
        observer = self._terminal.observer
        if not observer.admits(reader, run.record.tap):
            return
        began = entry(MessageId.TAP_BEGAN, TAP=run.record.tap, READER=reader)
        log.info("tap %s: a card in %s", run.record.tap, reader, extra=began)
        with self._status.at_work(run.record):
            self.standing.changed()
            outcome = await run.run()
        self._terminal.panel.show(outcome)
        self._status.count(run.record)
        self.standing.changed()
        if await observer.ends(run.record):
            self._enough.set()
        self._show_standing_fault()

    def refresh(self) -> None:
        """Brings all up to date after a technician's act: cards that were turned away, the line in the log, the screen.

        A card that is being worked on keeps its words on the screen.
        """
        for reader in sorted(self._turned_away):
            if self._status.takes(reader):
                self._turned_away.discard(reader)
                self._start(reader)
        self.standing.changed()
        if not self._busy() and not self._show_standing_fault():
            self._terminal.panel.say(WELCOME)

    def _note(self, event: ReaderEvent) -> None:
        """Logs readers and a daemon of the readers that come and go; a card that does is the tap's to tell."""
        trouble = ""
        if event.state is ReaderState.DOWN:
            trouble = "pcscd-down"
        elif event.state is ReaderState.GONE:
            trouble = "" if event.reader else "no-reader"
        elif event.reader in self._status.readers:
            return
        kind = entry(MessageId.READER_CHANGED, trouble, READER=event.reader)
        log.info("reader %s: %s", event.reader or "(any)", event.state.value, extra=kind)

    def _same_card(self, reader: str, tap: asyncio.Task[None] | None) -> bool:
        """Whether the card for which this tap was started has been in the reader ever since."""
        return self._taps.get(reader) is tap and self._status.readers.get(reader) in THERE

    def _show_standing_fault(self) -> bool:
        """Out of service: no daemon, no reader, or drained; whether it is so."""
        status = self._status
        if status.pcscd == "down" or not status.readers:
            self._terminal.panel.show("pcscd-down" if status.pcscd == "down" else "no-reader")
        elif not any(map(status.takes, status.readers)):
            self._terminal.panel.show("drained")
        else:
            return False
        return True

    def _busy(self) -> bool:
        return any(not task.done() for task in self._taps.values())


async def run_terminal(
    config: TerminalConfig,
    purpose: str,
    role: str,
    *,
    observer: Observer | None = None,
    panel: Panel | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Runs until SIGTERM, SIGINT, `stop`, or until the observer says that this was the last tap."""
    tell(KIOSK=config.name)
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        terminal, status, readers = await _assemble(config, purpose, role, panel or LinePanel(), stack)
        terminal.observer = observer or terminal.observer
        status.taps.extend(await cards_begun(terminal.journal))
        floor = Floor(terminal, status, stop)
        api, who_may = StatusApi(config, terminal, status, floor.refresh), WhoMay.of(config.status)
        place = systemd.handed_socket() or Path(config.socket)
        async with serve_status(place, api.routes, who_may.refusal, (TooMany,)):
            terminal.uplink.listeners.append(floor.standing.changed)
            work = {
                "the link": asyncio.create_task(terminal.uplink.run()),
                "the readers' events": asyncio.create_task(_watch(readers, floor)),
            }
            tasks = [
                *work.values(),
                asyncio.create_task(systemd.watchdog(_parts(terminal, readers, work), floor.standing)),
            ]
            status.ready_ms = _age_ms()
            gc.freeze()  # what the start has made stays: no collection in a tap looks through it again
            systemd.notify("READY=1")
            floor.standing.changed()
            ready = entry(MessageId.READY)
            log.info("%s %s is ready after %.0f ms", role, config.name, status.ready_ms, extra=ready)
            try:
                await stop.wait()
                systemd.notify("STOPPING=1")
                log.info("stops; taps to be finished first: %d", status.under_way, extra=entry(MessageId.DRAINING))
                await floor.finish()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _assemble(
    config: TerminalConfig, purpose: str, role: str, panel: Panel, stack: AsyncExitStack
) -> tuple[Terminal, Status, PcscReaders]:
    status = Status(config.name, role, software := f"kioskd {VERSION}", config)
    renewal = Renewal(config, identity(config), lambda: status.under_way == 0)
    stack.callback(asyncio.create_task(renewal.run()).cancel)
    journal = SqliteJournal(Path(config.journal))
    stack.push_async_callback(journal.close)
    waits = {"wait_s": systemd.watchdog_s() / 2} if systemd.watchdog_s() else {}
    readers = PcscReaders(config.reader.transmit_timeout_s, config.reader.name_contains, **waits)
    stack.push_async_callback(readers.close)
    server = config.server
    uplink = Uplink(
        config.name,
        software,
        lambda: connect(server.host, server.port, server.name, renewal.for_link(), server.proxy),
        journal,
    )
    policy = RelayPolicy(
        aids=tuple(bytes.fromhex(aid) for aid in config.policy.aids),
        level=int(config.policy.level, 16),
        tags=(*(int(tag, 16) for tag in config.policy.tags), *((STATE_TAG,) if config.policy.executive else ())),
        executive=config.policy.executive,
    )
    cards = RecordingReaders(readers, Path(config.trace)) if config.trace else readers
    terminal = Terminal(purpose, cards, uplink, journal, panel, policy, server.patience_s)
    return terminal, status, readers


def _parts(
    terminal: Terminal, readers: PcscReaders, work: Mapping[str, asyncio.Task[None]]
) -> dict[str, systemd.Alive]:
    """What must answer before the watchdog is fed; that the loop turns is shown by asking."""

    async def goes_on(task: asyncio.Task[None]) -> bool:
        return not task.done()

    return {
        "the thread that watches the readers": readers.alive,
        "the journal": terminal.journal.alive,
        **{name: partial(goes_on, task) for name, task in work.items()},
    }


def identity(config: TerminalConfig) -> ssl.SSLContext:
    """The terminal's TLS identity; `BadConfiguration` if its files are none."""
    return client_context(file_of(config.tls.ca), file_of(config.tls.certificate), file_of(config.tls.key))


async def _watch(readers: PcscReaders, floor: Floor) -> None:
    async with contextlib.aclosing(readers.events()) as events:
        async for event in events:
            try:
                await floor.take(event)
            except Exception:
                log.exception("reader %s: %s failed", event.reader, event.state)


def _age_ms() -> float:
    """Since this process was started, imports included; to 10 ms, as the kernel counts."""
    ticks = int(Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19])
    return 1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
