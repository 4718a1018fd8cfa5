"""The units, judged by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kioskd.config import StatusSection

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
SERVICES = sorted(SYSTEMD.glob("*.service"))
UNITS = [*SERVICES, *sorted(SYSTEMD.glob("*.socket"))]
DROP_INS = sorted(SYSTEMD.glob("drop-ins/*/*.conf"))
EXPOSURE = {"kioskd-kiosk.service": 15, "kioskd-access.service": 12, "kioskd-kms.service": 12}
"""Tenths; services of the distribution with a network have 22 to 96."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd-analyze says."""
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


def runnable(unit: Path, folder: Path) -> Path:
    """A copy of the unit whose program exists, ours is not installed here; a socket comes with its service."""
    if unit.suffix == ".socket":
        runnable(unit.with_suffix(".service"), folder)
    elif unit.with_suffix(".socket").exists():
        shutil.copy(unit.with_suffix(".socket"), folder)
    text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"))
    copy = folder / unit.name
    copy.write_text(text, encoding="utf-8")
    return copy


def with_drop_in(drop_in: Path, folder: Path) -> Path:
    """The unit that a drop-in is for, with it in its place."""
    place = folder / drop_in.parent.name
    place.mkdir()
    shutil.copy(drop_in, place)
    return runnable(SYSTEMD / drop_in.parent.name.removesuffix(".d"), folder)


def verified(unit: Path) -> tuple[int, str]:
    """What the verifier says of a unit: nothing, if all is well."""
    done = analyse("verify", "--recursive-errors=yes", "--man=no", str(unit))
    return done.returncode, done.stderr


def test_every_daemon_has_a_unit() -> None:
    assert {unit.name for unit in SERVICES} == set(EXPOSURE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line_of_the_unit(unit: Path, tmp_path: Path) -> None:
    assert verified(runnable(unit, tmp_path)) == (0, "")


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_systemd_understands_every_line_of_a_drop_in(drop_in: Path, tmp_path: Path) -> None:
    unit = with_drop_in(drop_in, tmp_path)
    assert verified(unit) == (0, "")
    place = unit.with_name(f"{unit.name}.d") / drop_in.name
    place.write_text(place.read_text(encoding="utf-8") + "LoadCredentals=x:/y\n", encoding="utf-8")
    assert verified(unit) != (0, ""), "the drop-in was not looked at"


@pytest.mark.parametrize("line", ["ProtectSytem=strict", "WatchdogSec=soon", "Requires=no-such.service"])
def test_the_verifier_would_have_found_a_mistake(line: str, tmp_path: Path) -> None:
    copy = runnable(SERVICES[0], tmp_path)
    section = "[Unit]" if line.startswith("Requires") else "[Service]"
    copy.write_text(copy.read_text(encoding="utf-8").replace(section, f"{section}\n{line}", 1), encoding="utf-8")
    assert verified(copy) != (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_unit_is_shut_as_far_as_its_work_allows(unit: Path, tmp_path: Path) -> None:
    copy, most = runnable(unit, tmp_path), EXPOSURE[unit.name]
    done = analyse("security", "--offline=true", "--no-pager", f"--threshold={most}", str(copy))
    print(exposures(done.stdout))
    assert done.returncode == 0, done.stdout[-300:]
    opened = copy.with_name("open.service")
    opened.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    assert analyse("security", "--offline=true", f"--threshold={most}", str(opened)).returncode != 0


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_drop_in_opens_nothing_that_counts(drop_in: Path, tmp_path: Path) -> None:
    unit = with_drop_in(drop_in, tmp_path)
    done = analyse("security", "--offline=true", f"--threshold={EXPOSURE[unit.name]}", str(unit))
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_unit_says_what_was_given_up_and_why(unit: Path, tmp_path: Path) -> None:
    comment = unit.read_text(encoding="utf-8").partition("[Unit]")[0]
    done = analyse("security", "--offline=true", "--no-pager", str(runnable(unit, tmp_path)))
    # A Unix and an Internet socket are the work itself; the clock's device may be read, which ProtectClock= brings.
    itself = {"RestrictAddressFamilies=~AF_UNIX", "RestrictAddressFamilies=~AF_(INET|INET6)", "DeviceAllow="}
    given_up = set(re.findall(r"(?m)^✗ (\S+)", done.stdout)) - itself
    assert {one for one in given_up if one.partition("=")[0] not in comment} == set()


def exposures(told: str) -> str:
    """The lines that cost something, and the sum."""
    costing = [line.rstrip() for line in told.splitlines() if line.startswith(("✗", "→"))]
    return "\n" + "\n".join(re.sub(r"  +", "  ", line) for line in costing)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_every_user_of_a_unit_is_made_by_sysusers_and_owns_its_folders(unit: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    made = [str(file) for file in sorted((SYSTEMD / "sysusers.d").glob("*.conf"))]
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", *made], capture_output=True, check=True)
    users = [line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()]
    groups = [line.split(":")[0] for line in (tmp_path / "etc" / "group").read_text().splitlines()]
    user = re.findall(r"(?m)^User=(.*)", unit.read_text(encoding="utf-8"))
    assert user[0] in users
    owners = {line.split()[3] for file in (SYSTEMD / "tmpfiles.d").glob("*.conf") for line in entries(file)}
    assert owners <= set(users)
    assert {StatusSection().readers, StatusSection().technicians} <= set(groups)


def entries(file: Path) -> list[str]:
    """The lines of a tmpfiles.d file that are no comments."""
    return [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def test_the_folder_of_the_socket_is_the_same_in_tmpfiles_and_unit() -> None:
    unit = (SYSTEMD / "kioskd-kiosk.service").read_text(encoding="utf-8")
    line, state = entries(SYSTEMD / "tmpfiles.d" / "kioskd.conf")
    assert state.split()[:3] == ["d", "/var/lib/kioskd", "0700"]
    _, folder, mode, user, _, _ = line.split()
    assert f"RuntimeDirectory={folder.removeprefix('/run/')}\nRuntimeDirectoryMode={mode}\n" in unit
    assert f"User={user}\n" in unit and "RuntimeDirectoryPreserve=yes" in unit
