"""One link between a terminal and the access server: it delays, doubles, reorders, loses, and is cut."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kioskd.errors import LinkLost
from kioskd.rekey.wire import Ack, ReportMessage, decode, encode
from kioskd.sim.faults import Kind, Plan, Side
from kioskd.sim.scheduler import Scheduler

LATENCY_MS = (4, 30)
STALLS_MS = ((100, 2_000), (500, 45_000))
DOUBLED_MS = (1, 60_000)

Deliver = Callable[[Any], None]


@dataclass(slots=True)
class Wire:
    """What all links of a world share."""

    scheduler: Scheduler
    some: random.Random
    struck: Callable[[Kind], None]
    every: int = 8  # so many messages to one that is written as JSON and read again
    sent: int = 0

    def copied(self, message: Any) -> Any:
        """The message as the other end reads it."""
        self.sent += 1
        return decode(encode(message)) if self.sent % self.every == 0 else message


@dataclass(slots=True)
class Link:
    """From one welcome to the moment when it is lost."""

    wire: Wire
    cut: Callable[["Link"], None]  # tells both ends
    up: bool = True
    silent: bool = False  # half open: nothing arrives, nobody knows
    late_ms: int = 0  # what everything takes longer
    late_until: int = 0
    _arrival: dict[bool, int] = field(default_factory=dict)  # of the last message, by direction

    def lag(self, ms: int) -> None:
        """For a while everything takes so much longer."""
        self.late_ms, self.late_until = ms, self.wire.scheduler.now + ms

    def send(self, message: Any, deliver: Deliver, plan: Plan | None, *, upward: bool) -> None:
        """Sends one message; `LinkLost` if the link is known to be gone."""
        if not self.up:
            raise LinkLost("no link")
        wire = self.wire
        message = wire.copied(message)
        scheduler = wire.scheduler
        ms = wire.some.randint(*LATENCY_MS) + (self.late_ms if scheduler.now < self.late_until else 0)
        kind = plan.next(Side.MESSAGE) if plan is not None else None
        if kind is not None:
            wire.struck(kind)
        if kind is Kind.LOST_ACK:
            self.cut(self)
            return
        if self.silent:
            return
        if kind is Kind.DELAYED:
            ms += wire.some.randint(*wire.some.choice(STALLS_MS))
        at = max(scheduler.now + ms, self._arrival.get(upward, 0))
        if kind is Kind.REORDERED:
            at += wire.some.randint(*wire.some.choice(STALLS_MS))
        else:
            self._arrival[upward] = at
        self._enter(message, deliver, at - scheduler.now)
        if kind is Kind.DOUBLED:
            self._enter(message, deliver, at - scheduler.now + wire.some.randint(*DOUBLED_MS))

    def _enter(self, message: Any, deliver: Deliver, ms: int) -> None:
        # A report or an acknowledgement may have been read from the wire before the link went.
        survives = isinstance(message, (ReportMessage, Ack))

        def arrive() -> None:
            if survives or (self.up and not self.silent):
                deliver(message)

        self.wire.scheduler.after(ms, arrive)
