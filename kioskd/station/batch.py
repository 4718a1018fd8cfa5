"""A batch of cards at the issuing station: which card counts, which is set aside, and what each reader does.

A card counts when the access server has closed its case on proof: `issued`. `already-issued` is that proof come late,
if this batch began the card (the station was killed, or the line was lost, before it heard); of any other card it says
that somebody else issued it, and the card is set aside.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kioskd.edges.batch_file import BatchFile, CardRow, CardState
from kioskd.errors import JournalFailed
from kioskd.outcome import Outcome, Severity
from kioskd.outcomes import outcome
from kioskd.ports import ReaderState
from kioskd.station.board import Board, Doing, ReaderLine, counted
from kioskd.terminal.status import shortened
from kioskd.terminal.tap import TapRecord

log = logging.getLogger(__name__)

UNPROVEN = "not-finished"
"""What is said of a card that was begun when the station ended."""


AGAIN = "Put it in again: it goes on where it stopped."


def advice_at_station(one: Outcome) -> str:
    """What to do about a card that was set aside, here and not at a kiosk."""
    return AGAIN if one.severity is Severity.RETRY else one.advice


def key_of(card: str) -> str:
    """What tells a card from all others in the batch's file, which does not hold its id: 128 bits of its SHA-256."""
    return hashlib.sha256(card.encode()).hexdigest()[:32]


def begun(row: CardRow | None, tap: TapRecord, reader: str, now: float) -> CardRow:
    """The row of a card that may be changed from now on."""
    row = row or _fresh(tap, reader, now)
    return replace(
        row, state=CardState.BEGUN, reader=reader, tries=row.tries + 1, last=now, begun=row.begun or now, issued=0.0
    )


def ended(row: CardRow | None, tap: TapRecord, reader: str, now: float) -> CardRow:
    """The row after a tap: it is issued by proof alone, and what is issued stays so at every other outcome."""
    one = outcome(tap.outcome)
    tries = row.tries if row is not None and row.state is CardState.BEGUN else (row.tries + 1 if row else 1)
    row = replace(row or _fresh(tap, reader, now), reader=reader, tries=tries, last=now)
    if row.state is CardState.ISSUED:
        return row
    said = replace(row, outcome=one.name, code=one.code)
    if one.name == "issued" or (one.name == "already-issued" and row.begun):
        proof = outcome("issued")
        return replace(
            said, state=CardState.ISSUED, outcome=proof.name, code=proof.code, reason="", advice="", issued=now
        )
    return replace(said, state=CardState.ASIDE, reason=one.technician, advice=advice_at_station(one))


def interrupted(row: CardRow) -> CardRow:
    """The row of a card that was begun when the station ended."""
    one = outcome(UNPROVEN)
    reason = "The station ended in the midst of it; the card is not proven yet."
    return replace(row, state=CardState.ASIDE, outcome=one.name, code=one.code, reason=reason, advice=AGAIN)


def _fresh(tap: TapRecord, reader: str, now: float) -> CardRow:
    return CardRow(
        key_of(tap.card), shortened(tap.card), CardState.ASIDE, "", "", "", "", reader, tries=0, first=now, last=now
    )


@dataclass(slots=True)
class Batch:
    """The batch at work: an observer of the terminal. Every row is on disk before its card counts."""

    file: BatchFile
    on_change: Callable[[], None] = lambda: None
    on_end: Callable[[TapRecord, "Batch"], None] = lambda _tap, _batch: None
    rows: dict[str, CardRow] = field(init=False)
    readers: dict[str, ReaderLine] = field(default_factory=dict)
    fault: str = ""  # an outcome that stands in the way of all readers
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.rows = {row.key: row for row in self.file.content.rows}

    @property
    def wanted(self) -> int:
        """How many cards the batch has."""
        return self.file.content.wanted

    @property
    def issued(self) -> int:
        """How many are proven."""
        return counted(self.rows.values())

    async def resume(self) -> None:
        """Sets aside what was begun when the station ended; before the first reader speaks."""
        for row in [row for row in self.rows.values() if row.state is CardState.BEGUN]:
            await self._put(interrupted(row))

    def board(self) -> Board:
        """All that there is to see."""
        rows = tuple(self.rows.values())
        lines = tuple(self.readers.values())
        return Board(self.file.content.name, self.wanted, rows, lines, self.fault, self.started, time.time())

    # --- the terminal's observer --------------------------------------------------------------------------------------

    def reader(self, name: str, state: ReaderState) -> None:
        """A reader has changed."""
        if state is ReaderState.DOWN:
            self.readers, self.fault = {}, "pcscd-down"
        elif not name:
            self.fault = "no-reader"
        elif state is ReaderState.GONE:
            self.readers.pop(name, None)
            self.fault = self.fault if self.readers else "no-reader"
        else:
            self.fault = ""
            line = self.readers.get(name) or ReaderLine(self._free_number(), name)
            if state is not ReaderState.EMPTY and not line.busy:
                line = replace(line, outcome="unreadable-card" if state is ReaderState.MUTE else "", card="")
            self.readers[name] = replace(line, present=state is not ReaderState.EMPTY)
        self.on_change()

    def admits(self, reader: str, tap: str) -> bool:
        """Whether the batch has room for one more card: what is issued and what is under way do not exceed it."""
        line = self.readers.get(reader) or ReaderLine(self._free_number(), reader)
        room = self.issued + sum(other.busy for other in self.readers.values()) < self.wanted
        doing = Doing.READING if room else Doing.SURPLUS
        self.readers[reader] = replace(line, present=True, doing=doing, outcome="", card="", before=False)
        self.on_change()
        return room

    async def begins(self, tap: TapRecord) -> None:
        """Notes on disk that the card is begun; `JournalFailed` if it cannot, and then it is not."""
        key = key_of(tap.card)
        await self._put(begun(self.rows.get(key), tap, tap.reader, time.time()))
        self._change(tap.reader, Doing.ISSUING, "", shortened(tap.card))

    async def ends(self, tap: TapRecord) -> bool:
        """Notes how the card's tap ended; True if the batch is full. Not on disk: the card does not count yet."""
        shown, said, before = shortened(tap.card), tap.outcome, False
        try:
            if tap.card:  # a card that was pulled before it said who it is, is no card of the batch yet
                known = self.rows.get(key_of(tap.card))
                row = ended(known, tap, tap.reader, time.time())
                await self._put(row)
                said, before = row.outcome, known is not None and known.state is CardState.ISSUED
        except JournalFailed as wrong:
            log.error("tap %s: the card does not count until it is put in again: %s", tap.tap, wrong)
            said = wrong.outcome
        self._change(tap.reader, Doing.FREE, said, shown, before=before)
        self.on_end(tap, self)
        return self.issued >= self.wanted

    def tell(self) -> dict[str, Any]:
        """The batch in the terminal's status."""
        board = self.board()
        return {
            "batch": {
                "name": board.name,
                "wanted": board.wanted,
                "issued": board.issued,
                "set_aside": len(board.aside),
                "a_minute": round(board.pace, 1),
                "next": board.next_step.words,
                "readers": {line.name: line.words for line in board.readers},
            }
        }

    async def _put(self, row: CardRow) -> None:
        await self.file.put(row)
        self.rows[row.key] = row

    def _change(self, reader: str, doing: Doing, said: str, card: str, *, before: bool = False) -> None:
        line = self.readers.get(reader)
        if line is not None:  # it may have been unplugged meanwhile
            self.readers[reader] = replace(line, doing=doing, outcome=said, card=card, before=before)
        self.on_change()

    def _free_number(self) -> int:
        """The lowest number that no reader has; a reader that comes back takes the one that is free."""
        taken = {line.number for line in self.readers.values()}
        return next(number for number in range(1, len(taken) + 2) if number not in taken)
