"""What an access server knows of a replacement campaign: its state, the cases that are open, the order to disarm it.

Disarming takes away the keys that finish an open case, so it needs the custodians' word over exactly that list: an
order signed by the key management server, which asked them.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256

from kioskd.errors import BadBundle, Malformed
from kioskd.gp.cplc import CardId
from kioskd.shape import from_plain, to_plain

MAX_ORDER_BYTES = 8192
ORDER_VERSION = 1
_CONTEXT = b"kioskd disarm order\n"


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


def digest_of(cases: tuple[OpenCase, ...]) -> bytes:
    """SHA-256 of the list of open cases, whatever order it came in."""
    rows = sorted((str(one.card), one.epoch, one.generation, one.number) for one in cases)
    return sha256(json.dumps(rows, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True)
class DisarmOrder:
    """The key management server's word that the custodians accept these open cases. Times as in a bundle."""

    version: int
    id: bytes
    recipient: bytes  # the access server's transport key, SHA-256 of its SubjectPublicKeyInfo
    campaign: str
    cases: bytes  # `digest_of` the accepted list
    not_before: int
    not_after: int
    signature: bytes = b""

    def __post_init__(self) -> None:
        if self.version != ORDER_VERSION:
            raise ValueError(f"version {self.version} is not known, only {ORDER_VERSION}")
        if len(self.id) != 16 or len(self.recipient) != 32 or len(self.cases) != 32:
            raise ValueError("id has 16 bytes, recipient and cases 32")
        if not 0 <= self.not_before <= self.not_after:
            raise ValueError("the window ends before it begins")

    def signed_part(self) -> bytes:
        """What the signature covers, behind a word that no other signed text begins with."""
        return _CONTEXT + _compact(replace(self, signature=b""))

    def encode(self) -> bytes:
        """The file."""
        return _compact(self) + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> "DisarmOrder":
        """The order of a file; `BadBundle` for anything that `encode` does not write."""
        if len(raw) > MAX_ORDER_BYTES:
            raise BadBundle(f"order: {len(raw)} bytes, at most {MAX_ORDER_BYTES} are read")
        try:
            order = from_plain(cls, json.loads(raw), "order")
        except Malformed as wrong:
            raise BadBundle(str(wrong)) from wrong
        except (ValueError, RecursionError) as wrong:
            raise BadBundle("order: not JSON") from wrong
        if order.encode() != raw:
            raise BadBundle("order: altered after it was written")
        return order


def _compact(value: object) -> bytes:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":")).encode()
