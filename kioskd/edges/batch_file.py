"""A batch of cards in one file, on sqlite3: one row for each card that was ever begun or set aside in it.

WAL and synchronous FULL: a row is on disk when `put` returns. One worker thread owns the connection. A lock beside the
file keeps a second station away; who only reads needs none.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Self

from kioskd.errors import BadConfiguration, JournalFailed
from kioskd.version import written_by_another

SCHEMA_VERSION = 1
MOST_CARDS = 10_000
_SCHEMA = (
    "CREATE TABLE batch (name TEXT NOT NULL, wanted INTEGER NOT NULL, made REAL NOT NULL)",
    """CREATE TABLE cards (
    key TEXT PRIMARY KEY, card TEXT NOT NULL, state TEXT NOT NULL, outcome TEXT NOT NULL, code TEXT NOT NULL,
    reason TEXT NOT NULL, advice TEXT NOT NULL, reader TEXT NOT NULL, tries INTEGER NOT NULL,
    first REAL NOT NULL, last REAL NOT NULL, begun REAL NOT NULL, issued REAL NOT NULL
)""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class CardState(StrEnum):
    """Where a card of the batch is."""

    BEGUN = "begun"  # it may be changed by now, and is not proven
    ISSUED = "issued"  # proven; it counts
    ASIDE = "set-aside"


@dataclass(frozen=True, slots=True)
class CardRow:
    """One card of the batch. Times are seconds since 1970; `begun` and `issued` are 0 until then."""

    key: str  # tells cards apart: a digest of the id
    card: str  # the id, shortened
    state: CardState
    outcome: str  # of its last tap
    code: str
    reason: str  # why it is set aside, and what to do about it
    advice: str
    reader: str
    tries: int
    first: float
    last: float
    begun: float = 0.0
    issued: float = 0.0


COLUMNS = tuple(one.name for one in fields(CardRow))
_PUT = f"INSERT OR REPLACE INTO cards VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - only question marks
_ROWS = f"SELECT {', '.join(COLUMNS)} FROM cards ORDER BY first, rowid"  # noqa: S608 - our own column names


@dataclass(frozen=True, slots=True)
class BatchContent:
    """What a batch's file holds."""

    name: str
    wanted: int
    rows: tuple[CardRow, ...]


def read_batch(path: Path) -> BatchContent:
    """The batch as it is on disk now, a station at work or not; `BadConfiguration` if the file holds none."""
    if not path.is_file():
        raise BadConfiguration(f"{path}: there is no such batch")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            return _content(connection)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, TypeError) as wrong:
        raise BadConfiguration(f"{path}: cannot be read as a batch: {wrong}") from wrong


class BatchFile:
    """The one writer of a batch's file."""

    def __init__(self, path: Path, name: str, wanted: int) -> None:
        """Opens the batch, or begins it if `wanted` is above 0; a `wanted` above 0 also changes an existing batch's.

        `BadConfiguration` for a file that is no batch, another station's, or a new batch of unknown size.
        """
        self.path = path
        self._lock = _lock(path)
        try:
            if not path.exists() and not wanted:
                raise BadConfiguration(f"{path}: this batch is new: say with --count how many cards it has")
            self._worker = ThreadPoolExecutor(1, "batch")
            self._connection = self._worker.submit(self._open, name, wanted).result()
            self.content = self._worker.submit(_content, self._connection).result()
        except (sqlite3.Error, ValueError, TypeError) as wrong:
            os.close(self._lock)
            raise BadConfiguration(f"{path}: cannot be used as a batch: {wrong}") from wrong
        except BadConfiguration:
            os.close(self._lock)
            raise

    async def put(self, row: CardRow) -> None:
        """Writes a card's row; `JournalFailed` if it is not on disk."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self._put, row)

    def close(self) -> None:
        """Ends the worker and lets go of the lock."""
        self._worker.submit(self._connection.close).result()
        self._worker.shutdown()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, row: CardRow) -> None:
        try:
            with self._connection:
                self._connection.execute(_PUT, astuple(row))
        except sqlite3.Error as wrong:
            raise JournalFailed(f"{self.path}: {wrong}") from wrong

    def _open(self, name: str, wanted: int) -> sqlite3.Connection:
        if not self.path.exists():
            self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, timeout=5)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
                _begin(connection, name, wanted)
            elif wanted:
                _resize(connection, self.path, wanted)
        except BaseException:
            connection.close()
            raise
        return connection


def _begin(connection: sqlite3.Connection, name: str, wanted: int) -> None:
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise ValueError("the file is another program's")
    if not wanted:
        raise ValueError("it was never begun: say with --count how many cards it has")
    with connection:
        connection.execute("BEGIN")
        for line in _SCHEMA:
            connection.execute(line)
        connection.execute("INSERT INTO batch VALUES (?, ?, ?)", (name, wanted, time.time()))


def _resize(connection: sqlite3.Connection, path: Path, wanted: int) -> None:
    issued = sum(row.state is CardState.ISSUED for row in _content(connection).rows)
    if wanted < issued:
        raise BadConfiguration(f"{path}: {issued} cards are issued already, more than {wanted}")
    with connection:
        connection.execute("UPDATE batch SET wanted = ?", (wanted,))


def _content(connection: sqlite3.Connection) -> BatchContent:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise ValueError(written_by_another(version, SCHEMA_VERSION))
    name, wanted = connection.execute("SELECT name, wanted FROM batch").fetchone()
    rows = (CardRow(*row) for row in connection.execute(_ROWS))
    return BatchContent(name, wanted, tuple(_typed(row) for row in rows))


def _typed(row: CardRow) -> CardRow:
    values = {name: getattr(row, name) for name in COLUMNS}
    return CardRow(**{**values, "state": CardState(row.state)})


def _lock(path: Path) -> int:
    """An exclusive lock on the file beside it: closing a descriptor of the batch itself would drop sqlite's locks."""
    beside = path.with_name(f".{path.name}.lock")
    try:
        lock = os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be used as a batch: {wrong.strerror}") from wrong
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as wrong:
        os.close(lock)
        raise BadConfiguration(f"{path}: another station is at work on this batch") from wrong
    return lock
