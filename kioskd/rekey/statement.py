"""An access server's word on how many cards rely on each epoch: what destroying an epoch needs. Format only.

It is signed with the server's own certificate, which goes along; whoever reads it checks that against the authority.
"""

import json
from dataclasses import dataclass, replace

from kioskd.errors import BadConfiguration, Malformed
from kioskd.shape import from_plain, to_plain

STATEMENT_VERSION = 1
MAX_STATEMENT_BYTES = 1 << 20
_CONTEXT = b"kioskd statement\n"


@dataclass(frozen=True, slots=True)
class Reliance:
    """How many cards hold an epoch's replacement set, or may hold it."""

    epoch: int
    cards: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One access server's counts; an epoch that is not named has no card."""

    version: int
    server: bytes  # its transport key, SHA-256 of the SubjectPublicKeyInfo
    at: int
    epochs: tuple[Reliance, ...]
    certificate: bytes = b""  # DER
    signature: bytes = b""

    def __post_init__(self) -> None:
        if self.version != STATEMENT_VERSION or len(self.server) != 32:
            raise ValueError("not a statement that this software writes")

    def cards_of(self, epoch: int) -> int:
        """How many cards rely on an epoch."""
        return sum(one.cards for one in self.epochs if one.epoch == epoch)

    def signed_part(self) -> bytes:
        """What the signature covers, behind a word that no other signed text begins with."""
        return _CONTEXT + _compact(replace(self, signature=b""))

    def encode(self) -> bytes:
        """The file."""
        return _compact(self) + b"\n"

    @classmethod
    def decode(cls, raw: bytes, name: str) -> "Statement":
        """The statement of a file; `BadConfiguration` names the file for anything that `encode` does not write."""
        try:
            if len(raw) > MAX_STATEMENT_BYTES:
                raise Malformed(f"{len(raw)} bytes, at most {MAX_STATEMENT_BYTES} are read")
            statement = from_plain(cls, json.loads(raw), "statement")
        except (ValueError, Malformed, RecursionError) as wrong:
            raise BadConfiguration(f"{name}: is no statement: {wrong}") from wrong
        if statement.encode() != raw:
            raise BadConfiguration(f"{name}: was altered")
        return statement


def _compact(value: object) -> bytes:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
