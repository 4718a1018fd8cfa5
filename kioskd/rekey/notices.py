"""Records that are about a card and not about a script: what befell its store, what operators say, greetings."""

from dataclasses import dataclass

from kioskd.rekey.labels import Cryptogram


@dataclass(frozen=True, slots=True)
class Restored:
    """The store came back from a backup: what it says of this card may be older than the card."""

    epoch: int  # of the store; rises with every restore


@dataclass(frozen=True, slots=True)
class HandedBack:
    """A cryptogram out of a terminal's journal, after a restore: its PUT KEY may have gone out since the backup."""

    cryptogram: Cryptogram


@dataclass(frozen=True, slots=True)
class Blocked:
    """The operators have the card refused, or (without a reason) let it in again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Greeted:
    """Written before INITIALIZE UPDATE leaves, for a card that it costs an attempt whatever comes after it."""

    kvn: int
    terminal: str
    after: int  # the newest script's number at that time


@dataclass(frozen=True, slots=True)
class MoreTries:
    """The operators forgive what was greeted so far, up to this script."""

    after: int
