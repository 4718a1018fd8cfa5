"""One cut, anywhere: the next tap always ends with the card finished and its case closed.

The engine is cut at every ask, the relay at every step, each before it happens and after it happened.
"""

from collections.abc import Callable

import pytest

from kioskd.virtual.faults import Faults, When
from tests.rekey.proofs import assert_issued, assert_replaced, master_opens
from tests.rig import Rig

MakeRig = Callable[[], Rig]
SIDES = ("server", "relay")


async def points_of(make: MakeRig, purpose: str, side: str) -> list[str]:
    """The points of an undisturbed run."""
    faults = Faults()
    assert await make().tap(purpose, faults=faults, side=side) in ("done", "issued")
    return faults.points


async def test_an_undisturbed_tap_replaces_the_master_key(issued_card: MakeRig) -> None:
    rig = issued_card()
    before = (await rig.state()).closed
    assert before is not None and master_opens(rig, before.master)
    assert await rig.tap() == "done"
    await assert_replaced(rig)
    assert not master_opens(rig, before.master)
    assert await rig.tap() == "already-done"


async def test_an_undisturbed_card_is_issued(blank_card: MakeRig) -> None:
    rig = blank_card()
    assert await rig.tap("issue") == "issued"
    await assert_issued(rig)
    assert await rig.tap("issue") == "already-issued"


@pytest.mark.slow
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("side", SIDES)
async def test_the_tap_after_a_cut_finishes_the_replacement(issued_card: MakeRig, side: str, when: When) -> None:
    points = await points_of(issued_card, "replace", side)
    assert len(points) >= 8
    for at, name in enumerate(points):
        where = f"cut {when.value} {side} point {at} ({name})"
        rig = issued_card()
        await rig.tap(faults=Faults(cut_at=at, when=when), side=side)
        assert await rig.tap() in ("done", "already-done"), where
        await assert_replaced(rig, where)


@pytest.mark.slow
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("side", SIDES)
async def test_the_tap_after_a_cut_finishes_the_issuance(blank_card: MakeRig, side: str, when: When) -> None:
    points = await points_of(blank_card, "issue", side)
    assert len(points) >= 16
    for at, name in enumerate(points):
        where = f"cut {when.value} {side} point {at} ({name})"
        rig = blank_card()
        await rig.tap("issue", faults=Faults(cut_at=at, when=when), side=side)
        assert await rig.tap("issue") in ("issued", "already-issued"), where
        await assert_issued(rig, where)
