"""A recorded card, redacted: headers, lengths, status words and times; never data.

One line of JSON for each command. A replayer holds a conversation against it; see `kioskd/virtual/replay.py`.
"""

import json
from dataclasses import dataclass

from kioskd.errors import Malformed
from kioskd.gp.apdu import CommandAPDU
from kioskd.shape import from_plain, to_plain

MAX_LINE = 1024


@dataclass(frozen=True, slots=True)
class TracedCommand:
    """One command and its answer: header (4 bytes), data length, Le (0: none), answer length, status word, time."""

    header: bytes
    length: int
    le: int
    answered: int
    sw: int  # 0: torn
    ms: float

    def encode(self) -> str:
        """One line of JSON."""
        return json.dumps(to_plain(self), separators=(",", ":"))

    @classmethod
    def decode(cls, line: str) -> "TracedCommand":
        """The command of a line; `Malformed` for anything else."""
        if len(line) > MAX_LINE:
            raise Malformed(f"trace: a line of {len(line)} characters")
        try:
            plain = json.loads(line)
        except (ValueError, RecursionError) as wrong:
            raise Malformed("trace: a line is not JSON") from wrong
        read: TracedCommand = from_plain(cls, plain, "trace")
        if len(read.header) != 4:
            raise Malformed("trace.header: needs 4 bytes")
        return read


def traced(raw: bytes, answer: bytes | None, ms: float) -> TracedCommand:
    """What is kept of one command and its answer; a raw command that is none keeps its first 4 bytes."""
    try:
        command = CommandAPDU.decode(raw)
        header, length, le = command.header, len(command.data), command.le or 0
    except Malformed:
        header, length, le = raw[:4].ljust(4, b"\x00"), max(0, len(raw) - 4), 0
    if answer is None or len(answer) < 2:
        return TracedCommand(header, length, le, 0, 0, ms)
    return TracedCommand(header, length, le, len(answer) - 2, int.from_bytes(answer[-2:]), ms)
