"""Issuing every other kind of card: any fault, then any cut."""

import pytest

from tests.faults.nightly import assert_every_card_is_finished


@pytest.mark.parametrize(("plan", "at_least"), [("station", 1_000_000)])
def test_whatever_is_cut_wherever_the_card_opens_and_the_next_taps_finish_it(plan: str, at_least: int) -> None:
    assert_every_card_is_finished(plan, at_least)
