"""What a terminal says of itself on its status socket."""

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from kioskd.errors import JournalFailed
from kioskd.outcomes import outcome
from kioskd.ports import ReaderState
from kioskd.shape import to_plain
from kioskd.terminal.tap import TapRecord, Terminal

KEPT_TAPS = 20
SHOWN_DIGITS = 8


@dataclass(slots=True)
class Status:
    """The terminal's present state and its last taps."""

    name: str
    role: str
    software: str
    started: float = field(default_factory=time.monotonic)
    ready_ms: float = 0
    pcscd: str = "up"
    readers: dict[str, ReaderState] = field(default_factory=dict)
    taps: deque[TapRecord] = field(default_factory=lambda: deque(maxlen=KEPT_TAPS))
    under_way: int = 0
    tallies: dict[str, int] = field(default_factory=dict)

    def count(self, record: TapRecord) -> None:
        """Keeps a tap that has ended."""
        self.taps.append(record)
        self.tallies[record.outcome] = self.tallies.get(record.outcome, 0) + 1

    async def tell(self, terminal: Terminal) -> dict[str, Any]:
        """The answer of GET /status: no key, no APDU data."""
        uplink = terminal.uplink
        try:
            waiting: int | None = len(await terminal.journal.pending())
        except JournalFailed:
            waiting = None
        return {
            "name": self.name,
            "role": self.role,
            "software": self.software,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "ready_ms": round(self.ready_ms, 1),
            "pcscd": self.pcscd,
            "readers": {name: state.value for name, state in self.readers.items()},
            "link": {"connected": uplink.connected, "problem": uplink.problem},
            "pending_reports": waiting,
            "under_way": self.under_way,
            "outcomes": self.tallies,
            "taps": [self._tap(record) for record in self.taps],
            **terminal.observer.tell(),
        }

    @staticmethod
    def _tap(record: TapRecord) -> dict[str, Any]:
        return {**to_plain(record), "card": shortened(record.card), "code": outcome(record.outcome).code}


def shortened(card: str) -> str:
    """A card's id as it is shown: its kind and last 8 digits, which tell a CPLC's serial number; empty stays empty."""
    kind, colon, digits = card.partition(":")
    return f"{kind}{colon}…{digits[-SHOWN_DIGITS:]}" if len(digits) > SHOWN_DIGITS else card
