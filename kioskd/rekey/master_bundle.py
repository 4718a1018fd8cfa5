"""The master bundle: one master block for the issuer's card management system, as one file. Format only, no keys used.

    header {version, id, generation, recipient, not_before, not_after}
    kek        an AES-256 key, RSA-OAEP (SHA-1, empty label) to the recipient's transport key
    mkdb       the master block under the kek, RFC 3394, 40 bytes
    signature  by the key management server

It has nothing of an epoch: whoever opens it can compute master key sets, and no replacement set.
docs/for-other-systems.md says how.
"""

from dataclasses import dataclass
from typing import ClassVar

from kioskd.rekey.bundle import MAX_NUMBER, WRAPPED_BLOCK_BYTES
from kioskd.rekey.signed_paper import SignedPaper

MASTER_BUNDLE_VERSION = 1


@dataclass(frozen=True, slots=True)
class MasterHeader:
    """The readable part; times are seconds since 1970, both ends included."""

    version: int
    id: bytes
    generation: int
    recipient: bytes  # the transport key, SHA-256 of its SubjectPublicKeyInfo
    not_before: int
    not_after: int

    def __post_init__(self) -> None:
        if self.version != MASTER_BUNDLE_VERSION:
            raise ValueError(f"version {self.version} is not known, only {MASTER_BUNDLE_VERSION}")
        if not 1 <= self.generation <= MAX_NUMBER:
            raise ValueError(f"a generation runs from 1 to {MAX_NUMBER}")
        if len(self.id) != 16 or len(self.recipient) != 32:
            raise ValueError("id has 16 bytes and recipient 32")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the window ends before it begins")


@dataclass(frozen=True, slots=True)
class MasterBundle(SignedPaper):
    """One master block, wrapped."""

    KIND: ClassVar[str] = "master bundle"

    header: MasterHeader
    kek: bytes
    mkdb: bytes

    def __post_init__(self) -> None:
        if len(self.mkdb) != WRAPPED_BLOCK_BYTES:
            raise ValueError(f"a wrapped block has {WRAPPED_BLOCK_BYTES} bytes")
