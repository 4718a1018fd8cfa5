"""Reports of hosts that went wrong with real cards, and that ours does not: what has no habit of the card behind it."""

from itertools import combinations

import pytest

from kioskd.errors import TapEnds
from kioskd.gp.apdu import INS, SW
from kioskd.rekey.facts import identify
from kioskd.rekey.profile import Order, Profile
from kioskd.virtual.card_options import CardOptions
from tests.cards.test_habits import world_of
from tests.rekey.vaults import armed
from tests.rekey.world import Kiosk, tap


def put_keys(kiosk: Kiosk) -> list[int]:
    """P1 of each PUT KEY that was sent."""
    sent = [step.command for script, _ in kiosk.seen for step in script.steps]
    return [command[2] for command in sent if command[1] == INS.PUT_KEY]


@pytest.mark.parametrize("order", [Order.DELETE_FIRST, Order.RENUMBER])
def test_put_key_names_the_set_that_it_takes_the_place_of_and_none_for_a_new_one(order: Order) -> None:
    world = world_of(Profile(order=order), CardOptions())
    station = Kiosk(world, "station")
    assert tap(station, "issue") == "issued"
    assert put_keys(station) == [0, 0]
    closed = world.state.closed
    assert closed is not None
    kiosk = Kiosk(world.fork(armed(2)))
    assert tap(kiosk) == "done"
    assert put_keys(kiosk) == [closed.master.kvn if order is Order.RENUMBER else 0]


def test_the_three_keys_of_a_set_differ_so_that_one_taken_for_another_is_seen() -> None:
    world = world_of(Profile(), CardOptions())
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    for one in world.card.memory.sets:
        assert all(first != second for first, second in combinations((one.enc, one.mac, one.dek), 2)), one.kvn


@pytest.mark.parametrize("sw", [SW.NOT_FOUND, SW.CLA_NOT_SUPPORTED, SW.INS_NOT_SUPPORTED])
def test_a_card_without_a_security_domain_such_as_one_never_initialised_is_told_so(sw: SW) -> None:
    with pytest.raises(TapEnds) as end:
        identify((sw.to_bytes(2), b"", b"", b"")).send(None)
    assert end.value.name == "not-globalplatform"
