"""A kiosk with nothing to do: how often it wakes, what it occupies, how fast it is ready."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from kioskd.demo.stage import Stage
from tests.bench.results import Target, record, spread

IDLE_S = 20.0
STARTS = 7
READY_S = 20.0


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("b") / "stage") as stage:
        stage.make_keys()
        stage.start_access()
        yield stage


def switches(pid: int) -> int:
    """How often the threads of a process have been put on or off a core so far."""
    told = [(task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(count) for text in told for count in re.findall(r"ctxt_switches:\s+(\d+)", text))


def kilobytes(file: str, name: str) -> float:
    """A memory figure of a process, in MB of 1024 kB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    assert found is not None, name
    return int(found[1]) / 1024


def start_s(stage: Stage) -> float:
    """Seconds from the start of the process to its READY=1, as a service manager sees it."""
    told = stage.folder / "notify"
    told.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(told))
        manager.settimeout(READY_S)
        environment = {**os.environ, **stage.roles.environment, "NOTIFY_SOCKET": str(told)}
        command = [sys.executable, "-m", "kioskd", "kiosk", "--config", f"{stage.folder}/kiosk.yaml"]
        began = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as kiosk:
            try:
                while b"READY=1" not in manager.recv(4096):
                    pass
                return time.perf_counter() - began
            finally:
                kiosk.terminate()


def test_an_idle_kiosk(stage: Stage) -> None:
    began = time.monotonic()
    stage.start_terminal("kiosk")
    pid = stage.roles.pid("kiosk")
    time.sleep(2)
    before, since = switches(pid), time.monotonic()
    time.sleep(IDLE_S)
    wakes = (switches(pid) - before) / (time.monotonic() - since)
    resident = kilobytes(f"/proc/{pid}/status", "VmRSS")
    own = kilobytes(f"/proc/{pid}/smaps_rollup", "Pss")
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    ready_ms = (stage.roles.status("kiosk") or {})["ready_ms"]
    stage.roles.stop("kiosk")
    starts = [start_s(stage) for _ in range(STARTS)]
    lines = [
        Target("resident memory, linked (VmRSS)", resident, 50, "MB").line,
        Target(f"process start to READY=1, median of {STARTS} starts", median(starts), 1, "s").line,
        f"wake-ups a second over {IDLE_S:g} s, {threads} threads, linked:  {wakes:.2f}",
        f"its share of memory where pages are shared (Pss):  {own:.1f} MB",
        f"starts:  {spread(starts)} s; ready_ms of the status:  {ready_ms:.0f}",
    ]
    record("An idle kiosk", lines, began)
