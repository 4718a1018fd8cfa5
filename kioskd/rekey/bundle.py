"""The key bundle: what the key management server releases to one access server, as one file. Format only, no keys used.

A signed paper. Every key in it is wrapped by itself, so that a token can take it in.

    header {version, id, purpose, generation, epoch, recipient, not_before, not_after, campaign}
    kek        an AES-256 key, RSA-OAEP (SHA-1, empty label) to the recipient's transport key
    mkdb       the master block under the kek, RFC 3394, 40 bytes
    krkdb      the replacement block, likewise
    public     the epoch's public key, SubjectPublicKeyInfo, DER
    private    the epoch's private key, PKCS#8, under the kek, RFC 5649; empty in an issue bundle
    signature  by the key management server
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import ClassVar

from kioskd.rekey.signed_paper import SignedPaper
from kioskd.secret import Secret

BUNDLE_VERSION = 2
BLOCK_BYTES = 32
WRAPPED_BLOCK_BYTES = 40
MAX_NUMBER = 2**32 - 1
_MINUTE = "%Y-%m-%d %H:%M UTC"
_LAST = 253402300799  # the end of the year 9999: no calendar goes further
_CAMPAIGN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BundlePurpose(StrEnum):
    """What a bundle lets the access server do."""

    ISSUE = "issue"  # issue cards under an epoch
    REPLACE = "replace"  # replace master sets of an epoch's cards; ends issuing under it
    SHARE = "share"  # compute master sets elsewhere: a master bundle, which is no bundle of this kind


@dataclass(frozen=True, slots=True)
class Campaign:
    """What a replace bundle is released for; its window closes to new cards only. Times as in the header.

    `generation_from` is the oldest generation that cards are expected to have; 0: none is expected.
    """

    id: str
    generation_from: int
    generation_to: int
    epochs: tuple[int, ...]
    not_before: int
    not_after: int
    scope: str = "all"

    def __post_init__(self) -> None:
        if not _CAMPAIGN_ID.fullmatch(self.id):
            raise ValueError("a campaign's id has 1 to 64 letters, digits, dots, dashes or underscores")
        if not 0 <= self.generation_from < self.generation_to <= MAX_NUMBER:
            raise ValueError("a campaign goes from a generation to a later one")
        if not self.epochs or not all(1 <= epoch <= MAX_NUMBER for epoch in self.epochs):
            raise ValueError(f"a campaign has epochs, from 1 to {MAX_NUMBER}")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the campaign ends before it begins")
        if self.scope != "all":
            raise ValueError(f"the scope {self.scope[:20]!r} is not known, only 'all'")

    @property
    def window(self) -> str:
        """Its window, for people."""
        return window_words(self.not_before, self.not_after)


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """The readable part; times are seconds since 1970, both ends included."""

    version: int
    id: bytes
    purpose: BundlePurpose
    generation: int
    epoch: int
    recipient: bytes
    not_before: int
    not_after: int
    campaign: Campaign | None = None

    def __post_init__(self) -> None:
        if self.version != BUNDLE_VERSION:
            raise ValueError(f"version {self.version} is not known, only {BUNDLE_VERSION}")
        if self.purpose is BundlePurpose.SHARE:
            raise ValueError("a master block alone is shared by a master bundle")
        if not (1 <= self.generation <= MAX_NUMBER and 1 <= self.epoch <= MAX_NUMBER):
            raise ValueError(f"generation and epoch run from 1 to {MAX_NUMBER}")
        if len(self.id) != 16 or len(self.recipient) != 32:
            raise ValueError("id has 16 bytes and recipient 32")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the window ends before it begins")
        if (self.campaign is not None) != (self.purpose is BundlePurpose.REPLACE):
            raise ValueError("a replace bundle, and no other, is for a campaign")
        if self.campaign is not None and (
            self.campaign.generation_to != self.generation or self.epoch not in self.campaign.epochs
        ):
            raise ValueError("the bundle's generation and epoch are not those of its campaign")


@dataclass(frozen=True, slots=True)
class Bundle(SignedPaper):
    """One released bundle."""

    KIND: ClassVar[str] = "bundle"

    header: BundleHeader
    kek: bytes
    mkdb: bytes
    krkdb: bytes
    public: bytes
    private: bytes

    def __post_init__(self) -> None:
        if len(self.mkdb) != WRAPPED_BLOCK_BYTES or len(self.krkdb) != WRAPPED_BLOCK_BYTES:
            raise ValueError(f"a wrapped block has {WRAPPED_BLOCK_BYTES} bytes")
        if (self.private != b"") != (self.header.purpose is BundlePurpose.REPLACE):
            raise ValueError("a replace bundle, and no other, has a private key")


@dataclass(frozen=True, slots=True)
class BundleContents:
    """The keys in a bundle: MKDB, KRKDB, and the epoch's pair as far as the purpose allows."""

    mkdb: Secret
    krkdb: Secret
    public: bytes  # SubjectPublicKeyInfo, DER
    private: Secret | None  # PKCS#8, DER; only to replace

    def __post_init__(self) -> None:
        if len(self.mkdb) != BLOCK_BYTES or len(self.krkdb) != BLOCK_BYTES:
            raise ValueError(f"a block has {BLOCK_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Imported:
    """What a bundle brought."""

    purpose: BundlePurpose
    generation: int
    epoch: int
    campaign: Campaign | None = None


def in_words(fingerprint: bytes) -> str:
    """A fingerprint for people to compare: groups of four hex digits."""
    text = fingerprint.hex().upper()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def minute(at: int) -> str:
    """A time, in seconds since 1970, for people: to the minute, UTC; one after the year 9999 is said as its end."""
    return datetime.fromtimestamp(min(at, _LAST), UTC).strftime(_MINUTE)


def window_words(begin: int, end: int) -> str:
    """A window, as requests say it."""
    return f"{minute(begin)} to {minute(end)}"


def window_of(words: str) -> tuple[int, int]:
    """The window of `window_words`, to the minute; `ValueError` for other words."""
    begin, end = (datetime.strptime(one, _MINUTE).replace(tzinfo=UTC) for one in words.split(" to "))
    return int(begin.timestamp()), int(end.timestamp())
