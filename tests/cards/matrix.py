"""Every kind of card times everything that is done to it: the cells of the table in docs/cards.md."""

import itertools
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from kioskd.gp.life_cycle import LifeCycle
from kioskd.rekey.profile import Algorithm, Lock, Operation, Order, Profile
from kioskd.virtual.card_options import CardOptions
from tests.rekey.kinds import Kind
from tests.rekey.vaults import armed, issuing, rotating
from tests.rekey.world import AttackedCard, Kiosk, World, tap

OPERATIONS = (Operation.ISSUE, Operation.REPLACE, Operation.ROTATE)
FINISHED = {Operation.ISSUE: "issued", Operation.REPLACE: "done", Operation.ROTATE: "done"}


def _aes(name: str, key_bytes: int) -> Kind:
    derivation = f"gp-scp03-aes{8 * key_bytes}"
    return Kind(name, Profile(derivation, derivation, key_bytes=key_bytes), CardOptions())


DES: dict[str, Any] = {
    "derivation": "gp-scp02-3des",
    "scp": 2,
    "algorithm": Algorithm.DES,
    "level": 0x03,
    "key_length_sent": False,
    "krk_kvn": 0x2E,
    "other_krk_kvn": 0x2F,
    "first_master_kvn": 0x20,
}
"""What a profile of cards with 3DES sets says."""


def _des(name: str, i: int) -> Kind:
    return Kind(name, Profile(**DES, name=f"gp-scp02-i{i:02x}"), CardOptions(scp=2, scp_i=i))


CHANNELS = (
    _des("SCP02 i=15", 0x15),
    _des("SCP02 i=55", 0x55),
    _aes("SCP03 AES-128", 16),
    _aes("SCP03 AES-192", 24),
    _aes("SCP03 AES-256", 32),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: a card, and what is done to it."""

    channel: Kind
    lock: Lock
    krk_first: bool
    order: Order
    operation: Operation

    def __str__(self) -> str:
        slot = "KRK first" if self.krk_first else "KRK second"
        return f"{self.channel}, {self.lock.value}, {slot}, {self.order.value}, {self.operation.value}"

    @property
    def slots(self) -> int:
        """An order that needs a third slot gets a card that has one."""
        return 3 if self.order is Order.INSTALL_FIRST else 2

    @property
    def profile(self) -> Profile:
        """What the server believes of the card."""
        base = self.channel.profile
        low = base.krk_kvn & 0xF0
        krk, first = (low, low + 2) if self.krk_first else (low + 0x0E, low)
        return replace(
            base,
            krk_kvn=krk,
            other_krk_kvn=krk + 1,
            first_master_kvn=first,
            lock=self.lock,
            rests=LifeCycle.CARD_LOCKED if self.lock is Lock.LIFECYCLE else LifeCycle.SECURED,
            order=self.order,
            slots=self.slots,
        )

    @property
    def options(self) -> CardOptions:
        """What the card is."""
        return replace(self.channel.options, slots=self.slots, executive=self.lock is Lock.EXECUTIVE)

    @property
    def refused(self) -> str:
        """Why it cannot be done; empty if it can."""
        earlier = OPERATIONS[: OPERATIONS.index(self.operation) + 1]
        reasons = (self.profile.refuses(operation) for operation in earlier)
        return next((reason for reason in reasons if reason), "")

    @property
    def generation(self) -> int:
        """Of the master set in the end."""
        return 1 if self.operation is Operation.ISSUE else 2

    @property
    def purpose(self) -> str:
        """What the terminal asks for."""
        return "issue" if self.operation is Operation.ISSUE else "replace"


CELLS = tuple(Cell(*parts) for parts in itertools.product(CHANNELS, Lock, (True, False), Order, OPERATIONS))
RUNNING = tuple(cell for cell in CELLS if not cell.refused)
REFUSED = tuple(cell for cell in CELLS if cell.refused)


def blank(cell: Cell) -> World:
    """The cell's card as it comes from the factory."""
    return World(issuing(), AttackedCard(options=cell.options), profile=cell.profile)


@cache
def _issued(cell: Cell) -> World:
    world = blank(cell)
    assert tap(Kiosk(world, "station"), "issue") == "issued", cell
    world.assert_finished(1, cell)
    return world


def before(cell: Cell) -> World:
    """The cell's card when its operation begins."""
    if cell.operation is Operation.ISSUE:
        return blank(cell)
    issued = _issued(replace(cell, operation=Operation.ISSUE))
    world = issued.fork(rotating(1) if cell.operation is Operation.ROTATE else armed(2))
    world.rotates = cell.operation is Operation.ROTATE
    return world


def assert_finished(cell: Cell, world: World, context: object = "") -> None:
    """The operation's end, asked of the card and of the records."""
    world.assert_finished(cell.generation, (str(cell), context))
    closed = world.state.closed
    assert closed is not None
    assert closed.krk.epoch == (2 if cell.operation is Operation.ROTATE else 1), (str(cell), context)
    assert closed.krk.kvn == (
        cell.profile.other_krk_kvn if cell.operation is Operation.ROTATE else cell.profile.krk_kvn
    ), (str(cell), context)
