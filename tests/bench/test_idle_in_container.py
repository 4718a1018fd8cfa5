"""The kiosk as its package installs it, under systemd, with nothing to do; pcscd beside it."""

import os
import re
import time
from collections.abc import Iterator
from statistics import median

import pytest

from tests.bench.process_use import Told, Use, megabytes, table
from tests.bench.results import Target, record, spread
from tests.packages.build import ingredients
from tests.packages.container import Container, run
from tests.packages.installed import UNIT, House, open_house

SUITE = os.environ.get("KIOSKD_TEST_SUITE", "bookworm")
IDLE_S, SETTLE_S, STARTS = 60.0, 5.0, 7
BEGAN, READY = "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("h")
    try:
        with open_house(folder, *ingredients(SUITE), cards=1) as opened:
            yield opened
    finally:
        run("rm", "-rf", "--one-file-system", str(folder))


def inside(container: Container, pid: int) -> Told:
    """A process of a container, by its number there."""
    return lambda pattern: container.run("sh", "-c", f"cat /proc/{pid}/{pattern}")


def main_process(container: Container, unit: str) -> Told:
    """A unit's main process."""
    return inside(container, int(container.run("systemctl", "show", "--property=MainPID", "--value", unit)))


def start_s(house: House) -> float:
    """Seconds from the start of the process to its READY=1, as systemd has measured them."""
    house.kiosk.run("systemctl", "restart", UNIT)
    told = house.kiosk.run("systemctl", "show", f"--property={BEGAN},{READY}", UNIT)
    at = {name: int(number) for name, number in re.findall(r"^(\w+)=(\d+)$", told, re.MULTILINE)}
    return (at[READY] - at[BEGAN]) / 1e6


def test_an_idle_kiosk_under_systemd(house: House) -> None:
    began = time.monotonic()
    starts = [start_s(house) for _ in range(STARTS)]
    house.ready()
    time.sleep(SETTLE_S)
    processes = {name: main_process(house.kiosk, unit) for name, unit in (("kiosk", UNIT), ("pcscd", "pcscd.service"))}
    before, since = {name: Use.of(told) for name, told in processes.items()}, time.monotonic()
    time.sleep(IDLE_S)
    seconds = time.monotonic() - since
    lines = table(processes, before, seconds)
    wakes = Use.of(processes["kiosk"]).wakes_a_second(before["kiosk"], seconds)
    resident = megabytes(processes["kiosk"], "status", "VmRSS")
    lines += [
        "",
        Target("wake-ups of the kiosk a second", wakes, 1, "/s").line,
        Target("resident memory of the kiosk, linked (VmRSS)", resident, 50, "MB").line,
        Target(f"process start to READY=1, median of {STARTS} starts", median(starts), 1, "s").line,
        f"starts:  {spread(starts)} s, as systemd has measured them",
        f"{SUITE} with systemd and pcscd in a container, the virtual reader, no card; the access server in another",
    ]
    record(f"A kiosk with nothing to do, installed from its package ({SUITE})", lines, began, page="idle")
