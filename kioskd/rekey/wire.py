"""The messages between terminal and access server, versioned: JSON, bytes in hex.

Every message carries the same head. A script is known by (number, digest); its report is evidence about it alone.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kioskd.errors import Malformed
from kioskd.rekey.labels import Cryptogram
from kioskd.shape import ShapeError, compact, from_plain, to_plain

WIRE_VERSION = 2
MAX_MESSAGE_BYTES = 65536
MAX_STEPS = 16
MAX_PENDING = 64


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """One command of a script and the status words that let the script go on."""

    command: bytes
    accept: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Step({self.command[:4].hex().upper()}, {len(self.command)} bytes)"


@dataclass(frozen=True, slots=True)
class Script:
    """Commands to run in one card connection, at most once, right after the answer that it belongs to."""

    number: int
    card: str
    after: bytes  # the INITIALIZE UPDATE answer that it belongs to; empty: any
    deadline_ms: int
    steps: tuple[Step, ...]
    cryptogram: Cryptogram | None = None  # of the KRK that a PUT KEY in it installs

    def __post_init__(self) -> None:
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise ValueError(f"a script has 1 to {MAX_STEPS} steps, not {len(self.steps)}")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the script's sorted-key compact JSON."""
        return _digest(self)


@functools.lru_cache(maxsize=16)
def _digest(script: Script) -> bytes:
    """Kept for the newest scripts: each is asked for its digest half a dozen times."""
    return hashlib.sha256(compact(script)).digest()


class End(StrEnum):
    """How a script ended at the terminal."""

    COMPLETE = "complete"
    STOPPED = "stopped"  # at a status word that the step does not accept
    TORN = "torn"  # the card was pulled; the last command's outcome is unknown
    IN_DOUBT = "in-doubt"  # the terminal died after its note; nothing else is known
    REFUSED = "refused"  # by the allow-list; nothing was sent
    LATE = "late"  # past its deadline; nothing was changed


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """The answers of a script, in step with its steps, as far as it ran."""

    number: int
    digest: bytes
    end: End
    answers: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.answers) > MAX_STEPS:
            raise ValueError(f"a report has at most {MAX_STEPS} answers, not {len(self.answers)}")
        if len(self.digest) != 32:
            raise ValueError("a digest has 32 bytes")

    def __repr__(self) -> str:
        return f"Report({self.number}, {self.end.value}, {len(self.answers)} answers)"


@dataclass(frozen=True, slots=True)
class CardReport:
    """A report that waited in the journal, with the card that it is about."""

    card: str
    report: Report


@dataclass(frozen=True, slots=True)
class Head:
    """What every message carries besides its kind."""

    version: int
    kiosk: str
    epoch: int  # of the link; given by welcome
    tap: str
    sequence: int
    fence: int
    card: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The terminal's first message."""

    head: Head
    software: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's answer: the link's epoch and the plain reads that identify a card."""

    head: Head
    identify: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Tap:
    """A card is in the reader: the answers to the identify script, and the reports still unacknowledged."""

    head: Head
    purpose: str  # "replace" or "issue"
    answers: tuple[bytes, ...]
    pending: tuple[CardReport, ...] = ()
    atr: bytes = b""


@dataclass(frozen=True, slots=True)
class ScriptMessage:
    """A script for the card that is in the reader."""

    head: Head
    script: Script


@dataclass(frozen=True, slots=True)
class ReportMessage:
    """What a script gave."""

    head: Head
    report: Report


@dataclass(frozen=True, slots=True)
class Ack:
    """A report is durable at the server and may be forgotten."""

    head: Head
    number: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tap ended, by its name in the catalogue."""

    head: Head
    outcome: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nothing will be done, and why: a name of the catalogue and a sentence for the technician."""

    head: Head
    outcome: str
    detail: str = ""


Message = Hello | Welcome | Tap | ScriptMessage | ReportMessage | Ack | Verdict | Refuse

KINDS: dict[str, type[Any]] = {
    "hello": Hello,
    "welcome": Welcome,
    "tap": Tap,
    "script": ScriptMessage,
    "report": ReportMessage,
    "ack": Ack,
    "verdict": Verdict,
    "refuse": Refuse,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


def encode(message: Message) -> str:
    """The message as one JSON text; a script gets its digest beside it."""
    plain = to_plain(message)
    body = {"kind": _NAMES[type(message)], **plain.pop("head"), **plain}
    if isinstance(message, ScriptMessage):
        body["digest"] = message.script.digest.hex().upper()
    return json.dumps(body, separators=(",", ":"))


def decode(text: str) -> Message:
    """The message of a JSON text; `Malformed` for anything that is not exactly one of ours."""
    if len(text) > MAX_MESSAGE_BYTES:
        raise Malformed(f"message: {len(text)} characters, at most {MAX_MESSAGE_BYTES} are read")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise Malformed("message: not JSON") from wrong
    if not isinstance(body, dict):
        raise Malformed("message: not a JSON object")
    if body.get("version") != WIRE_VERSION:
        raise Malformed(f"message: version {body.get('version')!r:.20}, this side speaks {WIRE_VERSION}")
    kind = body.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise Malformed(f"message: unknown kind {kind!r:.40}")
    digest = body.pop("digest", None) if kind == "script" else None
    head = {name: body.pop(name) for name in Head.__slots__ if name in body}
    message: Message = from_plain(KINDS[kind], {"head": head, **body}, kind)
    if isinstance(message, ScriptMessage) and digest != message.script.digest.hex().upper():
        raise ShapeError("script.digest", "does not match the script")
    if isinstance(message, Tap) and len(message.pending) > MAX_PENDING:
        raise ShapeError("tap.pending", f"more than {MAX_PENDING} reports")
    return message
