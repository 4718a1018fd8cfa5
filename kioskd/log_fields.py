"""What a log entry carries beside its words: its kind, and which tap, card, reader and kiosk it is about.

The fields of a tap belong to its task: they are told once, and every entry of that task carries them.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum

from kioskd.outcomes import CATALOGUE

FIELDS = ("TAP", "CARD", "CODE", "READER", "KIOSK")
"""The fields of our own in the systemd journal; CARD is `card_hash`, CODE the one on the screen."""

HASH_DIGITS = 12
_SHOWN_DIGITS = 8
_CARD_ID = re.compile(r"\b(cplc|iin-cin|cf|kdd):([0-9A-Fa-f]{9,})")


class MessageId(StrEnum):
    """The kinds of entries, by their MESSAGE_ID: fixed for ever; `systemd/kioskd.catalog` explains each."""

    READY = "58c2e46462434ef4a5a853e12bcc49f9"
    DRAINING = "fab6d50fdc1f49408d33d0c6a2c89cdd"
    NOT_FED = "a91572dfc6bf475b9f913a25fbe6aaf7"
    TAP_BEGAN = "850f8afe0ca14c17b34fd1610bf380c9"
    TAP_MOMENT = "5be226462488465e9b652c63e9c55f24"
    CARD_CHANGING = "e8951c9392c64f9eba71bd8ab7a3cd88"
    TAP_ENDED = "4b5732eba1874470b12720e75bb68c98"
    TAP_TROUBLE = "857849856473479fb6ac281bb6e84c5e"
    SCRIPT_REFUSED = "fb5d21ad281f47248cab2fad1a382842"
    READER_CHANGED = "145c8ffa0d58420abb6e42b72c470af5"
    LINK_UP = "ed7f45b368f54d7ca9c087eba8251879"
    LINK_DOWN = "c458d7e6358e4509bd976f3d4175c21e"
    JOURNAL_FAILED = "04ebf871760f473ab2e0a858da5e85c0"
    JOURNAL_SET_ASIDE = "de45aaa80e4a4843ab274f96bec307a8"
    TERMINAL_CAME = "c31f3a5f76ef4dd8b2c1b2d8e3bacc4a"
    TERMINAL_WENT = "24be6a879a66490b9e032506959cb941"
    CASE_CLOSED = "345443de6b3a45739592509717ff9f6a"
    WRONG_CRYPTOGRAM = "547360deb20947a5933805a8ec797639"
    LATE_REPORT = "320700bdb42b4ecfa15eb87cd92932c7"
    CEREMONY = "d103cbfdf84648bd8f6275d6cf591c55"


_told: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - it is never changed


def entry(kind: MessageId, outcome: str = "", **fields: str) -> dict[str, str]:
    """The `extra` of one log call; an outcome of the catalogue, by name, gives its CODE."""
    assert set(fields) <= set(FIELDS), fields
    code = {"CODE": CATALOGUE[outcome].code} if outcome in CATALOGUE else {}
    return {"MESSAGE_ID": kind.value, **code, **fields}


def tell(**fields: str) -> None:
    """Every entry of this task, and of the tasks that it starts, is about these from now on."""
    assert set(fields) <= set(FIELDS), fields
    _told.set({**_told.get(), **fields})


@contextmanager
def telling(**fields: str) -> Iterator[None]:
    """The same, as long as the context lasts."""
    before = _told.set(_told.get())
    try:
        tell(**fields)
        yield
    finally:
        _told.reset(before)


def told() -> Mapping[str, str]:
    """What entries of this task are about."""
    return _told.get()


def card_hash(card: str) -> str:
    """What the journal calls a card: 12 hex digits of the SHA-256 of its id; empty for none.

    It finds a card's entries for who knows the card; it keeps no secret, for ids can be guessed.
    """
    return hashlib.sha256(card.encode()).hexdigest()[:HASH_DIGITS] if card else ""


def without_card_ids(words: str) -> str:
    """The words, with the last 8 digits of every card id in place of all of it."""
    return _CARD_ID.sub(lambda found: f"{found[1]}:…{found[2][-_SHOWN_DIGITS:]}", words)
