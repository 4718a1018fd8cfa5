"""The one thing to do for a card, as `kioskctl case` says it."""

from typing import Any

import pytest

from kioskd.kiosk.status_words import case_lines
from kioskd.outcomes import outcome
from kioskd.rekey.wire import End


def tap(name: str) -> dict[str, Any]:
    """A tap that ended so."""
    return {"tap": "5a5efe35", "reader": "R0", "began": 0.0, "outcome": name, "ms": 1.0, "moments": []}


def report(end: str) -> dict[str, Any]:
    """A report that waits."""
    return {"script": 18, "digest": "00", "end": end, "answers": 0}


def step(*, taps: tuple[str, ...] = (), reports: tuple[str, ...] = ()) -> str:
    """The last line of what is shown."""
    case = {
        "card": "cplc:…844DC02A",
        "open": bool(reports),
        "reports": [report(end) for end in reports],
        "taps": [tap(name) for name in taps],
        "cryptograms": 0,
    }
    return case_lines(case)[-1]


@pytest.mark.parametrize("end", [end.value for end in End if end is not End.COMPLETE])
def test_a_card_whose_script_did_not_end_is_to_be_tapped_again(end: str) -> None:
    assert step(reports=(end,)).startswith("Next: have the card tapped again, here or at any other kiosk.")


def test_a_card_that_is_finished_waits_for_the_link_alone() -> None:
    assert step(reports=(End.COMPLETE.value,)).startswith("Next: nothing, if the link is up")


@pytest.mark.parametrize("name", ["card-pulled-in-doubt", "not-finished", "kiosk-died", "card-pulled", "vault-failed"])
def test_a_card_whose_last_tap_was_no_end_is_given_that_taps_advice(name: str) -> None:
    assert step(taps=("done", name)) == f"Next: {outcome(name).advice}"


def test_a_card_that_is_done_needs_nothing() -> None:
    assert step(taps=("card-pulled-in-doubt", "done")) == "Next: nothing: this terminal has no part in it any more."
