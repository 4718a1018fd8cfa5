"""An access server's word on how many cards rely on each epoch: what destroying an epoch needs. Format only.

It is signed with the server's own certificate, which goes along; whoever reads it checks that against the authority.
"""

from dataclasses import dataclass
from typing import ClassVar

from kioskd.rekey.signed_paper import SignedPaper

STATEMENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Reliance:
    """How many cards hold an epoch's replacement set, or may hold it."""

    epoch: int
    cards: int


@dataclass(frozen=True, slots=True)
class Statement(SignedPaper):
    """One access server's counts; an epoch that is not named has no card."""

    KIND: ClassVar[str] = "statement"
    MOST_BYTES: ClassVar[int] = 1 << 20

    version: int
    server: bytes  # its transport key, SHA-256 of the SubjectPublicKeyInfo
    at: int
    epochs: tuple[Reliance, ...]
    certificate: bytes  # DER

    def __post_init__(self) -> None:
        if self.version != STATEMENT_VERSION or len(self.server) != 32:
            raise ValueError("not a statement that this software writes")

    def cards_of(self, epoch: int) -> int:
        """How many cards rely on an epoch."""
        return sum(one.cards for one in self.epochs if one.epoch == epoch)
