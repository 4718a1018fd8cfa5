"""What everything in a simulated world has at hand: its time, its randomness, its log, its tally."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kioskd.sim.faults import Kind
from kioskd.sim.scheduler import Scheduler

EPOCH_S = 1_800_000_000
"""Where virtual time begins, in seconds since 1970."""


@dataclass(slots=True)
class Tally:
    """What has happened."""

    taps: int = 0
    commands: int = 0  # to cards
    cards: int = 0
    rounds: int = 0
    outcomes: "Counter[str]" = field(default_factory=Counter)
    faults: "Counter[str]" = field(default_factory=Counter)
    closed: int = 0  # cases
    most_final_taps: int = 0  # that a card needed in the end
    charged: int = 0  # wrong cryptograms

    def add(self, other: "Tally") -> None:
        """Both together."""
        self.taps += other.taps
        self.commands += other.commands
        self.cards += other.cards
        self.rounds += other.rounds
        self.outcomes.update(other.outcomes)
        self.faults.update(other.faults)
        self.closed += other.closed
        self.most_final_taps = max(self.most_final_taps, other.most_final_taps)
        self.charged += other.charged


def _nowhere(_: str) -> None:
    """The log is only hashed."""


@dataclass(slots=True)
class Place:
    """One world's surroundings."""

    some: random.Random
    tell: Callable[[str], None] = _nowhere  # gets every line of the log: no data, no key
    scheduler: Scheduler = field(default_factory=Scheduler)
    tally: Tally = field(default_factory=Tally)
    digest: Any = field(default_factory=hashlib.sha256)

    def log(self, line: str, data: bytes = b"") -> None:
        """One event: its words are told and hashed, its data only hashed."""
        whole = f"{self.scheduler.now} {line}"
        self.digest.update(whole.encode() + b"|" + data + b"\n")
        self.tell(whole)

    def struck(self, kind: Kind) -> None:
        """One fault has happened."""
        self.tally.faults[kind.value] += 1
        self.log(f"fault: {kind.value}")

    def wall_s(self) -> int:
        """The true time, in seconds since 1970."""
        return EPOCH_S + self.scheduler.now // 1000
