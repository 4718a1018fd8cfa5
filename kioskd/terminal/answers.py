"""What the status API answers: no key, no APDU data, no whole card id. The OpenAPI document is made from these."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kioskd.terminal.tap import Moment


class State(StrEnum):
    """How a terminal is, in one word."""

    READY = "ready"
    BUSY = "busy"  # with a card
    DRAINED = "drained"  # takes no new card, because a technician said so
    NO_LINK = "no-link"
    OUT_OF_SERVICE = "out-of-service"  # no daemon of the readers, no reader, no journal


@dataclass(frozen=True, slots=True)
class LinkAnswer:
    """The link to the access server, and the outcome that tells why there is none."""

    connected: bool
    problem: str


@dataclass(frozen=True, slots=True)
class CurrentTap:
    """A card that is in a reader and being worked on."""

    tap: str
    reader: str
    card: str
    ms: float


@dataclass(frozen=True, slots=True)
class TapAnswer:
    """A tap that has ended; `began` is seconds since 1970, `card` the end of its id."""

    tap: str
    reader: str
    began: float
    card: str
    outcome: str
    code: str
    ms: float
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class JournalAnswer:
    """The journal's size on disk, the replacement-key cryptograms in it, the room that is left beside it."""

    bytes: int
    cryptograms: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class CertificateAnswer:
    """From when to when this terminal's certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float
    days_left: float


@dataclass(frozen=True, slots=True)
class ClockAnswer:
    """This machine's clock, in seconds since 1970: whether a time service steers it, how far the server's is ahead."""

    now: float
    synchronised: bool | None
    server_ahead_s: float | None


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The terminal's present state and its last taps."""

    name: str
    role: str
    software: str
    state: State
    pid: int
    uptime_s: float
    ready_ms: float
    pcscd: str
    readers: dict[str, str]
    closed_readers: tuple[str, ...]
    server: str
    link: LinkAnswer
    link_losses: int
    pending_reports: int | None
    open_cases: int | None
    under_way: int
    current: tuple[CurrentTap, ...]
    outcomes: dict[str, int]
    taps: tuple[TapAnswer, ...]
    journal: JournalAnswer | None
    certificate: CertificateAnswer | None
    clock: ClockAnswer
    versions: dict[str, str]
    batch: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """Whether the terminal can serve a cardholder now, and the outcomes that stand in the way."""

    well: bool
    state: State
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TapsAnswer:
    """The last taps, oldest first."""

    taps: tuple[TapAnswer, ...]


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """A report that waits in the journal until the access server has acknowledged it."""

    script: int
    digest: str
    end: str
    answers: int


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """One card, as far as this terminal knows it: open while a report of it waits here."""

    card: str
    open: bool
    reports: tuple[ReportAnswer, ...]
    taps: tuple[TapAnswer, ...]
    cryptograms: int


@dataclass(frozen=True, slots=True)
class CasesAnswer:
    """The cards whose reports wait here, oldest first."""

    cases: tuple[CaseAnswer, ...]


@dataclass(frozen=True, slots=True)
class CheckAnswer:
    """One part of the self-test: whether it is well, what was found, what to do if not. None: it could not be told."""

    name: str
    well: bool | None
    found: str
    advice: str


@dataclass(frozen=True, slots=True)
class SelfTestAnswer:
    """The self-test, in the order in which a fault explains the next one."""

    well: bool
    checks: tuple[CheckAnswer, ...]


@dataclass(frozen=True, slots=True)
class DoneAnswer:
    """An act that was done; `under_way` cards are still being finished."""

    done: str
    under_way: int


@dataclass(frozen=True, slots=True)
class SorryAnswer:
    """Why something was not answered: an outcome of the catalogue or a word like it, and one sentence."""

    outcome: str
    sentence: str
