"""What grows is told from what only moves."""

import math

import pytest

from tests.soak.samples import Flat, Sample, for_each, growth, spark, table, too_fast

WARM = 100


def run(*figure: float) -> list[Sample]:
    """Samples of one figure, fifty taps apart."""
    return [Sample(50 * at, {"x": value}) for at, value in enumerate(figure)]


def test_a_descriptor_for_each_tap_is_seen() -> None:
    leaking = run(*(20.0 + 50 * at for at in range(9)))
    assert growth(leaking, "x", WARM) == pytest.approx(1000)
    assert too_fast(leaking, [Flat("x", "", 1)], WARM) == ["x grows by 1000.00  in 1000 taps, at most 1 is flat"]


def test_what_only_moves_is_flat() -> None:
    moving = run(*(20 + 8 * math.sin(at) for at in range(100)))
    assert too_fast(moving, [Flat("x", "", 1)], WARM) == []


def test_what_is_taken_while_warming_up_does_not_count() -> None:
    assert too_fast(run(0, 500, *[500.0] * 20), [Flat("x", "kB", 1)], WARM) == []


def test_what_may_grow_is_told_all_the_same() -> None:
    growing = run(*(float(at) for at in range(9)))
    assert too_fast(growing, [Flat("x", "kB", None)], WARM) == []
    row = table(growing, [Flat("x", "kB", None)], WARM)[1]
    assert row.split()[:6] == ["x", "kB", "2", "8", "20.00", "grows"]


def test_what_is_higher_than_it_may_ever_be_is_told() -> None:
    filling = run(*(min(4000.0, 1000.0 * at) for at in range(20)))
    assert too_fast(filling, [Flat("x", "kB", ceiling=4000)], WARM) == []
    assert too_fast(filling, [Flat("x", "kB", ceiling=3000)], WARM) == ["x came to 4000 kB, at most 3000 is expected"]


def test_growth_is_told_for_each_card_that_was_replaced() -> None:
    samples = [Sample(10 * at, {"store": 3.0 * (at // 4), "replaced": float(at // 4)}) for at in range(40)]
    assert for_each(samples, "store", "replaced", WARM) == pytest.approx(3)


def test_a_picture_goes_from_the_least_to_the_most() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert spark([5.0] * 100) == "▁" * 40
    assert len(spark([float(at) for at in range(101)])) == 40
