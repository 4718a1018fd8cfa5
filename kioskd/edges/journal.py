"""The terminal's journal, on sqlite3: what may have gone out to a card, and the reports that the server has not yet.

WAL and synchronous FULL: a call is on disk when it returns. One worker thread owns the connection.
"""

import asyncio
import itertools
import json
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kioskd.errors import JournalFailed, Malformed
from kioskd.log_fields import MessageId, entry
from kioskd.ports import JournalFigures
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.wire import CardReport, End, Report, Script
from kioskd.shape import from_plain, to_plain
from kioskd.version import written_by_another

T = TypeVar("T")
log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_SCHEMA = """
BEGIN;
CREATE TABLE scripts (
    card TEXT NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL,
    end TEXT NOT NULL, answers TEXT NOT NULL,
    PRIMARY KEY (number, digest)
);
CREATE TABLE cryptograms (
    position INTEGER PRIMARY KEY, card TEXT NOT NULL, body TEXT NOT NULL
);
PRAGMA user_version = 1;
COMMIT;
"""


class SqliteJournal:
    """The journal in one file. A file that is damaged is set aside as `.broken`, and a new one is begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker = ThreadPoolExecutor(1, "journal")
        self._connection = self._worker.submit(self._open).result()

    async def close(self) -> None:
        """Ends the worker."""
        await asyncio.get_running_loop().run_in_executor(self._worker, self._connection.close)
        self._worker.shutdown()

    async def alive(self) -> bool:
        """Whether the worker takes calls: it answers when it has done what it is at."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, bool, 1)

    async def note_in_doubt(self, script: Script) -> None:
        """The script's first card-changing command may go out now; keeps its cryptogram."""

        def write() -> None:
            row = (script.card, script.number, script.digest, End.IN_DOUBT.value, "[]")
            self._connection.execute("INSERT OR IGNORE INTO scripts VALUES (?, ?, ?, ?, ?)", row)
            if script.cryptogram is not None:
                body = json.dumps(to_plain(script.cryptogram))
                self._connection.execute("INSERT INTO cryptograms (card, body) VALUES (?, ?)", (script.card, body))

        await self._work(write)

    async def keep_report(self, card: str, report: Report) -> None:
        """The answers of a script, until acknowledged."""
        answers = json.dumps(to_plain(report.answers))
        row = (card, report.number, report.digest, report.end.value, answers)

        def write() -> None:
            self._connection.execute("INSERT OR REPLACE INTO scripts VALUES (?, ?, ?, ?, ?)", row)

        await self._work(write)

    async def pending(self) -> tuple[CardReport, ...]:
        """Reports that are not acknowledged, oldest first; a note without answers is one that ends in doubt."""

        def read() -> tuple[CardReport, ...]:
            rows = self._connection.execute("SELECT card, number, digest, end, answers FROM scripts ORDER BY rowid")
            return tuple(
                CardReport(card, Report(number, digest, End(end), from_plain(tuple[bytes, ...], json.loads(answers))))
                for card, number, digest, end, answers in rows
            )

        return await self._work(read)

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Forgets a report; its cryptogram stays. The next durable call makes it durable: a lost one comes again."""

        def write() -> None:
            self._connection.execute("DELETE FROM scripts WHERE number = ? AND digest = ?", (number, digest))

        await self._work(write, synchronous="NORMAL")

    async def cryptograms(self) -> tuple[tuple[str, Cryptogram], ...]:
        """Every cryptogram whose PUT KEY may have gone out here, with its card: handed back after a restore."""

        def read() -> tuple[tuple[str, Cryptogram], ...]:
            rows = self._connection.execute("SELECT card, body FROM cryptograms ORDER BY position")
            return tuple((card, from_plain(Cryptogram, json.loads(body))) for card, body in rows)

        return await self._work(read)

    async def figures(self, card: str = "") -> JournalFigures:
        """The journal's figures; with a card, only its own cryptograms are counted."""

        def read() -> JournalFigures:
            which = ("WHERE card = ?", (card,)) if card else ("", ())
            count = self._connection.execute(f"SELECT COUNT(*) FROM cryptograms {which[0]}", which[1]).fetchone()[0]  # noqa: S608
            files = (self._path.with_name(self._path.name + end) for end in ("", "-wal", "-shm"))
            return JournalFigures(sum(file.stat().st_size for file in files if file.exists()), count)

        return await self._work(read)

    async def _work(self, job: Callable[[], T], synchronous: str = "FULL") -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._transact, job, synchronous)

    def _transact(self, job: Callable[[], T], synchronous: str) -> T:
        try:
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            with self._connection:
                result = job()
        except (sqlite3.Error, ValueError, TypeError, RecursionError, Malformed) as wrong:
            raise JournalFailed(f"{self._path}: {wrong}") from wrong
        # A cursor that dies in another thread resets the connection's error: a failed write would look like a good one.
        assert not isinstance(result, sqlite3.Cursor), "a cursor never leaves the worker"
        return result

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect_or_begin_anew()
        except sqlite3.Error as wrong:
            raise JournalFailed(f"{self._path}: {wrong}") from wrong
        except OSError as wrong:
            raise JournalFailed(f"{self._path}: {wrong.strerror}") from wrong

    def _connect_or_begin_anew(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise  # the file may be right, and the place wrong
        except sqlite3.DatabaseError as wrong:
            aside = self._set_aside()
            words = "%s: %s; it was set aside as %s, and a new journal is begun"
            log.error(words, self._path, wrong, aside, extra=entry(MessageId.JOURNAL_SET_ASIDE))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        self._path.touch(mode=0o600)
        connection = sqlite3.connect(self._path, timeout=5)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != SCHEMA_VERSION:
                raise sqlite3.OperationalError(written_by_another(version, SCHEMA_VERSION))
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"is damaged: {found.splitlines()[0]}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> str:
        """Renames the damaged file, and its log, which must never meet a new file; nothing is overwritten."""
        name = f"{self._path.name}.broken"
        for count in itertools.count(2):
            if not self._path.with_name(name).exists():
                break
            name = f"{self._path.name}.broken-{count}"
        self._path.replace(self._path.with_name(name))
        for end in ("-wal", "-shm"):
            log_file = self._path.with_name(self._path.name + end)
            if log_file.exists():
                log_file.replace(self._path.with_name(name + end))
        return name
