"""A disk that fills up under the journal: said as what it is, and no word of what was written before is lost."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed

# A limit on the size of files stands for the full disk; the process ignores the signal that comes with it.
FILLS = """
import asyncio, resource, signal, sys
from pathlib import Path
from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed
from kioskd.rekey.wire import Script, Step

def script(number: int) -> Script:
    return Script(number, "cplc-00", b"", 1000, (Step(bytes.fromhex("84D80081"), (0x9000,)),))

async def main() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = SqliteJournal(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    noted = 0
    try:
        for number in range(1, 1000):
            await journal.note_in_doubt(script(number))
            noted = number
    except JournalFailed as full:
        print(noted, full)
    assert len(await journal.pending()) == noted, "what is there can still be read"
    try:
        await journal.note_in_doubt(script(1001))
    except JournalFailed:
        print("refused again")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await journal.note_in_doubt(script(1002))
    print(len(await journal.pending()))
    await journal.close()

asyncio.run(main())
"""


async def test_a_full_disk_is_a_journal_that_failed_and_passes_when_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILLS, str(tmp_path / "j")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    first, again, last = done.stdout.splitlines()
    noted, _, reason = first.partition(" ")
    assert int(noted) > 0 and reason.startswith(f"{tmp_path}/j: "), first
    assert again == "refused again"
    assert int(last) == int(noted) + 1
    journal = SqliteJournal(tmp_path / "j")
    assert len(await journal.pending()) == int(noted) + 1
    await journal.close()


def test_a_disk_that_is_full_when_the_journal_is_begun_is_one_sentence(tmp_path: Path) -> None:
    begin = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from kioskd.edges.journal import SqliteJournal; from kioskd.errors import JournalFailed\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try: SqliteJournal(Path(sys.argv[1]))\n"
        "except JournalFailed as wrong: print(wrong)\n"
    )
    for content in (None, b"not a database " * 100):
        if content is not None:
            (tmp_path / "j").write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-c", begin, str(tmp_path / "j")], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.stdout.startswith(f"{tmp_path}/j: "), done.stderr
        assert done.stdout.count("\n") == 1


def test_a_damaged_journal_that_cannot_be_set_aside_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "j").write_bytes(b"not a database " * 100)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(JournalFailed, match=f"{tmp_path}/j: Permission denied"):
        SqliteJournal(tmp_path / "j")
    monkeypatch.undo()
    assert (tmp_path / "j").read_bytes() == b"not a database " * 100
