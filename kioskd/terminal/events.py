"""What happens at a terminal, as it happens, for whoever listens at its status socket."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from kioskd.errors import KioskError

MOST_LISTENERS = 8
MOST_WAITING = 64


class Kind(StrEnum):
    """What an event is about."""

    READER = "reader"
    TAP_BEGAN = "tap-began"
    TAP_ENDED = "tap-ended"
    LINK = "link"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: when (seconds since 1970), about what, and in which reader or tap with which result."""

    at: float
    kind: Kind
    about: str
    result: str


class TooMany(KioskError):
    """More listeners than a terminal serves."""


@dataclass(slots=True)
class Events:
    """The listeners, each with a queue of its own. A slow one loses the oldest events, and nobody waits for it."""

    _listeners: "set[asyncio.Queue[Event]]" = field(default_factory=set)

    def tell(self, kind: Kind, about: str, result: str) -> None:
        """Tells every listener."""
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(Event(round(time.time(), 3), kind, about, result))

    @contextmanager
    def listen(self) -> "Iterator[asyncio.Queue[Event]]":
        """A listener's queue; `TooMany` if there are enough."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise TooMany(f"{MOST_LISTENERS} listen already; end one of them first")
        queue: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
