"""`kioskd ROLE ...`: the first words that anybody types."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.__main__ import ROLES, main
from kioskd.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


def test_a_role_that_is_not_there_is_named_and_the_others_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kisok"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "there is no role 'kisok'" in err
    assert all(f"  {role}" in err for role in ROLES)


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_who_asks_gets_every_role_with_one_line(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(ROLES)


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kioskd {VERSION}\n"


@pytest.mark.slow
@pytest.mark.parametrize("role", list(ROLES))
def test_every_role_explains_itself(role: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "kioskd", role, "--help"], capture_output=True, text=True, check=False, timeout=30
    )
    assert told.returncode == 0, told.stderr
    assert f"usage: kioskd {role}" in told.stdout


@pytest.mark.parametrize(("role", "says"), [("access", "kioskd-server"), ("sim", "kioskd-sim"), ("demo", "make demo")])
def test_a_role_whose_package_is_not_installed_says_which_one_it_is(role: str, says: str, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "kioskd", tmp_path / "kioskd", ignore=lambda folder, _: {role} if Path(folder).name == "kioskd" else ()
    )
    told = subprocess.run(
        [sys.executable, "-m", "kioskd", role, "--help"],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert told.returncode == 2
    assert says in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", ["access --help", "sim run --seed 7 --taps 1 --log"])
def test_output_that_nobody_reads_to_its_end_is_no_error(words: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    told = subprocess.run(
        [sys.executable, "-m", "kioskd", *words.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    os.close(writing)
    assert (told.returncode, told.stderr) == (0, "")
