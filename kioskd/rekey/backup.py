"""The backup of a key management server's token: its keys wrapped to a second token, as one signed file. Format only.

kek      an AES-256 key, RSA-OAEP (SHA-1, empty label) to the second token's restore key
blocks   MKDB g and KRKDB k under the kek, RFC 3394
pairs    each epoch's public key, and its private key under the kek, RFC 5649
armed    the epochs whose private key was released: they never issue again, here or there
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from kioskd.errors import BadBundle, Malformed
from kioskd.shape import from_plain, to_plain

BACKUP_VERSION = 1
MAX_BACKUP_BYTES = 4 << 20
_CONTEXT = b"kioskd backup\n"


@dataclass(frozen=True, slots=True)
class WrappedBlock:
    """One block."""

    label: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class WrappedPair:
    """One epoch's pair."""

    epoch: int
    public: bytes  # SubjectPublicKeyInfo, DER
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Backup:
    """All keys of a key management server that may leave it."""

    version: int
    recipient: bytes  # SHA-256 of the restore key's SubjectPublicKeyInfo
    kek: bytes
    blocks: tuple[WrappedBlock, ...]
    pairs: tuple[WrappedPair, ...]
    armed: tuple[int, ...]
    signature: bytes = b""

    def __post_init__(self) -> None:
        if self.version != BACKUP_VERSION:
            raise ValueError(f"version {self.version} is not known, only {BACKUP_VERSION}")

    @property
    def digest(self) -> bytes:
        """What people compare: SHA-256 of the file."""
        return hashlib.sha256(self.encode()).digest()

    def signed_part(self) -> bytes:
        """What the signature covers, behind a word that no other signed text begins with."""
        return _CONTEXT + _compact(replace(self, signature=b""))

    def signed(self, sign: Callable[[bytes], bytes]) -> "Backup":
        """The backup under a signature."""
        return replace(self, signature=sign(self.signed_part()))

    def encode(self) -> bytes:
        """The file."""
        return _compact(self) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> "Backup":
        """The backup of a file; `BadBundle` for anything that `encode` does not write."""
        if len(raw) > MAX_BACKUP_BYTES:
            raise BadBundle(f"backup: {len(raw)} bytes, at most {MAX_BACKUP_BYTES} are read")
        try:
            backup = from_plain(cls, json.loads(raw), "backup")
        except Malformed as wrong:
            raise BadBundle(str(wrong)) from wrong
        except (ValueError, RecursionError) as wrong:
            raise BadBundle("backup: not JSON") from wrong
        if backup.encode() != raw:
            raise BadBundle("backup: altered after it was written")
        return backup


def _compact(value: object) -> bytes:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
