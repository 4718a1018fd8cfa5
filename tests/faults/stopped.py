"""What is left when everybody stops at a step, known from the run that went on; and a store put back from a backup."""

from typing import TYPE_CHECKING

from kioskd.rekey.notices import HandedBack, Restored
from tests.faults.scenarios import World

if TYPE_CHECKING:
    from tests.faults.joined import TapRun


def restore(world: World, backup: World) -> None:
    """The store is what it was at the backup; whoever put it back says so, and hands the cryptograms back."""
    world.records = (*backup.records, Restored(backup.state.store_epoch + 1))
    world.fence = backup.fence
    for notes in world.written.values():
        known = world.state.krks
        world.records = (*world.records, *(HandedBack(one) for one in notes.cryptograms if one not in known))


def at_once(fault: str, run: "TapRun", number: int) -> World | None:
    """What a fault at a step leaves if everybody stops there and then: known from the run that went on."""
    if fault not in ("power-cut", "kill-server", "restored") or run.snapshots is None:
        return None
    if fault != "power-cut" and run.relaying[number]:
        return None
    world = run.snapshots[number].fork()
    if fault == "power-cut":
        world.lose_power(run.terminal)
    if fault == "restored":
        restore(world, run.snapshots[0])
    return world
