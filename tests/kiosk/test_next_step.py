"""The one thing to do next, of a kiosk that is well but for what a technician did to it."""

from typing import Any

import pytest

from kioskd.kiosk.status_words import NOTHING, next_step, state_words
from kioskd.outcomes import outcome
from tests.kiosk.statuses import HEALTHY, READER


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, NOTHING),
        ({"state": "drained"}, outcome("drained").advice),
        (
            {"state": "drained", "closed_readers": [READER]},
            "the work at the readers is done: kioskctl readers open NAME",
        ),
        ({"closed_readers": ["another"]}, NOTHING),
        ({"state": "drained", "closed_readers": ["another"]}, outcome("drained").advice),
        ({"readers": {}, "closed_readers": [READER]}, outcome("no-reader").advice),
    ],
)
def test_the_next_step_undoes_what_was_done(change: dict[str, Any], step: str) -> None:
    assert step in next_step({**HEALTHY, **change})


def test_a_kiosk_whose_readers_are_closed_is_not_called_drained() -> None:
    closed = {**HEALTHY, "state": "drained", "closed_readers": [READER]}
    assert state_words(closed) == "every reader is closed: takes no card"
    assert state_words({**HEALTHY, "state": "drained"}) == "drained: takes no card"
