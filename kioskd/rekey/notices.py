"""Records that are about a card and not about a script: what befell its store, what operators say, greetings."""

from dataclasses import dataclass
from enum import StrEnum

from kioskd.gp.registry import SecurityDomain
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


class ListEnd(StrEnum):
    """How the reading of a card's security domains ended."""

    WHOLE = "whole"
    CUT = "cut"  # at the bound, or where the card was pulled: there are more
    REFUSED = "refused"  # by a status word
    UNREADABLE = "unreadable"
    FORGED = "forged"  # an answer without a right MAC: it and what came after it is left out


@dataclass(frozen=True, slots=True)
class Listed:
    """The security domains of others that a card says it holds."""

    domains: tuple[SecurityDomain, ...]
    end: ListEnd
    authentic: bool  # every answer that counts had a right MAC
    sw: int = 0  # of `refused`
