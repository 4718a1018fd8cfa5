"""The access server's store and a terminal's journal in memory, with their durability spelled out.

A write of the store happens at its commit and is on the disk then: whoever dies before has written nothing, whoever
dies after it has written all. A write of the journal is on the disk when its call returns, except that a forgotten
report comes back if power is lost before the next write.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from kioskd.errors import JournalFailed, LeaseLost
from kioskd.gp.cplc import CardId
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.notices import HandedBack, Restored
from kioskd.rekey.records import Intent, Record, Registered, fold
from kioskd.rekey.wire import CardReport, End, Report, Script

Point = Callable[[str], Awaitable[None]]
"""Where a conversation stops for a moment, and may be cut."""


def _nobody(_: str, __: Record) -> None:
    """Looks at nothing."""


@dataclass(slots=True)
class Tables:
    """What is on the access server's disk."""

    ids: dict[str, CardId] = field(default_factory=dict)
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    numbers: set[tuple[str, int]] = field(default_factory=set)  # of the intents, by card
    fences: dict[str, int] = field(default_factory=dict)
    charges: dict[tuple[str, str], int] = field(default_factory=dict)
    campaigns: tuple[Campaign, ...] = ()
    witness: Callable[[str, Record], None] = _nobody  # sees every record that was just committed

    def copy(self) -> "Tables":
        """A backup."""
        return Tables(
            dict(self.ids),
            dict(self.records),
            set(self.numbers),
            dict(self.fences),
            dict(self.charges),
            self.campaigns,
        )

    def add(self, card: str, record: Record) -> None:
        """One more record of a card; `LeaseLost` for the number of another's script."""
        if isinstance(record, Intent):
            if (card, record.number) in self.numbers:
                raise LeaseLost("another conversation has written this script's number")
            self.numbers.add((card, record.number))
        self.records[card] = (*self.records.get(card, ()), record)

    def mark_restored(self, given: tuple[tuple[str, Cryptogram], ...]) -> int:
        """What `kioskd access restored` does; the store's new epoch."""
        known = (one.epoch for rows in self.records.values() for one in rows if isinstance(one, Restored))
        epoch = max(known, default=0) + 1
        for card in self.records:
            self.add(card, Restored(epoch))
        for card, cryptogram in given:
            if cryptogram not in fold(self.records.get(card, ())).krks:
                self.add(card, HandedBack(cryptogram))
        return epoch


class MemoryStore:
    """`ports.Store` over tables, for one conversation: every call of it is a point before and after its commit."""

    def __init__(self, tables: Tables, point: Point) -> None:
        self._tables = tables
        self._point = point

    async def find(self, ids: tuple[CardId, ...]) -> CardId | None:
        """The canonical id of a known card, by any of its ids, the first that is known."""
        await self._point("store: find")
        return next((self._tables.ids[str(one)] for one in ids if str(one) in self._tables.ids), None)

    async def records(self, card: CardId) -> tuple[Record, ...]:
        """A card's records, oldest first."""
        await self._point("store: records")
        return self._tables.records.get(str(card), ())

    async def append(self, card: CardId, record: Record, fence: int | None) -> None:
        """Adds a record; with a fence, `LeaseLost` if the card's firm lease is another's by now."""
        await self._point("store: append")
        name = str(card)
        if fence is not None and self._tables.fences.get(name, 0) != fence:
            raise LeaseLost(f"{card}: the lease with fence {fence} has gone to another conversation")
        self._tables.add(name, record)
        if isinstance(record, Registered):
            for one in record.aliases:
                self._tables.ids.setdefault(str(one), card)
            self._tables.ids[name] = card
        self._tables.witness(name, record)
        await self._point("store: committed")

    async def campaign(self, epoch: int, generation: int) -> Campaign | None:
        """The armed campaign that brings an epoch's cards to a generation."""
        await self._point("store: campaign")
        armed = (one for one in self._tables.campaigns if epoch in one.epochs and one.generation_to == generation)
        return max(armed, key=lambda one: one.not_after, default=None)

    async def fence(self, card: CardId) -> int:
        """The card's present fence number; 0 before its first lease."""
        await self._point("store: fence")
        return self._tables.fences.get(str(card), 0)

    async def firm_lease(self, card: CardId, terminal: str, tap: str, seen: int) -> int:
        """Makes (terminal, tap) the card's only conversation, unless another became firm since `seen`."""
        await self._point("store: lease")
        present = self._tables.fences.get(str(card), 0)
        if present != seen:
            raise LeaseLost(f"{card}: another conversation became firm (fence {present}, seen {seen})")
        self._tables.fences[str(card)] = present + 1
        await self._point("store: committed")
        return present + 1

    async def charge(self, terminal: str, card: CardId) -> int:
        """Counts one wrong cryptogram of (terminal, card); the count."""
        await self._point("store: charge")
        key = (terminal, str(card))
        self._tables.charges[key] = self._tables.charges.get(key, 0) + 1
        return self._tables.charges[key]

    async def charges(self, terminal: str, card: CardId) -> int:
        """The wrong cryptograms of (terminal, card) so far."""
        await self._point("store: charges")
        return self._tables.charges.get((terminal, str(card)), 0)


Key = tuple[int, bytes]


@dataclass(slots=True)
class MemoryJournal:
    """`ports.Journal` of one terminal. Power loss brings back what was forgotten since the last durable write."""

    rows: dict[Key, CardReport] = field(default_factory=dict)
    kept: list[tuple[str, Cryptogram]] = field(default_factory=list)
    fails: bool = False  # the disk is full
    _forgotten: dict[Key, CardReport] = field(default_factory=dict)  # not on the disk yet

    async def note_in_doubt(self, script: Script) -> None:
        """The script's first card-changing command may go out now; keeps its cryptogram."""
        self._write()
        key = (script.number, script.digest)
        self.rows.setdefault(key, CardReport(script.card, Report(*key, End.IN_DOUBT, ())))
        if script.cryptogram is not None:
            self.kept.append((script.card, script.cryptogram))

    async def keep_report(self, card: str, report: Report) -> None:
        """The answers of a script, until acknowledged."""
        self._write()
        key = (report.number, report.digest)
        self.rows.pop(key, None)  # the newest is the last
        self.rows[key] = CardReport(card, report)

    async def pending(self) -> tuple[CardReport, ...]:
        """Reports that are not acknowledged, oldest first."""
        return tuple(self.rows.values())

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Forgets a report; its cryptogram stays."""
        self.forget(number, digest)

    def forget(self, number: int, digest: bytes) -> None:
        """The same, without waiting."""
        gone = self.rows.pop((number, digest), None)
        if gone is not None:
            self._forgotten[number, digest] = gone

    def lose_power(self) -> None:
        """What was not on the disk is not there."""
        self.rows = {**self._forgotten, **self.rows}
        self._forgotten = {}

    def _write(self) -> None:
        if self.fails:
            raise JournalFailed("the disk is full")
        self._forgotten = {}
