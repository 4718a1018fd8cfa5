"""Rounds of the simulation until there were enough taps, and the shortest way to see a broken promise again.

Each round is a world of its own, whose seed follows from the first seed and the round's number: so a round can be run
again alone, and with fewer faults.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from kioskd.sim.place import Tally
from kioskd.sim.world import Size, World
from kioskd.virtual.oracle import Violation

SEARCHES = 24
"""So many runs of one round at most, to leave out faults."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that was broken, and how to see it again."""

    seed: int  # of the round
    tap: int
    rule: str
    faults: tuple[int, ...]  # the taps whose faults are needed


@dataclass(slots=True)
class Outcome:
    """What came of all rounds."""

    tally: Tally
    digest: str  # of every event of every round
    broken: Broken | None = None


def round_seed(seed: int, number: int) -> int:
    """The seed of a round; the first round's is the seed itself."""
    if number == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} round {number}".encode()).digest()[:6])


def run(seed: int, taps: int, size: Size, progress: Callable[[Tally], None] | None = None) -> Outcome:
    """Whole rounds, until there were at least so many taps or a promise was broken."""
    tally, digest = Tally(), hashlib.sha256()
    number = 0
    while tally.taps < taps:
        world = World(round_seed(seed, number), size)
        try:
            world.run()
        except Violation as wrong:
            tally.add(world.place.tally)
            broken = _shortest(Broken(world.seed, world.place.tally.taps, str(wrong), world.faulty), size, wrong.rule)
            return Outcome(tally, digest.hexdigest(), broken)
        tally.add(world.place.tally)
        digest.update(world.place.digest.digest())
        number += 1
        if progress is not None:
            progress(tally)
    return Outcome(tally, digest.hexdigest())


def _shortest(broken: Broken, size: Size, rule: str) -> Broken:
    """The same rule broken with as few taps' faults as a short search finds: halves first, then one after the other."""
    left = SEARCHES
    needed, step = list(broken.faults), max(1, len(broken.faults) // 2)
    while step and left:
        at = 0
        while at < len(needed) and left:
            fewer = needed[:at] + needed[at + step :]
            left -= 1
            again = _again(broken.seed, size, fewer, rule)
            if again is None:
                at += step
            else:
                broken, needed = again, fewer
        step //= 2
    return broken


def _again(seed: int, size: Size, faults: list[int], rule: str) -> Broken | None:
    world = World(seed, replace(size, keep=frozenset(faults)))
    try:
        world.run()
    except Violation as wrong:
        if wrong.rule == rule:
            return Broken(seed, world.place.tally.taps, str(wrong), tuple(faults))
    return None
