"""Every schedule of a given number of faults: generated from the runs themselves, equal states folded.

A schedule is a list of steps and faults, `12:pull-after 17:kill-kiosk`; the steps of all its taps are counted through.
Between two taps the cardholder stays at the terminal or goes `elsewhere`. After the last fault come clean taps, and the
oracle judges. A tap's steps after its first fault are counted again in that very run.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.ending import judge_ending, overcharged
from tests.faults.folding import Key, key_of
from tests.faults.joined import TapRun
from tests.faults.scenarios import Scenario, World
from tests.faults.stopped import at_once
from tests.faults.table import faults_at

ELSEWHERE = {"k1": "k2", "k2": "k1", "k9": "k1"}
ALL: frozenset[str] = frozenset()
Part = tuple[int, str]
"""A step number, counted through all taps, and a fault; (0, "elsewhere") is a move."""


@dataclass(slots=True)
class Reached:
    """A state between two taps: how many schedules lead to it, and the shortest one."""

    world: World
    schedules: int
    shortest: tuple[Part, ...]
    steps: int  # that the taps so far had


@dataclass(slots=True)
class Explored:
    """What an exploration has seen."""

    scenario: str
    schedules: dict[int, int] = field(default_factory=dict)  # by number of faults
    runs: int = 0  # taps that were run
    states: dict[int, int] = field(default_factory=dict)  # by number of faults
    steps: dict[str, int] = field(default_factory=dict)  # cut points: how often each kind was struck
    struck: dict[str, int] = field(default_factory=dict)  # by fault
    repairs: dict[int, int] = field(default_factory=dict)  # states by the clean taps that they needed
    slowest: str = ""  # a schedule whose card needed the most
    violations: list[str] = field(default_factory=list)
    cpu_s: float = 0

    @property
    def total(self) -> int:
        """All schedules."""
        return sum(self.schedules.values())

    @property
    def smallest(self) -> str:
        """The violation with the fewest faults, and among those the earliest steps."""
        return min(self.violations, key=lambda one: (one.count(":"), len(one), one), default="")


def explore(scenario: Scenario, faults: int, further: frozenset[str] = ALL) -> Explored:
    """Runs every schedule of up to so many faults; after the first one only the `further` ones, if any are named."""
    began = time.process_time()
    seen = _Explorer(scenario, faults, further).run()
    seen.cpu_s = time.process_time() - began
    return seen


def states_after(scenario: Scenario, faults: int) -> set[Key]:
    """The states that exactly so many faults lead to, before any clean tap."""
    explorer = _Explorer(scenario, faults, ALL)
    explorer.run()
    return set(explorer.levels[faults])


@dataclass(slots=True)
class _Explorer:
    scenario: Scenario
    depth: int
    further: frozenset[str]
    seen: Explored = field(init=False)
    levels: list[dict[Key, Reached]] = field(init=False)
    judged: set[Key] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.seen = Explored(self.scenario.name)
        self.levels = [{} for _ in range(self.depth + 1)]

    def run(self) -> Explored:
        begun = self.scenario.begin()
        self.levels[0][key_of(self.scenario, begun)] = Reached(begun, 1, (), 0)
        for used in range(self.depth):
            for reached in self.levels[used].values():
                for terminal in self._terminals(reached, used):
                    self._strike(reached, terminal, used)
        for used in range(1, self.depth + 1):
            level = self.levels[used]
            self.seen.states[used] = len(level)
            self.seen.schedules[used] = sum(one.schedules for one in level.values())
            for key, reached in level.items():
                if key not in self.judged:
                    self.judged.add(key)
                    self._judge(reached)
        return self.seen

    def _terminals(self, reached: Reached, used: int) -> Iterator[str]:
        here = reached.world.here
        yield here
        if used:
            yield ELSEWHERE[here]

    def _strike(self, reached: Reached, terminal: str, used: int) -> None:
        """Every fault at every step of the next tap, and every further fault after it in the same tap."""
        prefix = reached.shortest
        if terminal != reached.world.here:
            prefix = (*prefix, (reached.steps, "elsewhere"))
        whole = self._tap(reached.world, terminal, {}, deeper=True)
        self._from(reached, terminal, used, prefix, whole, {}, 0)

    def _from(
        self,
        reached: Reached,
        terminal: str,
        used: int,
        prefix: tuple[Part, ...],
        base: TapRun,
        faults: dict[int, str],
        start: int,
    ) -> None:
        known: dict[tuple[str, int], tuple[World, int]] = {}
        for number in range(start, len(base.steps)):
            name = base.steps[number]
            self.seen.steps[name] = self.seen.steps.get(name, 0) + 1
            for fault in faults_at(name, self.scenario, dirty=base.dirty[number]):
                if (used or faults) and self.further and fault not in self.further:
                    continue
                self.seen.struck[fault] = self.seen.struck.get(fault, 0) + 1
                again = faults | {number: fault}
                deeper = used + len(again) < self.depth
                parts = (*prefix, *((reached.steps + at, one) for at, one in sorted(again.items())))
                stopped, twin = at_once(fault, base, number), _twin(fault, base, number)
                if stopped is not None:
                    self._add(used + len(again), stopped, reached, parts, number + 1)
                elif twin in known and not deeper:
                    self._add(used + len(again), known[twin][0], reached, parts, known[twin][1])
                else:
                    run = self._tap(reached.world, terminal, again, deeper=deeper)
                    known[twin] = (run.world, len(run.steps))
                    if run.wrong:
                        self._complain(parts, run.wrong)
                    self._add(used + len(again), run.world, reached, parts, len(run.steps))
                    if deeper:
                        self._from(reached, terminal, used, prefix, run, again, number + 1)

    def _tap(self, world: World, terminal: str, faults: dict[int, str], deeper: bool) -> TapRun:
        self.scenario.vault.trim()
        run = TapRun(self.scenario, world.fork(), faults, terminal, [] if deeper else None)
        run.run()
        self.seen.runs += 1
        return run

    def _add(self, used: int, world: World, origin: Reached, parts: tuple[Part, ...], steps: int) -> None:
        overdone = overcharged(world, [fault for _, fault in parts])
        if overdone:
            self._complain(parts, [overdone])
        level, key = self.levels[used], key_of(self.scenario, world)
        found = level.get(key)
        if found is None:
            level[key] = Reached(world, origin.schedules, parts, origin.steps + steps)
        else:
            found.schedules += origin.schedules

    def _judge(self, reached: Reached) -> None:
        ending = judge_ending(self.scenario, reached.world)
        self.seen.runs += ending.taps
        if ending.needed > max(self.seen.repairs, default=0):
            self.seen.slowest = spelled(self.scenario.name, reached.shortest)
        self.seen.repairs[ending.needed] = self.seen.repairs.get(ending.needed, 0) + 1
        if ending.wrong:
            self._complain(reached.shortest, ending.wrong)

    def _complain(self, parts: tuple[Part, ...], wrong: list[str]) -> None:
        self.seen.violations.append(f"{spelled(self.scenario.name, parts)}: {'; '.join(wrong)}")


def _twin(fault: str, base: TapRun, number: int) -> tuple[str, int]:
    """Faults of one name here are one run by construction: the server looks at its link only where it uses it."""
    if fault in ("kill-kiosk", "cut-link") and not base.relaying[number] and not base.dirty[number]:
        return fault, base.looks[number]
    return f"{fault} itself", number


def spelled(name: str, parts: tuple[Part, ...]) -> str:
    """A schedule as `replay` reads it."""
    return " ".join((name, *("elsewhere" if fault == "elsewhere" else f"{at}:{fault}" for at, fault in parts)))
