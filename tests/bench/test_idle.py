"""A kiosk with nothing to do: how often it wakes, what it uses and occupies, how fast it is ready; pcscd beside it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from kioskd.demo.stage import Stage
from tests.bench.process_use import Use, here, megabytes, table
from tests.bench.results import Target, record, spread
from tests.service.supervised import Supervised

IDLE_S = 60.0
SETTLE_S = 3.0
WATCHDOG_S = 30.0  # as in systemd/kioskd-kiosk.service
STARTS = 7
UNIT = Path(__file__).parents[2] / "systemd" / "kioskd-kiosk.service"
FIRST = ("chrt", "--fifo", "1")
"""A kiosk that boots has nothing else to do: whatever else runs on this machine waits for a start that is measured."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("b") / "stage") as stage:
        stage.make_keys()
        stage.start_access()
        yield stage


def compiled(stage: Stage) -> dict[str, str]:
    """Python's bytecode is kept, as a package does at its installation; in the stage's folder."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{stage.folder}/bytecode"}


def kiosk(stage: Stage, inside: tuple[str, ...] = ()) -> Supervised:
    """The kiosk as its unit starts it: in the unit's environment, and with a watchdog to feed."""
    command = ["-m", "kioskd", "kiosk", "--config", f"{stage.folder}/kiosk.yaml"]
    of_unit = dict(re.findall(r"^Environment=(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    environment = {**stage.pcscd.environment, **of_unit, **compiled(stage)}
    return Supervised(stage.folder, command, WATCHDOG_S, environment, inside)


def start_s(stage: Stage) -> tuple[float, float]:
    """Seconds from the start of the process to its READY=1, as a service manager hears it; those on a core."""
    began = time.monotonic()
    with kiosk(stage, FIRST) as service:
        service.wait_until_ready()
        on_cores_s = Use.of(here(service.process.pid)).cpu_ns / 1e9
        return next(when for when, line in service.heard if line == "READY=1") - began, on_cores_s


def asked_s(stage: Stage) -> float:
    """Seconds that a technician waits for `kioskctl status`."""
    kioskctl = ["-m", "kioskd.kiosk.kioskctl", "--socket", f"{stage.folder}/kiosk.sock"]
    command = [*FIRST, sys.executable, *kioskctl, "status"]
    began = time.monotonic()
    told = subprocess.run(command, env={**os.environ, **compiled(stage)}, capture_output=True, text=True, check=True)
    assert "ready" in told.stdout
    return time.monotonic() - began


def asked(stage: Stage) -> list[float]:
    """The same, of a terminal that is linked, again and again; the first one, which compiles, does not count."""
    with kiosk(stage) as service:
        service.wait_for_status("link up")
        return [asked_s(stage) for _ in range(STARTS + 1)][1:]


def idle(stage: Stage) -> tuple[list[str], int]:
    """A minute of a linked kiosk and of pcscd: a table; and how often the watchdog was fed."""
    with kiosk(stage) as service:
        service.wait_for_status("link up")
        time.sleep(SETTLE_S)
        processes = {"kiosk": here(service.process.pid), "pcscd": here(stage.pcscd.pid)}
        fed, since = service.fed(), time.monotonic()
        before = {name: Use.of(told) for name, told in processes.items()}
        time.sleep(IDLE_S)
        seconds = time.monotonic() - since
        rows = table(processes, before, seconds)
        wakes = Use.of(processes["kiosk"]).wakes_a_second(before["kiosk"], seconds)
        resident = megabytes(processes["kiosk"], "status", "VmRSS")
        targets = [
            Target("wake-ups of the kiosk a second", wakes, 1, "/s").line,
            Target("resident memory of the kiosk, linked (VmRSS)", resident, 50, "MB").line,
        ]
        return [*rows, "", *targets], service.fed() - fed


def test_an_idle_kiosk(stage: Stage) -> None:
    began = time.monotonic()
    start_s(stage)  # compiles, which takes memory that an installed kiosk never takes
    lines, fed = idle(stage)
    assert fed >= IDLE_S / WATCHDOG_S, "an idle kiosk feeds its watchdog"
    starts = [start_s(stage) for _ in range(STARTS)]
    clock, cores = zip(*starts, strict=True)
    lines += [
        Target(f"process start to READY=1, median of {STARTS} starts", median(clock), 1, "s").line,
        f"starts:  {spread(clock)} s on the clock, {spread(cores)} s on the cores",
        f"kioskctl status, from its start to its end:  {spread(asked(stage))} s",
        f"both under `{' '.join(FIRST)}`, and compiled before, as a package is",
        f"over {IDLE_S:g} s, watchdog of {WATCHDOG_S:g} s fed {fed} times",
        "the virtual reader is on the real pcscd; one reader of two slots, no card",
    ]
    record("A kiosk with nothing to do", lines, began, page="idle")
