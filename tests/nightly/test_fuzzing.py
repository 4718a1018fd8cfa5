"""Every reader for long: bent inputs from many seeds, and where atheris is installed inputs that reach new code."""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fuzz.readers import readers
from tests.fuzz.run import Row, table

ROOT = Path(__file__).resolve().parents[2]
SEEDS, SECONDS = range(1, 9), 240
GUIDED_S = 60


def test_no_reader_fails_hangs_or_takes_memory() -> None:
    rows: dict[str, Row] = {}
    for seed in SEEDS:
        command = [sys.executable, "-m", "tests.fuzz.run", "--seed", str(seed), "--seconds", str(SECONDS), "--json"]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        for new in (Row(**one) for one in json.loads(told.stdout)["rows"]):
            known = rows.setdefault(new.name, Row(new.name))
            known.inputs, known.refused = known.inputs + new.inputs, known.refused + new.refused
            known.understood += new.understood
            known.slowest_ms = max(known.slowest_ms, new.slowest_ms)
    print(f"\n{table(list(rows.values()))}\n{sum(row.inputs for row in rows.values()):,} inputs")


def test_no_reader_fails_where_inputs_are_led_to_new_code() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("the library atheris is not installed (the extra `fuzz`)")
    with tempfile.TemporaryDirectory() as folder:
        names = [one.name for one in readers(Path(folder))]
    print()
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, "--seconds", str(GUIDED_S)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert told.returncode == 0, f"{name}: {told.stdout[-2000:]}{told.stderr[-2000:]}"
        units = re.search(r"number_of_executed_units: (\d+)", told.stderr)
        print(f"{name:<28} {int(units[1]) if units else 0:>10,} inputs led to new code")
