"""What an access server knows of a replacement campaign: its state, the cases that are open, the order to disarm it.

Disarming takes away the keys that finish an open case, so it needs the custodians' word over exactly that list: an
order signed by the key management server, which asked them.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar

from kioskd.gp.cplc import CardId
from kioskd.rekey.signed_paper import SignedPaper

ORDER_VERSION = 1


class CampaignState(StrEnum):
    """Where a campaign stands; it never goes back."""

    ARMED = "armed"
    DISARMING = "disarming"  # no new card is begun; the keys may still be here
    DISARMED = "disarmed"


@dataclass(frozen=True, slots=True)
class OpenCase:
    """A card that was begun and is not proven finished: script `number` may have changed it."""

    card: CardId
    epoch: int
    generation: int  # the last one that was proven
    number: int


@dataclass(frozen=True, slots=True)
class CardRow:
    """What a card was last proven to hold; `open` if a script may have changed it since."""

    card: CardId
    epoch: int
    generation: int
    kvn: int
    install: int
    open: bool
    keys: str = ""  # such as AES-128, of a card that was issued with 3DES sets; empty: as it was issued


def digest_of(cases: tuple[OpenCase, ...]) -> bytes:
    """SHA-256 of the list of open cases, whatever order it came in."""
    rows = sorted((str(one.card), one.epoch, one.generation, one.number) for one in cases)
    return sha256(json.dumps(rows, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True)
class DisarmOrder(SignedPaper):
    """The key management server's word that the custodians accept these open cases. Times as in a bundle."""

    KIND: ClassVar[str] = "order"

    version: int
    id: bytes
    recipient: bytes  # the access server's transport key, SHA-256 of its SubjectPublicKeyInfo
    campaign: str
    cases: bytes  # `digest_of` the accepted list
    not_before: int
    not_after: int

    def __post_init__(self) -> None:
        if self.version != ORDER_VERSION:
            raise ValueError(f"version {self.version} is not known, only {ORDER_VERSION}")
        if len(self.id) != 16 or len(self.recipient) != 32 or len(self.cases) != 32:
            raise ValueError("id has 16 bytes, recipient and cases 32")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the window ends before it begins")
