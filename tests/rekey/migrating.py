"""Cards of 3DES sets that take AES sets as well: the kinds that a migration is held to."""

import functools
from dataclasses import replace

from kioskd.gp.life_cycle import LifeCycle
from kioskd.rekey.aes_sets import Migration
from kioskd.rekey.profile import Lock, Order, Profile
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.kinds import Kind
from tests.rekey.vaults import Keys, armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, tap

AES_128 = Migration()
PROFILE = Profile(**DES, name="gp-scp02-i15", migrates=AES_128)
CARD = CardOptions(scp=2, scp_i=0x15, also_aes=True)
MACS = {"level": 0x13}

PLAIN = Kind("no response MAC", PROFILE, CARD)
MACED = Kind("response MAC", replace(PROFILE, level=0x13), replace(CARD, scp_i=0x35))
THREE = Kind(
    "install-first",
    replace(MACED.profile, order=Order.INSTALL_FIRST, slots=3),
    replace(MACED.options, slots=3),
)
RENUMBER = Kind("renumber", replace(MACED.profile, order=Order.RENUMBER), MACED.options)
AES_256 = Kind(
    "AES-256 without length, zero check value",
    replace(PROFILE, migrates=Migration(key_bytes=32, i=0x60, level=0x13, key_length_sent=False, zero_kcv=True)),
    replace(CARD, zero_kcv=True),
)
LOCKED = Kind("lifecycle", replace(MACED.profile, lock=Lock.LIFECYCLE, rests=LifeCycle.CARD_LOCKED), MACED.options)
KINDS = (PLAIN, MACED, THREE, RENUMBER, AES_256, LOCKED)
REFUSING = tuple(
    Kind(f"{kind.name}, refuses AES over SCP02", kind.profile, replace(kind.options, aes_over_scp02=False))
    for kind in (PLAIN, MACED, THREE, RENUMBER)
)


@functools.cache
def _issued(kind: Kind) -> World:
    world = World(issuing(), AttackedCard(options=kind.options), profile=kind.profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued", kind
    world.assert_finished(1)
    assert master_kind(world) == "3DES", kind
    return world


def issued(kind: Kind, keys: Keys | None = None) -> World:
    """A card of generation 1, of 3DES sets, and a server that is armed for the next generation."""
    return _issued(kind).fork(keys or armed(2))


def master_kind(world: World) -> str:
    """What the card's memory, and the records, say of its master set; they must agree."""
    closed = world.state.closed
    assert closed is not None
    stored = world.card.memory.at(closed.master.kvn)
    assert stored is not None
    told = "3DES" if stored.kind == 0x80 else f"AES-{stored.bits}"
    assert told == (str(closed.master.kind) if closed.master.kind is not None else "3DES")
    return told
