"""The key bundle: what the key management server releases to one access server, as one file. Format only, no keys used.

One line of JSON. The header is the payload's associated data; the signature covers everything before it. There is one
way to write a bundle, and any other is refused, so no byte of the file can change unseen.

    header {version, id, purpose, generation, epoch, recipient, not_before, not_after}
    kek        the key of the payload, RSA-OAEP (SHA-1, empty label) to the recipient's transport key
    nonce      12 bytes
    payload    AES-256-GCM of the contents
    signature  Ed25519 by the key management server
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum

from kioskd.errors import BadBundle, Malformed
from kioskd.secret import Secret
from kioskd.shape import from_plain, to_plain

BUNDLE_VERSION = 1
BLOCK_BYTES = 32
MAX_BUNDLE_BYTES = 65536
MAX_NUMBER = 2**32 - 1
_CONTEXT = b"kioskd bundle\n"


class BundlePurpose(StrEnum):
    """What a bundle lets the access server do."""

    ISSUE = "issue"  # issue cards under an epoch
    REPLACE = "replace"  # replace master sets of an epoch's cards; ends issuing under it


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

    def __post_init__(self) -> None:
        if self.version != BUNDLE_VERSION:
            raise ValueError(f"version {self.version} is not known, only {BUNDLE_VERSION}")
        if not (1 <= self.generation <= MAX_NUMBER and 1 <= self.epoch <= MAX_NUMBER):
            raise ValueError(f"generation and epoch run from 1 to {MAX_NUMBER}")
        if len(self.id) != 16 or len(self.recipient) != 32:
            raise ValueError("id has 16 bytes and recipient 32")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the window ends before it begins")

    def encode(self) -> bytes:
        """The bytes that the payload is bound to."""
        return _compact(self)


@dataclass(frozen=True, slots=True)
class Bundle:
    """One released bundle."""

    header: BundleHeader
    kek: bytes
    nonce: bytes
    payload: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if len(self.nonce) != 12:
            raise ValueError("nonce has 12 bytes")

    def signed_part(self) -> bytes:
        """What the signature covers: the bundle without it, behind a word that no other signed text begins with."""
        return _CONTEXT + _compact(replace(self, signature=b""))

    def encode(self) -> bytes:
        """The file."""
        return _compact(self) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> "Bundle":
        """The bundle of a file; `BadBundle` for anything that `encode` does not write."""
        if len(raw) > MAX_BUNDLE_BYTES:
            raise BadBundle(f"bundle: {len(raw)} bytes, at most {MAX_BUNDLE_BYTES} are read")
        try:
            bundle = from_plain(cls, json.loads(raw), "bundle")
        except Malformed as wrong:
            raise BadBundle(str(wrong)) from wrong
        except (ValueError, RecursionError) as wrong:
            raise BadBundle("bundle: not JSON") from wrong
        if bundle.encode() != raw:
            raise BadBundle("bundle: altered after it was written")
        return bundle


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

    def encode(self) -> Secret:
        """MKDB, KRKDB, public, private, each behind its 2-byte big-endian length; private may be empty."""
        private = b"" if self.private is None else self.private.reveal()
        fields = (self.mkdb.reveal(), self.krkdb.reveal(), self.public, private)
        return Secret(b"".join(len(field).to_bytes(2) + field for field in fields))

    @classmethod
    def decode(cls, encoded: Secret) -> "BundleContents":
        """The contents of a payload; `BadBundle` for anything else."""
        rest, fields = encoded.reveal(), []
        while rest:
            end = 2 + int.from_bytes(rest[:2])
            if len(rest) < end:
                raise BadBundle("bundle: the contents are cut short")
            fields.append(rest[2:end])
            rest = rest[end:]
        if len(fields) != 4:
            raise BadBundle(f"bundle: {len(fields)} contents, not 4")
        mkdb, krkdb, public, private = fields
        try:
            return cls(Secret(mkdb), Secret(krkdb), public, Secret(private) if private else None)
        except ValueError as wrong:
            raise BadBundle(f"bundle: {wrong}") from wrong


@dataclass(frozen=True, slots=True)
class Imported:
    """What a bundle brought."""

    purpose: BundlePurpose
    generation: int
    epoch: int


def in_words(fingerprint: bytes) -> str:
    """A fingerprint for people to compare: groups of four hex digits."""
    text = fingerprint.hex().upper()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _compact(value: object) -> bytes:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
