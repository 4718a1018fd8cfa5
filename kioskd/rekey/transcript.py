"""The transcript of the ceremonies: one line an event, naming the one before it, signed by the KMS. Format only."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from kioskd.errors import BadBundle, BadTranscript, NotApproved
from kioskd.rekey.ceremony import Approved, Ceremony, Event, Executed, Founded, Requested, Verify
from kioskd.rekey.signed_paper import SignedPaper

BEGINNING = bytes(32)


@dataclass(frozen=True, slots=True)
class Entry(SignedPaper):
    """One event with its place."""

    KIND: ClassVar[str] = "transcript"

    number: int
    previous: bytes  # the digest of the entry before
    at: int
    founded: Founded | None = None
    requested: Requested | None = None
    approved: Approved | None = None
    executed: Executed | None = None

    @classmethod
    def of(cls, number: int, previous: bytes, at: int, event: Event) -> "Entry":
        """The entry of an event, not signed."""
        match event:
            case Founded():
                return cls(number, previous, at, founded=event)
            case Requested():
                return cls(number, previous, at, requested=event)
            case Approved():
                return cls(number, previous, at, approved=event)
            case Executed():
                return cls(number, previous, at, executed=event)

    @property
    def event(self) -> Event:
        """Its one event; `BadTranscript` for none or several."""
        kinds: tuple[Event | None, ...] = (self.founded, self.requested, self.approved, self.executed)
        there = [one for one in kinds if one is not None]
        if len(there) != 1:
            raise BadTranscript(f"entry {self.number}: has {len(there)} events, not one")
        return there[0]

    @property
    def digest(self) -> bytes:
        """What the next entry names: signature included."""
        return hashlib.sha256(self.encode()).digest()


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
        entry = Entry.of(self.number + 1, self.head, at, event)
        entry = entry.signed(sign)
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
        try:
            entry = Entry.decode(line)
        except BadBundle as wrong:
            raise BadTranscript(f"line {number}: {wrong}") from wrong
        if (entry.number, entry.previous) != (found.number + 1, found.head):
            raise BadTranscript(f"line {number}: does not follow the one before: something was taken out or put in")
        if not verify(kms, entry.signature, entry.signed_part()):
            raise BadTranscript(f"line {number}: was not signed by this key management server")
        if entry.at < last:
            raise BadTranscript(f"line {number}: is older than the one before")
        try:
            ceremony = found.ceremony.after(entry.event, entry.at, verify)
        except NotApproved as wrong:
            raise BadTranscript(f"line {number}: {wrong}") from wrong
        found, last = found.extended(entry, ceremony), entry.at
    return found
