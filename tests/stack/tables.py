"""What the cases came to, as tables: by operation and kind, and by boundary.

`python -m tests.stack.tables FILE...` prints those of what a run has kept so far.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.stack.campaign import Kept
from tests.stack.cases import Case, Kind
from tests.stack.play import MOST_TAPS, Result
from tests.stack.sites import sites

LOST, OPEN = "nothing opens the card", "the case is open"
HEAD = "| cases | restarts | clean taps: " + ", ".join(map(str, range(1, MOST_TAPS + 1))) + " | lost | open | wrong |"
RULE = "|---" * 6 + "|"
MOMENTS = ("before", "uncommitted", "after")
_RECORD = re.compile(r"\(.*?\)")
KILLS = (Kind.TERMINAL_KILLED, Kind.SERVER_KILLED, Kind.COMMAND_KILLED)


def _cells(results: list[Result]) -> str:
    taps = ", ".join(str(sum(one.taps == count for one in results)) for count in range(1, MOST_TAPS + 1))
    lost, still_open = (sum(any(said in line for line in one.wrong) for one in results) for said in (LOST, OPEN))
    wrong = sum(bool(one.wrong) for one in results)
    return f"| {len(results)} | {sum(one.restarts for one in results)} | {taps} | {lost} | {still_open} | {wrong} |"


def page(results: Iterable[Result]) -> str:
    """Both tables, of the cases whose place was met."""
    done = list(results)
    met = [one for one in done if one.struck or one.wrong]
    void = len(done) - len(met)
    words = f"{len(met)} cases. In {void} more the place was not met: a page less was written, a packet less was sent."
    return "\n\n".join((words, by_kind(met), by_boundary(met)))


def by_kind(results: Iterable[Result]) -> str:
    """One line for each operation and kind, and the sum."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for one in results:
        case = Case.parse(one.case)
        groups[case.operation, case.kind.value + (", twice" if case.again else "")].append(one)
    lines = [f"| {name} | {kind} {_cells(found)}" for (name, kind), found in sorted(groups.items())]
    total = _cells([one for found in groups.values() for one in found])
    return "\n".join((f"| operation | what strikes {HEAD}", "|---|---" + RULE, *lines, f"| **all** | {total}"))


def by_boundary(results: Iterable[Result]) -> str:
    """One line for each call at which a process was killed: how often before it, before its commit, and after it."""
    groups: dict[str, list[Result]] = defaultdict(list)
    moments: dict[str, Counter[str]] = defaultdict(Counter)
    for one in results:
        case = Case.parse(one.case)
        if case.kind in KILLS:
            moment, _, place = _place(case.again or case.at).partition(" ")
            groups[place].append(one)
            moments[place][moment] += 1
    lines = [
        f"| {place} | {', '.join(str(moments[place][one]) for one in MOMENTS)} {_cells(found)}"
        for place, found in sorted(groups.items())
    ]
    return "\n".join((f"| killed at | {', '.join(MOMENTS)} {HEAD}", "|---|---" + RULE, *lines))


def uncovered(results: Iterable[Result]) -> set[str]:
    """The places in the shipped code that call a journal, a store or a batch, and at which no process was killed."""
    cases = (Case.parse(one.case) for one in results)
    killed = {_place(case.again or case.at) for case in cases if case.kind in KILLS}
    return sites() - {_RECORD.sub("", place.partition(" ")[2], count=1) for place in killed}


def _place(at: str) -> str:
    return at.partition(" #")[0]


if __name__ == "__main__":
    by_name = {one.case: one for name in sys.argv[1:] for one in Kept(Path(name)).results.values()}
    print(page(by_name.values()))
