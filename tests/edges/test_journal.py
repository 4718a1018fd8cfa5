"""The terminal's journal: what it returned from is on disk, and nothing is lost silently."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.wire import CardReport, End, Report, Script, Step

CRYPTOGRAM = Cryptogram(1, 1, "SHA1", 0x3E, 2, bytes(range(48)))


def script(number: int = 1, cryptogram: Cryptogram | None = None) -> Script:
    return Script(number, "cplc-00", b"", 1000, (Step(bytes.fromhex("84D80081"), (0x9000,)),), cryptogram)


def report(of: Script, end: End = End.COMPLETE, answers: tuple[bytes, ...] = (b"\x01\x90\x00",)) -> Report:
    return Report(of.number, of.digest, end, answers)


async def test_a_note_without_answers_is_a_report_in_doubt(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    await journal.note_in_doubt(script())
    assert await journal.pending() == (CardReport("cplc-00", report(script(), End.IN_DOUBT, ())),)
    await journal.close()


async def test_answers_take_the_place_of_the_note_until_they_are_acknowledged(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    one, other = script(1), script(2)
    for each in (one, other):
        await journal.note_in_doubt(each)
        await journal.keep_report("cplc-00", report(each))
    assert [late.report for late in await journal.pending()] == [report(one), report(other)]
    await journal.acknowledge(one.number, other.digest)
    assert len(await journal.pending()) == 2, "an acknowledgement of another script with that number"
    await journal.acknowledge(one.number, one.digest)
    assert [late.report for late in await journal.pending()] == [report(other)]
    await journal.close()


async def test_a_new_journal_object_finds_what_the_one_before_left(tmp_path: Path) -> None:
    for expected in (0, 1, 1):
        journal = SqliteJournal(tmp_path / "j")
        assert len(await journal.pending()) == expected
        await journal.note_in_doubt(script())
        await journal.close()


async def test_a_cryptogram_stays_when_its_report_is_forgotten(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    noted = script(1, CRYPTOGRAM)
    await journal.note_in_doubt(noted)
    await journal.keep_report("cplc-00", report(noted))
    await journal.acknowledge(noted.number, noted.digest)
    assert await journal.pending() == ()
    assert await journal.cryptograms() == (("cplc-00", CRYPTOGRAM),)
    await journal.close()


async def test_the_journal_is_its_owners_alone(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    await journal.note_in_doubt(script())
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        "j": 0o600,
        "j-wal": 0o600,
        "j-shm": 0o600,
    }
    await journal.close()


DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from kioskd.edges.journal import SqliteJournal
from kioskd.rekey.wire import End, Report, Script, Step

async def main() -> None:
    journal = SqliteJournal(Path(sys.argv[1]))
    script = Script(1, "cplc-00", b"", 1000, (Step(bytes.fromhex("84D80081"), (0x9000,)),))
    await journal.note_in_doubt(script)
    if sys.argv[2] == "answers":
        await journal.keep_report("cplc-00", Report(1, script.digest, End.COMPLETE, (b"\\x90\\x00",)))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize(("what", "end"), [("note", End.IN_DOUBT), ("answers", End.COMPLETE)])
async def test_what_returned_is_there_after_the_process_was_killed(tmp_path: Path, what: str, end: End) -> None:
    died = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", DIES, str(tmp_path / "j"), what], check=False, timeout=30
    )
    assert died.returncode == -9
    journal = SqliteJournal(tmp_path / "j")
    assert [late.report.end for late in await journal.pending()] == [end]
    await journal.close()


async def test_a_tap_costs_two_commits_that_wait_for_the_disk_and_one_that_does_not(
    tmp_path: Path,
) -> None:
    journal = SqliteJournal(tmp_path / "j")
    said: list[str] = []
    connection = journal._connection
    await asyncio.get_running_loop().run_in_executor(
        journal._worker, connection.set_trace_callback, lambda line: said.append(line.split("(")[0].strip())
    )
    noted = script(1, CRYPTOGRAM)
    await journal.note_in_doubt(noted)
    await journal.keep_report("cplc-00", report(noted))
    await journal.acknowledge(noted.number, noted.digest)
    commits = [line for line in said if line.startswith(("PRAGMA synchronous", "COMMIT"))]
    assert commits == [
        *("PRAGMA synchronous = FULL", "COMMIT") * 2,
        *("PRAGMA synchronous = NORMAL", "COMMIT"),
    ]
    await journal.close()


@pytest.mark.parametrize("damage", ["no database at all", "a broken page"])
async def test_a_damaged_journal_is_set_aside_with_a_warning_and_a_new_one_begun(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "j"
    journal = SqliteJournal(file)
    for number in range(1, 200):
        await journal.note_in_doubt(script(number))
    await journal.close()
    content = bytearray(file.read_bytes())
    if damage == "no database at all":
        content = bytearray(b"not a database " * 100)
    else:
        content[4096:] = b"\xaa" * (len(content) - 4096)  # all pages but the first
    file.write_bytes(content)
    (tmp_path / "j-wal").write_bytes(b"left behind")
    caplog.set_level(logging.WARNING)

    journal = SqliteJournal(file)
    await journal.note_in_doubt(script(7))
    assert [late.report.number for late in await journal.pending()] == [7]
    await journal.close()
    assert (tmp_path / "j.broken").read_bytes() == bytes(content)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "set aside as j.broken, and a new journal is begun" in caplog.text


async def test_a_second_damaged_journal_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    for content in (b"first" * 99, b"second" * 99, b"third" * 99):
        (tmp_path / "j").write_bytes(content)
        await SqliteJournal(tmp_path / "j").close()
    kept = {file.name: file.read_bytes()[:5] for file in tmp_path.glob("j.broken*")}
    assert kept == {"j.broken": b"first", "j.broken-2": b"secon", "j.broken-3": b"third"}


async def test_a_journal_that_was_begun_and_never_finished_is_finished(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"")
    journal = SqliteJournal(tmp_path / "j")
    assert await journal.pending() == ()
    await journal.close()


@pytest.mark.parametrize("place", ["absent/j", "folder"])
def test_a_journal_that_cannot_be_opened_is_said_in_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalFailed, match=str(tmp_path / place)):
        SqliteJournal(tmp_path / place)


def test_a_journal_of_a_later_software_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    before = (tmp_path / "j").read_bytes()
    with pytest.raises(JournalFailed, match="version 9, this software knows 1: install the kioskd again that wrote it"):
        SqliteJournal(tmp_path / "j")
    after = sqlite3.connect(tmp_path / "j")
    assert after.execute("PRAGMA user_version").fetchone() == (9,)
    after.close()
    assert len(before) == (tmp_path / "j").stat().st_size


async def test_a_journal_that_cannot_be_written_says_so_and_goes_on_when_it_can(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    blocker = sqlite3.connect(tmp_path / "j", isolation_level=None)
    await asyncio.get_running_loop().run_in_executor(
        journal._worker, lambda: journal._connection.execute("PRAGMA busy_timeout = 50").fetchone()[0]
    )
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalFailed, match="locked"):
        await journal.note_in_doubt(script())
    blocker.execute("ROLLBACK")
    blocker.close()
    await journal.note_in_doubt(script())
    assert len(await journal.pending()) == 1
    await journal.close()
