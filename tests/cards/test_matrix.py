"""Every cell of the matrix of cards runs to its end, or is refused before anything is changed, with its reason."""

import pytest

from kioskd.rekey.profile import REASONS, Operation
from tests.cards.matrix import CELLS, FINISHED, REFUSED, RUNNING, Cell, assert_finished, before, blank
from tests.rekey.world import Kiosk, memory_of, tap

pytestmark = pytest.mark.slow


def test_the_matrix_is_whole() -> None:
    assert len(CELLS) == 5 * 3 * 2 * 3 * 3
    assert len(RUNNING) + len(REFUSED) == len(CELLS)


@pytest.mark.parametrize("cell", RUNNING, ids=str)
def test_a_cell_runs_to_its_end(cell: Cell) -> None:
    world = before(cell)
    assert tap(Kiosk(world, "k1"), cell.purpose) == FINISHED[cell.operation]
    assert_finished(cell, world)
    assert tap(Kiosk(world, "k1"), cell.purpose) in ("already-issued", "already-done", "nothing-to-do")


@pytest.mark.parametrize("cell", REFUSED, ids=str)
def test_a_cell_is_refused_with_its_reason_and_nothing_is_changed(cell: Cell) -> None:
    assert cell.refused in REASONS.values()
    if cell.profile.refuses(Operation.ISSUE):
        world = blank(cell)
        memory = memory_of(world)
        assert tap(Kiosk(world, "station"), "issue") == "card-unfit"
        assert memory_of(world) == memory and not world.log
        return
    world = before(cell)
    if cell.operation is Operation.ROTATE and not cell.profile.refuses(Operation.REPLACE):
        # The replacement goes on; the KRK stays.
        assert tap(Kiosk(world, "k1")) == "done"
        world.assert_finished(2, str(cell))
        closed = world.state.closed
        assert closed is not None and closed.krk.epoch == 1
        return
    memory = memory_of(world)
    assert tap(Kiosk(world, "k1")) == "card-unfit"
    assert memory_of(world) == memory
