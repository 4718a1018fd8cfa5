"""From 3DES to AES in the field: a replacement puts an AES master set, and the card speaks SCP03 with it."""

import pytest

from kioskd.gp.isd import InitializeUpdateAnswer, initialize_update
from kioskd.gp.keys import KVN
from tests.rekey.kinds import Kind
from tests.rekey.migrating import KINDS, REFUSING, issued, master_kind
from tests.rekey.vaults import armed
from tests.rekey.world import Kiosk, World, tap


def spoken(world: World, kvn: int) -> int:
    """The protocol in which the card answers with that key set."""
    world.card.reset()
    raw = world.card.transmit(initialize_update(KVN(kvn), bytes(8)).encode())
    return InitializeUpdateAnswer.parse(raw[:-2]).scp


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_replacement_puts_an_aes_set_and_the_card_speaks_scp03_with_it(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    world.assert_finished(2)
    closed = world.state.closed
    assert closed is not None and kind.profile.migrates is not None
    assert master_kind(world) == str(kind.profile.migrates.kind)
    assert spoken(world, closed.master.kvn) == 3
    assert spoken(world, closed.krk.kvn) == 2


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_next_replacement_puts_an_aes_set_in_the_place_of_one(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(3)
    assert master_kind(later).startswith("AES")


@pytest.mark.parametrize("kind", REFUSING, ids=str)
def test_a_card_that_refuses_aes_keys_gets_a_3des_set_of_the_new_generation_in_the_same_tap(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "not-migrated"
    world.assert_finished(2)
    assert master_kind(world) == "3DES"
    assert tap(Kiosk(world)) == "already-done"
