"""After the last fault: clean taps and links that are there again, then the oracle."""

from dataclasses import dataclass, field

from kioskd.rekey.profile import Operation
from tests.faults.joined import TapRun
from tests.faults.lies import is_strange
from tests.faults.scenarios import EMPTY, Scenario, World, rearmed

REPAIRS = 2
"""Clean taps that a card may need at most."""


@dataclass(slots=True)
class Ending:
    """How it ended."""

    needed: int = 0  # clean taps, in the worse order
    taps: int = 0  # that were run
    wrong: list[str] = field(default_factory=list)


def judge_ending(scenario: Scenario, world: World) -> Ending:
    """Clean taps and the oracle, in both orders: the links first, and the card first."""
    ending = Ending()
    for links_first in (True, False):
        _end(scenario, world.fork(), ending, links_first=links_first)
    return ending


def _end(scenario: Scenario, world: World, ending: Ending, *, links_first: bool) -> None:
    if links_first:
        ending.wrong += _links(scenario, world)
    needed, outcome, at_rest = 0, "", False
    while needed < REPAIRS and not at_rest:
        run = TapRun(scenario, world, terminal="last")
        outcome, needed = run.run(), needed + 1
        ending.wrong += run.wrong
        at_rest = _finished(scenario, world) or _may_rest(scenario, world)
    if outcome in ("not-armed", "nothing-to-do") and world.state.store_epoch:
        at_rest = _arm_newer_epoch(scenario, world, ending)
    ending.needed, ending.taps = max(ending.needed, needed), ending.taps + needed
    ending.wrong += _links(scenario, world)
    if not at_rest:
        ending.wrong.append(f"not finished after {REPAIRS} clean taps, the last one said {outcome}")
    if not _may_rest(scenario, world):  # what a thief did to a card that nobody came to replace is on it still
        ending.wrong += scenario.oracle.complaints(world.memory, world.records, tries=scenario.fewest_tries)
        ending.wrong += _foreign(world)
    ending.wrong += _outbox(world)


def _arm_newer_epoch(scenario: Scenario, world: World, ending: Ending) -> bool:
    """The store came back, a KRK is of an epoch that is not armed: the card waits, whole, until that one is."""
    again = rearmed(scenario)
    run = TapRun(again, world, terminal="last")
    run.run()
    ending.taps += 1
    ending.wrong += run.wrong
    state = world.state
    return state.closed is not None and not state.open


def _links(scenario: Scenario, world: World) -> list[str]:
    """Each terminal's link is there again: all that waits goes up."""
    wrong = []
    for terminal in sorted(world.written):
        run = TapRun(scenario, world, terminal=terminal)
        for one in world.written.get(terminal, EMPTY).reports:
            run.settle(one)
        wrong += run.wrong
        world.sync(terminal)
    return wrong


def _finished(scenario: Scenario, world: World) -> bool:
    """Whether belief and card agree that the operation is done."""
    state = world.state
    if state.closed is None or state.open or state.closed.master.generation != scenario.generation:
        return False
    return scenario.operation is not Operation.ROTATE or state.rotating is None


def _may_rest(scenario: Scenario, world: World) -> bool:
    """A card that was not begun before the window closed stays as it is."""
    state = world.state
    begun = state.closed is None or state.closed.master.generation == scenario.generation
    return world.over and not begun and not state.open


def _outbox(world: World) -> list[str]:
    """What still waits in a journal; after a restore a script of the lost store is nowhere, and its report stays."""
    state = world.state
    known = {(one.number, one.digest) for one in state.intents}
    wrong = []
    for terminal, notes in sorted(world.written.items()):
        waiting = {(one.report.number, one.report.digest) for one in notes.reports}
        if waiting & known or (waiting and not state.store_epoch):
            wrong.append(f"{terminal}: a report is still in the outbox")
    return wrong


def _foreign(world: World) -> list[str]:
    strange = not world.state.open and any(is_strange(one) for one in world.memory.sets)
    return ["a foreign set behind a closed case"] if strange else []


def overcharged(world: World, faults: list[str]) -> str:
    """Whether more attempts were charged than lies were told; empty if not."""
    lies, charged = sum(1 for one in faults if one.startswith("lie-")), sum(world.charges.values())
    return f"{charged} attempts were charged for {lies} lies" if charged > 2 * lies else ""
