"""The transcript of the ceremonies: one line an event, naming the one before it, signed by the KMS. Format only."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from kioskd.errors import BadTranscript, Malformed, NotApproved
from kioskd.rekey.ceremony import EVENT_KINDS, Ceremony, Event, Verify
from kioskd.shape import from_plain, to_plain

_CONTEXT = b"kioskd transcript\n"
_KIND_NAMES = {kind: name for name, kind in EVENT_KINDS.items()}
Sign = Callable[[bytes], bytes]
BEGINNING = bytes(32)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its place."""

    number: int
    previous: bytes  # the digest of the entry before
    at: int
    kind: str
    body: Any
    signature: bytes = b""

    @property
    def signed_part(self) -> bytes:
        """What the KMS signs."""
        return _CONTEXT + _compact(replace(self, signature=b""))

    @property
    def digest(self) -> bytes:
        """What the next entry names: signature included."""
        return hashlib.sha256(_compact(self)).digest()

    @property
    def event(self) -> Event:
        """The event; `BadTranscript` if it does not read."""
        try:
            event: Event = from_plain(EVENT_KINDS[self.kind], self.body, self.kind)
        except (KeyError, Malformed, ValueError) as wrong:
            raise BadTranscript(f"entry {self.number}: {wrong}") from wrong
        return event

    def encode(self) -> bytes:
        """One line."""
        return _compact(self) + b"\n"

    @classmethod
    def decode(cls, line: bytes, number: int) -> "Entry":
        """The entry of a line; `BadTranscript` for anything that `encode` does not write."""
        try:
            entry = from_plain(cls, json.loads(line), "entry")
        except (ValueError, Malformed, RecursionError) as wrong:
            raise BadTranscript(f"line {number}: is no entry: {wrong}") from wrong
        if entry.encode() != line:
            raise BadTranscript(f"line {number}: was altered")
        return entry


@dataclass(frozen=True, slots=True)
class Transcript:
    """All entries, checked and folded."""

    ceremony: Ceremony = field(default_factory=Ceremony)
    number: int = 0
    head: bytes = BEGINNING
    digests: tuple[bytes, ...] = ()

    def following(
        self, event: Event, at: int, sign: Callable[[bytes], bytes], verify: Verify
    ) -> "tuple[Entry, Transcript]":
        """The next entry, signed, and the transcript with it; `NotApproved` for an event that may not happen."""
        ceremony = self.ceremony.after(event, at, verify)
        kind, body = _KIND_NAMES[type(event)], to_plain(event)
        entry = Entry(self.number + 1, self.head, at, kind, body)
        entry = replace(entry, signature=sign(entry.signed_part))
        return entry, self.extended(entry, ceremony)

    def extended(self, entry: Entry, ceremony: Ceremony) -> "Transcript":
        """With an entry that was checked, and the state after it."""
        return Transcript(ceremony, entry.number, entry.digest, (*self.digests, entry.digest))


def read_transcript(lines: Iterable[bytes], kms: bytes, verify: Verify) -> Transcript:
    """The transcript of a file's lines; `BadTranscript` says at which line the chain, a signature or a quorum is wrong.

    `kms` is the public key of 32 bytes that signed it.
    """
    found, last = Transcript(), 0
    for number, line in enumerate(lines, 1):
        entry = Entry.decode(line, number)
        if (entry.number, entry.previous) != (found.number + 1, found.head):
            raise BadTranscript(f"line {number}: does not follow the one before: something was taken out or put in")
        if not verify(kms, entry.signature, entry.signed_part):
            raise BadTranscript(f"line {number}: was not signed by this key management server")
        if entry.at < last:
            raise BadTranscript(f"line {number}: is older than the one before")
        try:
            ceremony = found.ceremony.after(entry.event, entry.at, verify)
        except NotApproved as wrong:
            raise BadTranscript(f"line {number}: {wrong}") from wrong
        found, last = found.extended(entry, ceremony), entry.at
    return found


def _compact(value: object) -> bytes:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
