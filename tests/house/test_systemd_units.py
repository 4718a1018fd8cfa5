"""The units, judged by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).resolve().parents[2] / "systemd").glob("*.service"))
EXPOSURE = 15  # tenths; services of the distribution with a network have 22 to 96

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def runnable(unit: Path, folder: Path) -> Path:
    """A copy of the unit whose program exists: ours is not installed on a machine that only tests."""
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"))
    copy = folder / unit.name
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line_of_the_unit(unit: Path, tmp_path: Path) -> None:
    done = analyse("verify", "--recursive-errors=yes", "--man=no", str(runnable(unit, tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", ["ProtectSytem=strict", "WatchdogSec=soon", "Requires=no-such.service"])
def test_the_verifier_would_have_found_a_mistake(line: str, tmp_path: Path) -> None:
    copy = runnable(UNITS[0], tmp_path)
    section = "[Unit]" if line.startswith("Requires") else "[Service]"
    copy.write_text(copy.read_text(encoding="utf-8").replace(section, f"{section}\n{line}", 1), encoding="utf-8")
    done = analyse("verify", "--recursive-errors=yes", "--man=no", str(copy))
    assert (done.returncode, done.stderr) != (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_is_shut_as_far_as_its_work_allows(unit: Path, tmp_path: Path) -> None:
    copy = runnable(unit, tmp_path)
    done = analyse("security", "--offline=true", f"--threshold={EXPOSURE}", str(copy))
    assert done.returncode == 0, done.stdout[-300:]
    opened = copy.with_name("open.service")
    opened.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert analyse("security", "--offline=true", f"--threshold={EXPOSURE}", str(opened)).returncode != 0
