"""What a terminal says of itself on its status socket."""

import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.config import TerminalConfig, file_of
from kioskd.edges.clock import synchronised
from kioskd.edges.tls import validity
from kioskd.errors import JournalFailed, KioskError
from kioskd.outcomes import outcome
from kioskd.ports import ReaderState
from kioskd.shape import to_plain
from kioskd.terminal.answers import (
    CertificateAnswer,
    ClockAnswer,
    CurrentTap,
    JournalAnswer,
    LinkAnswer,
    State,
    StatusAnswer,
    TapAnswer,
)
from kioskd.terminal.events import Events, Kind
from kioskd.terminal.limits import DAY_S
from kioskd.terminal.tap import TapRecord, Terminal
from kioskd.terminal.versions import versions

KEPT_TAPS = 20
SHOWN_DIGITS = 8
SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0)
"""The upper bounds of the histogram of how long taps take."""


@dataclass(slots=True)
class Status:
    """The terminal's present state and its last taps."""

    name: str
    role: str
    software: str
    config: TerminalConfig | None = None
    started: float = field(default_factory=time.monotonic)
    ready_ms: float = 0
    pcscd: str = "up"
    readers: dict[str, ReaderState] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)  # readers that a technician has closed
    drained: bool = False  # no new card is taken
    taps: deque[TapRecord] = field(default_factory=lambda: deque(maxlen=KEPT_TAPS))
    running: dict[str, TapRecord] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)
    slower: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))  # taps by how long they took
    seconds: float = 0.0  # of all taps together
    events: Events = field(default_factory=Events)

    @property
    def under_way(self) -> int:
        """How many cards are being worked on."""
        return len(self.running)

    @contextmanager
    def at_work(self, record: TapRecord) -> Iterator[None]:
        """A tap that is under way as long as the context lasts."""
        self.running[record.tap] = record
        self.events.tell(Kind.TAP_BEGAN, record.tap, record.reader)
        try:
            yield
        finally:
            del self.running[record.tap]

    def count(self, record: TapRecord) -> None:
        """Keeps a tap that has ended."""
        self.taps.append(record)
        self.tallies[record.outcome] = self.tallies.get(record.outcome, 0) + 1
        self.seconds += record.ms / 1000
        self.slower[sum(record.ms / 1000 > bound for bound in SECONDS)] += 1
        self.events.tell(Kind.TAP_ENDED, record.tap, record.outcome)

    def takes(self, reader: str) -> bool:
        """Whether a card in that reader is taken."""
        return not self.drained and reader not in self.closed

    async def tell(self, terminal: Terminal) -> dict[str, Any]:
        """The answer of GET /status in plain values."""
        plain: dict[str, Any] = to_plain(await self.answer(terminal))
        return plain

    async def answer(self, terminal: Terminal) -> StatusAnswer:
        """The answer of GET /status: no key, no APDU data."""
        uplink = terminal.uplink
        try:
            reports = await terminal.journal.pending()
            figures = await terminal.journal.figures()
            waiting: int | None = len(reports)
            cases: int | None = len({one.card for one in reports})
            journal = self._journal(figures.bytes, figures.cryptograms)
        except JournalFailed:
            waiting, cases, journal = None, None, None
        server = self.config.server if self.config is not None else None
        return StatusAnswer(
            name=self.name,
            role=self.role,
            software=self.software,
            state=self.state(connected=uplink.connected, journal=waiting is not None),
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self.started, 1),
            ready_ms=round(self.ready_ms, 1),
            pcscd=self.pcscd,
            readers={name: state.value for name, state in self.readers.items()},
            closed_readers=tuple(sorted(self.closed)),
            server=f"{server.host}:{server.port}" if server is not None else "",
            link=LinkAnswer(uplink.connected, uplink.problem),
            link_losses=uplink.losses,
            pending_reports=waiting,
            open_cases=cases,
            under_way=self.under_way,
            current=tuple(_current(record) for record in self.running.values()),
            outcomes=dict(self.tallies),
            taps=self.told_taps(),
            journal=journal,
            certificate=self._certificate(),
            clock=ClockAnswer(round(time.time(), 3), synchronised(), uplink.server_ahead_s),
            versions=versions(),
            batch=terminal.observer.tell().get("batch"),
        )

    def state(self, *, connected: bool, journal: bool = True) -> State:
        """The terminal in one word: the worst that is true."""
        if self.pcscd != "up" or not self.readers or not journal:
            return State.OUT_OF_SERVICE
        if self.drained or not any(self.takes(reader) for reader in self.readers):
            return State.DRAINED
        if self.running:
            return State.BUSY
        return State.READY if connected else State.NO_LINK

    def told_taps(self) -> tuple[TapAnswer, ...]:
        """The last taps, oldest first, without whole card ids."""
        return tuple(
            TapAnswer(
                one.tap,
                one.reader,
                one.began,
                shortened(one.card),
                one.outcome,
                outcome(one.outcome).code,
                one.ms,
                tuple(one.moments),
            )
            for one in self.taps
        )

    def _journal(self, size: int, cryptograms: int) -> JournalAnswer | None:
        if self.config is None:
            return None
        try:
            free = shutil.disk_usage(Path(self.config.journal).parent).free
        except OSError:
            free = 0
        return JournalAnswer(size, cryptograms, free)

    def _certificate(self) -> CertificateAnswer | None:
        if self.config is None:
            return None
        try:
            begin, end = validity(file_of(self.config.tls.certificate))
        except KioskError:
            return None
        return CertificateAnswer(begin, end, round((end - time.time()) / DAY_S, 1))


def _current(record: TapRecord) -> CurrentTap:
    return CurrentTap(record.tap, record.reader, shortened(record.card), round(1000 * (time.time() - record.began), 1))


def shortened(card: str) -> str:
    """A card's id as it is shown: its kind and last 8 digits, which tell a CPLC's serial number; empty stays empty."""
    kind, colon, digits = card.partition(":")
    return f"{kind}{colon}…{digits[-SHOWN_DIGITS:]}" if len(digits) > SHOWN_DIGITS else card
