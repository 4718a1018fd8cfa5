"""Bent inputs for every reader, both sides: refused by its own error or understood; none hangs, memory stays."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from kioskd.errors import Malformed
from tests.fuzz.readers import Reader
from tests.fuzz.run import Row, fuzz

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 15
"""Of processor time, for all readers together."""


def fuzzed(*args: str) -> subprocess.CompletedProcess[str]:
    """One run in a process of its own, whose memory is bounded."""
    command = [sys.executable, "-m", "tests.fuzz.run", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_reader_fails_hangs_or_takes_memory() -> None:
    told = fuzzed("--seconds", str(SECONDS), "--json")
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout)
    rows = [Row(**row) for row in result["rows"]]
    assert [row.name for row in rows if row.crashes or row.hangs] == []
    assert all(row.inputs >= 5 for row in rows), "each reader was fed"
    assert result["grown_kib"] < 256 << 10
    print(f"\n{sum(row.inputs for row in rows):,} inputs to {len(rows)} readers")


def reader(read: object) -> Reader:
    """A reader of ours, fed with anything."""
    return Reader("it", read, (b"good",), lambda some, _: some.randbytes(4))  # type: ignore[arg-type]


def refuses(raw: bytes) -> None:
    """As a reader should."""
    raise Malformed("no")


def fails(raw: bytes) -> None:
    """As a reader should not."""
    raise KeyError("oops")


def test_a_reader_that_fails_is_counted_and_its_input_told(capsys: pytest.CaptureFixture[str]) -> None:
    row = fuzz(reader(fails), 1, 5.0, most=5)
    assert (row.inputs, row.crashes, row.refused) == (5, 5, 0)
    assert "it: KeyError('oops'): " in capsys.readouterr().err


def test_a_reader_that_refuses_is_counted_so() -> None:
    row = fuzz(reader(refuses), 1, 5.0, most=5)
    assert (row.inputs, row.crashes, row.refused) == (5, 0, 5)


def test_the_same_seed_bends_the_same_inputs() -> None:
    one = reader(refuses)
    assert one.input(Random(3)) == one.input(Random(3))


def test_a_reader_that_hangs_or_takes_all_memory_is_caught() -> None:
    code = """
import signal
from tests.fuzz import run
from tests.fuzz.readers import Reader
run.INPUT_S = 0.2
signal.signal(signal.SIGPROF, run._hang)
def hangs(raw):
    while True:
        pass
def takes(raw):
    return bytearray(4 << 30)
run.bound_memory()
for read in (hangs, takes):
    row = run.fuzz(Reader("it", read, (b"",), lambda some, good: b"x"), 1, 60.0, most=1)
    print(row.hangs, row.crashes)
"""
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout == "1 0\n0 1\n"
