"""What a process uses and occupies, as the kernel counts: here, and in a container."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

Told = Callable[[str], str]
"""The texts of the files under a process's folder in /proc that fit a pattern, one after the other."""


def here(pid: int) -> Told:
    """A process of this machine."""
    return lambda pattern: "".join(file.read_text() for file in Path(f"/proc/{pid}").glob(pattern))


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used so far: times that it woke up by itself, and nanoseconds on a core."""

    wakes: int
    cpu_ns: int
    threads: int

    @classmethod
    def of(cls, told: Told) -> Self:
        """Of all its threads."""
        wakes = re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", told("task/*/status"), re.MULTILINE)
        times = told("task/*/schedstat").splitlines()
        return cls(sum(map(int, wakes)), sum(int(line.split()[0]) for line in times), len(times))

    def wakes_a_second(self, before: Self, seconds: float) -> float:
        """How often it woke up since `before`."""
        return (self.wakes - before.wakes) / seconds

    def cpu_percent(self, before: Self, seconds: float) -> float:
        """How much of one core it has used since `before`."""
        return (self.cpu_ns - before.cpu_ns) / 1e7 / seconds


def megabytes(told: Told, file: str, name: str) -> float:
    """A memory figure of a process, in MB of 1024 kB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", told(file), re.MULTILINE)
    assert found is not None, name
    return int(found[1]) / 1024


def table(processes: Mapping[str, Told], before: Mapping[str, Use], seconds: float) -> list[str]:
    """One line for each process: what it has used since `before`, `seconds` ago, and what it occupies."""
    rows = [f"{'':<8}{'CPU %':>9}{'wake-ups/s':>12}{'threads':>9}{'VmRSS MB':>10}{'Pss MB':>8}"]
    for name, told in processes.items():
        now, then = Use.of(told), before[name]
        cpu, wakes = now.cpu_percent(then, seconds), now.wakes_a_second(then, seconds)
        resident, own = megabytes(told, "status", "VmRSS"), megabytes(told, "smaps_rollup", "Pss")
        rows.append(f"{name:<8}{cpu:>9.3f}{wakes:>12.2f}{now.threads:>9}{resident:>10.1f}{own:>8.1f}")
    return rows
