"""The backup of a key management server's token: its keys wrapped to a second token, as one signed file. Format only.

kek      an AES-256 key, RSA-OAEP (SHA-1, empty label) to the second token's restore key
blocks   MKDB g and KRKDB k under the kek, RFC 3394
pairs    each epoch's public key, and its private key under the kek, RFC 5649
armed    the epochs whose private key was released: they never issue again, here or there
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from kioskd.rekey.signed_paper import SignedPaper

BACKUP_VERSION = 1


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
class Backup(SignedPaper):
    """All keys of a key management server that may leave it."""

    KIND: ClassVar[str] = "backup"
    MOST_BYTES: ClassVar[int] = 4 << 20

    version: int
    recipient: bytes  # SHA-256 of the restore key's SubjectPublicKeyInfo
    kek: bytes
    blocks: tuple[WrappedBlock, ...]
    pairs: tuple[WrappedPair, ...]
    armed: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.version != BACKUP_VERSION:
            raise ValueError(f"version {self.version} is not known, only {BACKUP_VERSION}")

    @property
    def digest(self) -> bytes:
        """What people compare: SHA-256 of the file."""
        return hashlib.sha256(self.encode()).digest()
