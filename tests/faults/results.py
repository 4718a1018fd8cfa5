"""What explorations gave, as a table: `python -m tests.faults.results FOLDER` prints it of kept results."""

import json
import sys
from collections import defaultdict
from pathlib import Path

from tests.faults.explore import Explored
from tests.faults.jobs import seen_in

HEAD = (
    "| operation / card | faults | schedules | taps run | states | most clean taps | violations | CPU s |\n"
    "|---|---|---|---|---|---|---|---|"
)


def table(found: list[Explored]) -> str:
    """One row an exploration, and the sum."""
    rows = [HEAD, *(_row(one) for one in sorted(found, key=lambda one: (one.scenario, max(one.schedules))))]
    total = sum(one.total for one in found), sum(one.runs for one in found)
    cpu, wrong = sum(one.cpu_s for one in found), sum(len(one.violations) for one in found)
    rows.append(f"| **all** | | **{total[0]:,}** | **{total[1]:,}** | | | **{wrong}** | **{cpu:,.0f}** |")
    return "\n".join(rows)


def _row(one: Explored) -> str:
    counts = ", ".join(f"{number}: {count:,}" for number, count in sorted(one.schedules.items()))
    states = ", ".join(f"{number}: {count:,}" for number, count in sorted(one.states.items()))
    cells = (one.scenario, max(one.schedules), counts, f"{one.runs:,}", states, max(one.repairs))
    return "| " + " | ".join(map(str, (*cells, len(one.violations), f"{one.cpu_s:.0f}"))) + " |"


def struck(found: list[Explored]) -> str:
    """How often each kind of fault struck, and how often each kind of step was a cut point."""
    faults: dict[str, int] = defaultdict(int)
    steps: dict[str, int] = defaultdict(int)
    for one in found:
        for name, count in one.struck.items():
            faults[name] += count
        for name, count in one.steps.items():
            steps[name] += count
    kinds = " · ".join(f"{name} {count:,}" for name, count in sorted(faults.items(), key=lambda row: -row[1]))
    points = " · ".join(f"{name} {count:,}" for name, count in sorted(steps.items(), key=lambda row: -row[1]))
    return f"Faults that struck: {kinds}.\n\nSteps that were struck: {points}."


def main(argv: list[str]) -> int:
    """Prints the table of a folder's results."""
    found = [seen_in(json.loads(file.read_text())) for file in sorted(Path(argv[0]).glob("*.json"))]
    print(table(found), struck(found), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
