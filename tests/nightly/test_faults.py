"""Every single fault of every kind of card, every pair of the main kind: more than a million schedules.

It goes on where it was stopped: results are kept in .nightly/faults until what they depend on changes.
"""

import os
from pathlib import Path

import pytest

from tests.faults.jobs import run
from tests.faults.results import struck, table
from tests.faults.test_schedules import assert_unharmed

KEPT = Path(".nightly") / "faults"


@pytest.mark.parametrize(("plan", "at_least"), [("every-single", 70_000), ("pairs", 1_000_000)])
def test_whatever_is_cut_wherever_the_card_opens_and_the_next_taps_finish_it(plan: str, at_least: int) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    found = run(plan, os.cpu_count() or 1, KEPT.resolve())
    print(f"\n{plan}\n\n{table(found)}\n\n{struck(found)}")
    assert_unharmed(found)
    assert sum(one.total for one in found) > at_least
