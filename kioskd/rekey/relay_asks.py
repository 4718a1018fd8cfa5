"""What the relay asks of a terminal's own parts, and what an ask is.

Apart from the engine's asks, for a terminal has no use for those: it is sooner ready without them.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kioskd.rekey.wire import Report, Script

R = TypeVar("R")


class Ask(Generic[R]):
    """One question; `yield from` it to get the typed reply."""

    __slots__ = ()

    def __iter__(self) -> Generator["Ask[Any]", Any, R]:
        reply: R = yield self
        return reply


Conversation = Generator[Ask[Any], Any, R]
"""A generator of asks that returns an R."""


@dataclass(frozen=True, slots=True)
class Transmit(Ask[bytes | None]):
    """One raw command to the card; None if the card was torn away, its outcome unknown."""

    command: bytes


@dataclass(frozen=True, slots=True)
class NoteInDoubt(Ask[None]):
    """Makes durable that this script's first card-changing command may go out."""

    script: Script


@dataclass(frozen=True, slots=True)
class KeepReport(Ask[None]):
    """Makes the answers durable before they go up."""

    report: Report


@dataclass(frozen=True, slots=True)
class Elapsed(Ask[int]):
    """Milliseconds since the script arrived, on a monotonic clock."""
