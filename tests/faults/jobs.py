"""`python -m tests.faults.jobs PLAN SHARE OF [FOLDER]`: the explorations of a plan, one process's share of them.

Each exploration ends in one JSON line on standard output; with a folder the line is kept there as well, under the name
of what the result depends on, so that a run that was stopped goes on where it was.
"""

import gc
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.explore import ALL, Explored, explore
from tests.faults.scenarios import MAIN, scenarios

ROOT = Path(__file__).resolve().parents[2]
CUTS = frozenset({"power-cut", "kiosk-power", "kill-kiosk", "kill-server", "cut-link", "pull-before", "pull-after"})
MAINS = tuple(f"{operation}/{MAIN}" for operation in ("adopt", "replace", "issue", "rotate"))
SOURCES = ("kioskd/gp", "kioskd/rekey", "kioskd/access", "kioskd/virtual", "tests/faults", "tests/cards", "tests/rekey")


@dataclass(frozen=True, slots=True)
class Job:
    """One exploration: a scenario, how many faults, and which may follow the first one (none named: all)."""

    scenario: str
    faults: int
    further: frozenset[str] = ALL

    @property
    def name(self) -> str:
        """As a file is named."""
        kinds = "cuts" if self.further else "all"
        return f"{self.scenario.replace('/', '_')}-{self.faults}-{kinds}"


def singles() -> tuple[Job, ...]:
    """Every single fault of the base of every kind, and of each lock, order and slot of one channel of each protocol.

    A rotation of those is left to `every-single`: it begins where a replacement has ended.
    """
    return tuple(Job(name, 1) for name in scenarios() if name.count("/") == 1 or _is_of_first_channel(name))


def _is_of_first_channel(name: str) -> bool:
    return name.split("/")[1] in (MAIN, "scp02-i-15") and not name.startswith("rotate/")


def _others() -> tuple[str, ...]:
    return tuple(name for name in scenarios() if name not in MAINS)


PLANS: dict[str, Callable[[], tuple[Job, ...]]] = {
    "singles": singles,
    "every-single": lambda: tuple(Job(name, 1) for name in scenarios()),
    "replace-pairs": lambda: (Job(f"replace/{MAIN}", 2),),
    "pairs": lambda: tuple(Job(name, 2) for name in MAINS),
    "station": lambda: tuple(Job(name, 2, CUTS) for name in _others() if name.startswith("issue/")),
    "field": lambda: tuple(Job(name, 2, CUTS) for name in _others() if not name.startswith("issue/")),
    "triples": lambda: tuple(Job(name, 3, CUTS) for name in MAINS),
}


def shares(jobs: tuple[Job, ...], of: int) -> list[list[Job]]:
    """The jobs dealt out like cards: neighbours cost alike."""
    return [list(jobs[share::of]) for share in range(of)]


def digest() -> str:
    """What the results depend on."""
    whole = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def run(plan: str, processes: int, folder: Path | None = None) -> list[Explored]:
    """All explorations of a plan, shared out over processes of their own."""
    command = [sys.executable, "-m", "tests.faults.jobs", plan]
    kept = [str(folder)] if folder is not None else []
    workers = [
        subprocess.Popen([*command, str(share), str(processes), *kept], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for share in range(processes)
    ]
    found = []
    for worker in workers:
        assert worker.stdout is not None
        found += [seen_in(json.loads(line)) for line in worker.stdout]
    assert [worker.wait() for worker in workers] == [0] * processes
    return found


def seen_in(plain: dict[str, Any]) -> Explored:
    """A result as it was kept: JSON knows no numbers as names."""
    numbered = {
        name: {int(key): value for key, value in plain[name].items()} for name in ("schedules", "states", "repairs")
    }
    return Explored(**plain | numbered)


def _lines(jobs: list[Job], folder: Path | None) -> Iterator[str]:
    known = digest() if folder is not None else ""
    for job in jobs:
        kept = folder / f"{job.name}-{known}.json" if folder is not None else None
        if kept is not None and kept.exists():
            yield kept.read_text()
            continue
        scenario = scenarios()[job.scenario]
        line = json.dumps(asdict(explore(scenario, job.faults, job.further)))
        scenario.__dict__.pop("card", None)  # and all its histories
        if kept is not None:
            kept.write_text(line)
        yield line


def main(argv: list[str]) -> int:
    """One process's share."""
    logging.disable(logging.CRITICAL)
    gc.set_threshold(200_000, 50, 50)  # a third of the time would go into looking for cycles that are not there
    plan, share, of, *folder = argv
    mine = shares(PLANS[plan](), int(of))[int(share)]
    for line in _lines(mine, Path(folder[0]) if folder else None):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
