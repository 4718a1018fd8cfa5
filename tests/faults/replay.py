"""`python -m tests.faults.replay 'replace/scp03-aes128 12:pull-after elsewhere 47:kill-kiosk'`: one schedule, told.

Prints every step of every tap with what struck it, then the clean taps' verdict. Ends with 1 if something is wrong.
"""

import argparse
import logging
import sys
from dataclasses import dataclass, field

from kioskd.command_line import ended
from tests.faults.ending import judge_ending, overcharged
from tests.faults.explore import ELSEWHERE, Part
from tests.faults.folding import Key, key_of
from tests.faults.joined import TapRun
from tests.faults.scenarios import Scenario, World, scenarios
from tests.faults.table import faults_at


class BadSchedule(ValueError):
    """A schedule that cannot be read, or that names a step which is never reached."""


@dataclass(slots=True)
class Told:
    """What a schedule did."""

    world: World
    key: Key = ()  # of the state before the clean taps
    lines: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read(text: str) -> tuple[Scenario, tuple[Part, ...]]:
    """A schedule; `BadSchedule` if it is none."""
    name, *rest = text.split() or [""]
    known = scenarios()
    if name not in known:
        raise BadSchedule(f"{name!r}: no such scenario; --list names the {len(known)} that there are")
    parts: list[Part] = []
    for word in rest:
        at, _, fault = word.partition(":")
        if word == "elsewhere":
            parts.append((0, word))
        elif at.isdigit() and fault:
            parts.append((int(at), fault))
        else:
            raise BadSchedule(f"{word!r}: needs STEP:FAULT, or the word elsewhere")
    return known[name], tuple(parts)


def play(scenario: Scenario, parts: tuple[Part, ...]) -> Told:
    """Runs the schedule without any folding, then the clean taps and the oracle."""
    told, terminal, steps, left = Told(scenario.begin()), "k1", 0, list(parts)
    while left:
        if left[0][1] == "elsewhere":
            terminal, left = ELSEWHERE[told.world.here], left[1:]
            told.lines.append(f"       the cardholder goes to {terminal}")
            continue
        until = next((n for n, (_, fault) in enumerate(left) if fault == "elsewhere"), len(left))
        faults = {at - steps: fault for at, fault in left[:until]}
        run = TapRun(scenario, told.world, faults, terminal)
        run.run()
        struck = [number for number in faults if 0 <= number < len(run.steps)]
        if not struck:
            raise BadSchedule(
                f"step {left[0][0]} is not reached: this tap has steps {steps} to {steps + len(run.steps) - 1}"
            )
        _tell(told, run, faults, steps)
        told.wrong += run.wrong
        left = left[len(struck) :]
        steps += len(run.steps)
    told.key = key_of(scenario, told.world)
    ending = judge_ending(scenario, told.world)
    told.wrong += ending.wrong
    overdone = overcharged(told.world, [fault for _, fault in parts])
    told.wrong += [overdone] if overdone else []
    told.lines.append(
        f"       finished by {ending.needed} clean tap(s)" if not told.wrong else "       NOT as it must be:"
    )
    return told


def _tell(told: Told, run: TapRun, faults: dict[int, str], offset: int) -> None:
    told.lines.append(f"       a tap at {run.terminal}")
    for number, name in enumerate(run.steps):
        fault = faults.get(number, "")
        if fault and fault not in faults_at(name, run.scenario, dirty=run.dirty[number]):
            raise BadSchedule(f"{offset + number}:{fault}: {fault} cannot strike the step {name!r}")
        told.lines.append(f"{offset + number:6} {name}" + (f"    <-- {fault}" if fault else ""))
    told.lines.append(f"       it said: {run.outcome}")


def steps_of(scenario: Scenario) -> list[str]:
    """Every step of a tap that nothing strikes, and what could strike it."""
    run = TapRun(scenario, scenario.begin(), {}, "k1")
    run.run()
    rows = zip(run.steps, run.dirty, strict=False)
    return [
        f"{number:6} {name:<34} {' '.join(faults_at(name, scenario, dirty=dirty))}"
        for number, (name, dirty) in enumerate(rows)
    ]


def main(argv: list[str]) -> int:
    """Plays the schedule of the command line."""
    parser = argparse.ArgumentParser("python -m tests.faults.replay", description="one schedule of faults, told")
    parser.add_argument("words", nargs="*", metavar="WORD", help="SCENARIO, then STEP:FAULT or elsewhere, in order")
    parser.add_argument("--list", action="store_true", help="the names of all scenarios")
    parser.add_argument("--steps", metavar="SCENARIO", help="its steps, and what may strike each")
    options = parser.parse_args(argv)
    if not (options.list or options.steps or options.words):
        parser.error("needs a schedule, --list or --steps")
    logging.disable(logging.CRITICAL)
    try:
        if options.list:
            print(*sorted(scenarios()), sep="\n")
            return 0
        if options.steps:
            print(*steps_of(read(options.steps)[0]), sep="\n")
            return 0
        told = play(*read(" ".join(options.words)))
    except BadSchedule as wrong:
        print(f"replay: {wrong}", file=sys.stderr)
        return 2
    finally:
        logging.disable(logging.NOTSET)
    print("\n".join((*told.lines, *told.wrong)))
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(ended(lambda: main(sys.argv[1:])))
