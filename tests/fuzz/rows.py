"""Rows of the databases as somebody else may have left them: any value in any column."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

from kioskd.edges.batch_file import BatchFile, read_batch
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import SqlStore
from kioskd.gp.cplc import CardId

CARD = CardId("cplc", bytes(range(10)))


class NotARow(Exception):
    """The bent text is no list of columns: no input."""


def _columns(raw: bytes, count: int) -> list[Any]:
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError) as wrong:
        raise NotARow from wrong
    if not isinstance(plain, list) or len(plain) != count:
        raise NotARow
    return [json.dumps(one) if isinstance(one, (list, dict)) else one for one in plain]


class _Table:
    """One table of a database that is open elsewhere, too."""

    def __init__(self, path: Path, table: str, count: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._table, self._count = table, count

    def hold(self, raw: bytes, first: tuple[Any, ...] = ()) -> None:
        """Makes the bent row the only one; `NotARow` if the database itself refuses it."""
        row = (*first, *_columns(raw, self._count))
        self._connection.execute(f"DELETE FROM {self._table}")  # noqa: S608 - our own names
        try:
            marks = ", ".join("?" * len(row))
            self._connection.execute(f"INSERT INTO {self._table} VALUES ({marks})", row)  # noqa: S608
        except (sqlite3.Error, OverflowError, ValueError) as wrong:
            raise NotARow from wrong


class JournalRows:
    """What a terminal reads of its own journal when it starts."""

    SCRIPT = json.dumps([f"{CARD}", 7, "AB" * 16, "complete", '["9000","6A88"]']).encode()
    CRYPTOGRAM = json.dumps(
        [f"{CARD}", '{"scheme":1,"epoch":1,"oaep":"SHA1","kvn":62,"install":2,"value":"00FF"}']
    ).encode()

    def __init__(self, folder: Path) -> None:
        self._journal = SqliteJournal(folder / "fuzz.journal")
        self._scripts = _Table(folder / "fuzz.journal", "scripts", 5)
        self._cryptograms = _Table(folder / "fuzz.journal", "cryptograms", 2)

    def pending(self, raw: bytes) -> object:
        """Reports that wait."""
        self._scripts.hold(raw)
        return asyncio.run(self._journal.pending())

    def cryptograms(self, raw: bytes) -> object:
        """Cryptograms that are handed back."""
        self._cryptograms.hold(raw, (None,))
        return asyncio.run(self._journal.cryptograms())


class StoreRows:
    """What an access server reads of a card's records."""

    def __init__(self, folder: Path) -> None:
        self._store = SqlStore(f"sqlite:///{folder}/fuzz.db")
        self._records = _Table(folder / "fuzz.db", "records", 3)

    def records(self, raw: bytes) -> object:
        """One card's records."""
        self._records.hold(raw, (None, str(CARD)))
        return asyncio.run(self._store.records(CARD))


class BatchRows:
    """What a station reads of a batch."""

    ROW = json.dumps(["key", "cplc:…00000001", "issued", "issued", "K104", "", "", "r", 1, 1.5, 2.5, 1.5, 2.5]).encode()

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fuzz.batch"
        BatchFile(self._path, "fuzz", 3).close()
        self._cards = _Table(self._path, "cards", 13)

    def rows(self, raw: bytes) -> object:
        """The batch as it is on disk."""
        self._cards.hold(raw)
        return read_batch(self._path)
