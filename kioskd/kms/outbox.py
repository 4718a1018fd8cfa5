"""Released bundles and orders, kept for the access servers that fetch them: one folder for each transport key."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from kioskd.errors import BadBundle, Malformed, StoreFailed
from kioskd.rekey.bundle import Bundle
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.campaign import DisarmOrder

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_PAPER = re.compile(r"[0-9]{20}-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder of mode 0700. What is in it is wrapped and signed; it is kept private all the same."""

    folder: Path

    def place(self, transport: bytes, digest: bytes) -> Path:
        """Where the result of a request (its digest) for a transport key (PEM) goes; names are in the order of time."""
        folder = self.folder / fingerprint_of(read_transport_key(transport)).hex()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as wrong:
            raise StoreFailed(f"outbox: {folder} cannot be made: {wrong.strerror}") from wrong
        return folder / f"{time.time_ns():020d}-{digest.hex()[:16]}"

    def waiting(self, fingerprint: str) -> tuple[bytes, ...]:
        """The papers for the transport key of this fingerprint (64 hex digits) that can still be used."""
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise Malformed("the fingerprint of a transport key has 64 hex digits in small letters")
        now = int(time.time())
        try:
            folder = self.folder / fingerprint
            files = sorted(one for one in folder.iterdir() if _PAPER.fullmatch(one.name)) if folder.is_dir() else []
            papers = tuple(file.read_bytes() for file in files)
        except OSError as wrong:
            raise StoreFailed(f"outbox: cannot be read: {wrong.strerror}") from wrong
        return tuple(one for one in papers if now <= end_of(one))


def end_of(paper: bytes) -> int:
    """Until when a bundle or an order can be used, in seconds since 1970; `BadBundle` for anything else."""
    try:
        return Bundle.decode(paper).header.not_after
    except BadBundle:
        return DisarmOrder.decode(paper).not_after
