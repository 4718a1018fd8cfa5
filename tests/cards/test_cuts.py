"""Single cuts at every ask and step, and a liar, for the cells that run: the next taps finish the card.

Counted in tests/cards/test_matrix.py's cells; each cut is a copy of the cell's card that goes its own way. The cells
that differ from those here in the length of their keys alone are in tests/nightly/test_cards.py.
"""

import pytest

from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.profile import Operation, Order, identify_steps
from tests.cards.matrix import RUNNING, Cell, assert_finished, before
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.test_attacks_by_liars import LIES, Forger, Lie
from tests.rekey.world import Kiosk, World, honest_tap, stranger, tap

LONGER = {"SCP03 AES-192": Order.RENUMBER, "SCP03 AES-256": Order.INSTALL_FIRST}
"""Of the channels with longer keys, these orders are here."""

HERE = tuple(cell for cell in RUNNING if LONGER.get(str(cell.channel), cell.order) is cell.order)
ELSEWHERE = tuple(cell for cell in RUNNING if cell not in HERE)

ENDS = {"done", "already-done", "nothing-to-do", "issued", "already-issued"}


def finish(cell: Cell, world: World, context: object) -> None:
    """At most two taps at a good terminal finish the card."""
    outcomes = [honest_tap(world, cell.purpose, "station" if cell.purpose == "issue" else "honest") for _ in range(2)]
    assert set(outcomes) <= ENDS, (str(cell), context, outcomes)
    assert_finished(cell, world, context)


@pytest.mark.slow
@pytest.mark.parametrize("cell", HERE, ids=str)
def test_a_cut_anywhere_is_repaired_by_the_next_taps(cell: Cell) -> None:
    assert_cuts_are_repaired(cell)


def assert_cuts_are_repaired(cell: Cell) -> None:
    """A cut at every ask and every step, each on a copy of the card."""
    begun = before(cell)
    names = points(begun.fork(), cell.purpose)
    assert len(names) > 20
    for at, name in enumerate(names):
        world = begun.fork()
        cut_tap(world, at, "k1", cell.purpose)
        finish(cell, world, (at, name))


@pytest.mark.slow
@pytest.mark.parametrize("cell", HERE, ids=str)
def test_a_lie_anywhere_closes_nothing_falsely_and_the_next_taps_finish(cell: Cell) -> None:
    assert_lies_close_nothing(cell)


def assert_lies_close_nothing(cell: Cell) -> None:
    """Every closing is compared with the card's memory at the moment when it is written."""
    begun = before(cell)
    asked = Forger(begun.fork(), "k1")
    tap(asked, cell.purpose)
    # A forged first reading at the station freezes wrong bystanders: that card is never finished.
    first = len(identify_steps(cell.profile)) if cell.operation is Operation.ISSUE else 1
    for at in range(first, asked.count):
        for name, lie in lies_about(cell).items():
            world = begun.fork()
            liar = Forger(world, "k1")
            liar.lies = {at: lie}
            tap(liar, cell.purpose)
            finish(cell, world, (at, name))


def lies_about(cell: Cell) -> dict[str, Lie]:
    """Lies with the key information that this cell's card should have, or had."""
    profile = cell.profile

    def keys(*kvns: int) -> bytes:
        entries = tuple(entry for kvn in kvns for entry in profile.entries(kvn))
        return KeyInformation(entries).encode() + b"\x90\x00"

    wanted = keys(profile.krk_kvn, profile.master_kvn(cell.generation))
    before = keys(profile.krk_kvn, profile.master_kvn(1))
    names = ("another status word", "one bit", "only a status word")
    told: dict[str, Lie] = {"the keys that are wanted": lambda _: wanted, "the keys of before": lambda _: before}
    return {name: LIES[name] for name in names} | told


@pytest.mark.parametrize("cell", [cell for cell in RUNNING if cell.operation is Operation.REPLACE], ids=str)
def test_a_planted_key_set_is_found_and_removed_or_the_case_stays_open(cell: Cell) -> None:
    begun = before(cell)
    for kvn in (cell.profile.krk_kvn & 0xF0 | 0x08, 0x05, 0x7F):
        world = begun.fork(slots=cell.slots + 1)
        world.plant(stranger(kvn))
        honest_tap(world)
        if not world.state.open:
            assert_finished(cell, world, kvn)
            assert kvn not in world.card.kvns
        finish(cell, world, kvn)


LOCKED = [
    pytest.param(cell, id=f"{cell.lock.value}-{cell.operation.value}")
    for cell in RUNNING
    if str(cell.channel) == "SCP03 AES-128" and not cell.krk_first and cell.order is Order.DELETE_FIRST
]


@pytest.mark.slow
@pytest.mark.parametrize("cell", LOCKED)
def test_a_card_that_fails_any_one_command_is_finished_later(cell: Cell) -> None:
    """The command's MAC is checked, nothing else happens, and the terminal goes on as if it had."""
    begun = before(cell)
    counted = begun.fork()
    tap(Kiosk(counted, "k1"), cell.purpose)
    assert counted.card.count > 5
    for at in range(counted.card.count):
        world = begun.fork()
        world.card.fails_at = frozenset((at,))
        kiosk = Kiosk(world, "k1")
        kiosk.obeys = False
        tap(kiosk, cell.purpose)
        if cell.operation is Operation.ROTATE:  # a card that has refused the new KRK keeps the old one
            honest_tap(world)
            world.assert_finished(2, at)
        else:
            finish(cell, world, at)
