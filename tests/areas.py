"""Where the time of a test run goes: minutes by area, beside what each may take on two cores."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

SHORTEST_S = 60
"""Shorter runs show no table."""


@dataclass(frozen=True, slots=True)
class Area:
    """Some folders of tests, and the minutes of `make test` that they may take on two cores."""

    name: str
    minutes: float
    folders: tuple[str, ...]


AREAS = (
    Area("path and card language", 4, ("path", "gp", "rekey", "virtual", "witness", "demo", "service")),
    Area("HSM", 4, ("hsm", "vault", "kms", "ceremony", "claims", "leaks", "ca")),
    Area("cards", 4, ("cards", "card", "profile", "station")),
    Area("terminal", 5, ("kiosk", "terminal", "enrolment", "edges", "config", "packages", "house")),
    Area("faults", 3, ("faults", "stack", "mutants", "sim", "soak", "fuzz")),
    Area("fleet", 3, ("access", "store")),
)
REST = "the rest"


def area_of(test: str) -> str:
    """The area of a test, by its id such as tests/gp/test_tlv.py::test_x."""
    folder = test.removeprefix("tests/").partition("/")[0]
    return next((area.name for area in AREAS if folder in area.folders), REST)


def lines(reports: Iterable[pytest.TestReport], processes: int) -> list[str]:
    """The table of a run's reports by so many processes at a time; nothing for a short run."""
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for one in reports:
        name = area_of(one.nodeid)
        seconds[name] += one.duration  # type: ignore[assignment]
        tests[name] += one.when == "call"
    if sum(seconds.values()) < SHORTEST_S:
        return []
    budgets = {area.name: f"{area.minutes:g}" for area in AREAS}
    rows = [
        f"{name:<26}{tests[name]:>6}{seconds[name] / 60 / processes:>10.1f}{budgets.get(name, ''):>6}"
        for name in (*budgets, REST)
        if tests[name]
    ]
    return [f"{'area':<26}{'tests':>6}{'minutes':>10}{'of':>6}", *rows]
