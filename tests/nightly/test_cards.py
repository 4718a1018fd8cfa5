"""The cells of the matrix that `make test` leaves out: cut at every step, lied to at every answer."""

import pytest

from tests.cards.matrix import Cell
from tests.cards.test_cuts import ELSEWHERE, assert_cuts_are_repaired, assert_lies_close_nothing


@pytest.mark.parametrize("cell", ELSEWHERE, ids=str)
def test_a_cut_anywhere_is_repaired_by_the_next_taps(cell: Cell) -> None:
    assert_cuts_are_repaired(cell)


@pytest.mark.parametrize("cell", ELSEWHERE, ids=str)
def test_a_lie_anywhere_closes_nothing_falsely_and_the_next_taps_finish(cell: Cell) -> None:
    assert_lies_close_nothing(cell)
