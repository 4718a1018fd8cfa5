"""A kiosk with nothing to do: how often it wakes, what it uses and occupies, how fast it is ready; pcscd beside it."""

import time
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("b") / "stage") as stage:
        stage.make_keys()
        stage.start_access()
        yield stage


def kiosk(stage: Stage) -> Supervised:
    """The kiosk as its unit starts it: with a watchdog to feed."""
    command = ["-m", "kioskd", "kiosk", "--config", f"{stage.folder}/kiosk.yaml"]
    return Supervised(stage.folder, command, WATCHDOG_S, stage.pcscd.environment)


def start_s(stage: Stage) -> tuple[float, float]:
    """Seconds from the start of the process to its READY=1, as a service manager hears it; those on a core."""
    began = time.monotonic()
    with kiosk(stage) as service:
        service.wait_until_ready()
        on_cores_s = Use.of(here(service.process.pid)).cpu_ns / 1e9
        return next(when for when, line in service.heard if line == "READY=1") - began, on_cores_s


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
    lines, fed = idle(stage)
    assert fed >= IDLE_S / WATCHDOG_S, "an idle kiosk feeds its watchdog"
    starts = [start_s(stage) for _ in range(STARTS)]
    clock, cores = zip(*starts, strict=True)
    lines += [
        Target(f"process start to READY=1, median of {STARTS} starts", median(clock), 1, "s").line,
        f"starts:  {spread(clock)} s on the clock, {spread(cores)} s on the cores; the rest is other work here",
        f"over {IDLE_S:g} s, watchdog of {WATCHDOG_S:g} s fed {fed} times",
        "the virtual reader is on the real pcscd; one reader of two slots, no card",
    ]
    record("A kiosk with nothing to do", lines, began, page="idle")
