"""One plan of schedules, run whole, for the nightly parts.

It goes on where it was stopped: results are kept in .nightly/faults until what they depend on changes.
"""

import os
from pathlib import Path

from tests.faults.jobs import run
from tests.faults.results import struck, table
from tests.faults.test_schedules import assert_unharmed

KEPT = Path(".nightly") / "faults"


def assert_every_card_is_finished(plan: str, at_least: int) -> None:
    """Runs the plan and prints its table; fails for any violation, and for fewer schedules than that."""
    KEPT.mkdir(parents=True, exist_ok=True)
    found = run(plan, os.cpu_count() or 1, KEPT.resolve())
    print(f"\n{plan}\n\n{table(found)}\n\n{struck(found)}")
    assert_unharmed(found)
    assert sum(one.total for one in found) > at_least
