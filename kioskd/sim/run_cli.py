"""`kioskd sim run`: many cards, kiosks and campaigns in virtual time, under random faults, held to the oracle."""

import argparse
import json
import logging
import sys
import time
from typing import Any

from kioskd.errors import BadConfiguration
from kioskd.sim.place import Tally
from kioskd.sim.rounds import Broken, Outcome, run
from kioskd.sim.world import Size, World
from kioskd.virtual.oracle import Violation

_MOST = {"taps": 10**9, "kiosks": 64, "cards": 5_000, "campaigns": 12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The words of the command line."""
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it (default 1)")
    parser.add_argument("--taps", type=int, default=2_000, help="at least so many; whole rounds are run (default 2000)")
    parser.add_argument("--kiosks", type=int, default=4, help="in each round (default 4)")
    parser.add_argument("--cards", type=int, default=40, help="in each round (default 40)")
    parser.add_argument("--campaigns", type=int, default=3, help="in each round (default 3)")
    parser.add_argument(
        "--faults", type=float, default=0.5, help="how often a tap meets one, from 0 to 1 (default 0.5)"
    )
    parser.add_argument(
        "--keep", help="only these taps meet their faults: numbers with commas, as a replay prints them"
    )
    parser.add_argument("--log", action="store_true", help="print every event of the first round (no data, no key)")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def sim_run(args: argparse.Namespace) -> int:
    """Runs it; 0 if every promise was kept, 1 if one was broken."""
    size = _size(args)
    logging.disable(logging.CRITICAL)  # what goes wrong on purpose is no news
    try:
        return _run(args, size)
    finally:
        logging.disable(logging.NOTSET)


def _run(args: argparse.Namespace, size: Size) -> int:
    if args.log:
        return _told(args.seed, size)
    began, cpu = time.monotonic(), time.process_time()
    show = _Progress(args.taps, began) if sys.stderr.isatty() else None
    outcome = run(args.seed, args.taps, size, show)
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(json.dumps(as_json(outcome, wall_s, cpu_s)) if args.json else table(outcome, wall_s, cpu_s))
    if outcome.broken is not None:
        print(_replay(outcome.broken, size), file=sys.stderr)
        return 1
    return 0


def _size(args: argparse.Namespace) -> Size:
    for name, most in _MOST.items():
        if not 1 <= getattr(args, name) <= most:
            raise BadConfiguration(f"--{name}: needs a number from 1 to {most}, not {getattr(args, name)}")
    if not 0 <= args.faults <= 1:
        raise BadConfiguration(f"--faults: needs a number from 0 to 1, not {args.faults}")
    try:
        keep = None if args.keep is None else frozenset(int(one) for one in args.keep.split(",") if one)
    except ValueError as wrong:
        raise BadConfiguration("--keep: needs numbers of taps with commas between them") from wrong
    return Size(args.kiosks, args.cards, args.campaigns, args.faults, keep)


def _told(seed: int, size: Size) -> int:
    world = World(seed, size, tell=print)
    try:
        world.run()
    except Violation as wrong:
        print(f"BROKEN at tap {world.place.tally.taps}: {wrong}")
        return 1
    return 0


class _Progress:
    """One line on a terminal, at most five times a second."""

    def __init__(self, wanted: int, began: float) -> None:
        self._wanted, self._began, self._last = wanted, began, 0.0

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._last > 0.2:
            self._last = now
            pace = tally.taps / (now - self._began)
            words = f"{tally.taps:,} of {self._wanted:,} taps, {pace:.0f} a second, {tally.faults.total():,} faults"
            print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def as_json(outcome: Outcome, wall_s: float, cpu_s: float) -> dict[str, Any]:
    """The result for programs."""
    tally, broken = outcome.tally, outcome.broken
    return {
        "taps": tally.taps,
        "commands": tally.commands,
        "rounds": tally.rounds,
        "cards": tally.cards,
        "lost": int(broken is not None),
        "closed": tally.closed,
        "most_final_taps": tally.most_final_taps,
        "wrong_cryptograms": tally.charged,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "faults": dict(sorted(tally.faults.items())),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "taps_per_second": round(tally.taps / max(cpu_s, 0.001)),
        "digest": outcome.digest,
        "broken": None if broken is None else {"rule": broken.rule, "seed": broken.seed, "tap": broken.tap},
    }


def table(outcome: Outcome, wall_s: float, cpu_s: float) -> str:
    """The result for people."""
    tally = outcome.tally
    rows = [
        ("taps", f"{tally.taps:,}"),
        ("commands to cards", f"{tally.commands:,}"),
        ("rounds, cards", f"{tally.rounds:,}, {tally.cards:,}"),
        ("cases closed, each held against its card", f"{tally.closed:,}"),
        ("faults injected", f"{tally.faults.total():,}"),
        *((f"  {name}", f"{count:,}") for name, count in sorted(tally.faults.items())),
        ("outcomes", ""),
        *((f"  {name}", f"{count:,}") for name, count in tally.outcomes.most_common()),
        ("most clean taps that a card needed in the end", f"{tally.most_final_taps}"),
        ("cards lost", "0" if outcome.broken is None else "see below"),
        ("time", f"{wall_s:.0f} s, {cpu_s:.0f} s of one core"),
        ("taps per second of one core", f"{tally.taps / max(cpu_s, 0.001):.0f}"),
    ]
    lines = [f"{name:<56} {value:>14}" for name, value in rows]
    return "\n".join([*lines, f"digest of all events: {outcome.digest}"])


def _replay(broken: Broken, size: Size) -> str:
    """How to see a broken promise again."""
    kept = ",".join(map(str, broken.faults))
    return (
        f"BROKEN at tap {broken.tap} of the round with seed {broken.seed}: {broken.rule}\n"
        f"See it again: kioskd sim run --seed {broken.seed} --taps 1 --kiosks {size.kiosks} --cards {size.cards}"
        f" --campaigns {size.campaigns} --faults {size.faults} --keep {kept or 0} --log"
    )
