"""What goes wrong at a tap of the simulation, drawn from its seed before the tap begins."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Side(StrEnum):
    """Whose points are counted until a fault strikes."""

    KIOSK = "kiosk"
    SERVER = "server"
    MESSAGE = "message"
    WORLD = "world"  # before the tap


class Kind(StrEnum):
    """The faults. Their words stand in the table and in the log."""

    PULL_BEFORE = "card pulled before a command"
    PULL_AFTER = "card pulled after a command, before its answer"
    CARRIED = "card carried to another kiosk at once, messages late"
    SHARED = "two kiosks with one card"
    REFUSES = "card refuses a command and goes on"
    KIOSK_KILLED = "kiosk killed"
    KIOSK_POWER = "kiosk without power"
    JOURNAL_FULL = "kiosk's disk full"
    SLOW = "card slower than the deadlines"
    LINK_CUT = "link cut"
    HALF_OPEN = "link half open"
    DELAYED = "message late"
    DOUBLED = "message doubled"
    REORDERED = "message overtaken"
    LOST_ACK = "message lost with its link"
    SERVER_KILLED = "access server killed"
    STORE_FULL = "store's disk full"
    VAULT_FAILS = "vault call fails"
    CLOCK_JUMPS = "server's clock jumps"
    PLANTED = "master set replaced by a thief's"
    RESTORED = "store restored from an old backup"


SIDES = {
    Side.KIOSK: (
        *(Kind.PULL_BEFORE, Kind.PULL_AFTER, Kind.CARRIED, Kind.SHARED, Kind.REFUSES, Kind.KIOSK_KILLED),
        *(Kind.KIOSK_POWER, Kind.JOURNAL_FULL, Kind.SLOW, Kind.LINK_CUT, Kind.HALF_OPEN),
    ),
    Side.MESSAGE: (Kind.DELAYED, Kind.DOUBLED, Kind.REORDERED, Kind.LOST_ACK),
    Side.SERVER: (Kind.SERVER_KILLED, Kind.STORE_FULL, Kind.VAULT_FAILS),
    Side.WORLD: (Kind.CLOCK_JUMPS, Kind.PLANTED, Kind.RESTORED),
}
SPAN = {Side.KIOSK: 30, Side.MESSAGE: 9, Side.SERVER: 48, Side.WORLD: 1}
"""Up to which point of a side a fault may be planned: a little more than most taps have."""

_WEIGHTS = {Side.KIOSK: 8, Side.MESSAGE: 4, Side.SERVER: 4, Side.WORLD: 1}
RARE = {Kind.RESTORED: 0.1}
"""How often one that was drawn is kept."""


@dataclass(slots=True)
class Plan:
    """The faults of one tap, by side and point; those that have struck are taken out."""

    due: dict[tuple[Side, int], Kind] = field(default_factory=dict)
    reached: dict[Side, int] = field(default_factory=dict)

    def next(self, side: Side) -> Kind | None:
        """What strikes at the next point of that side."""
        at = self.reached.get(side, 0)
        self.reached[side] = at + 1
        return self.due.pop((side, at), None) if self.due else None


def draw(some: random.Random, rate: float, without: Iterable[Kind] = ()) -> Plan:
    """The faults of one tap: none, one, and now and then more."""
    due: dict[tuple[Side, int], Kind] = {}
    chance = rate
    while some.random() < chance:
        side = some.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        kind, at = some.choice(SIDES[side]), some.randrange(SPAN[side])
        if kind not in without and some.random() < RARE.get(kind, 1.0):
            due[side, at] = kind
        chance /= 3
    return Plan(due)
