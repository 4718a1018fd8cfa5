"""Plays cases by their names: `python -m tests.stack.replay 'replace | pulled | before 8 PUT_KEY'`.

With `--list OPERATION` it prints the names of all its cases. Exit code 1 if a promise is broken.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from kioskd.command_line import ended
from tests.stack.arming import run_arming
from tests.stack.campaign import Kept
from tests.stack.cards import OPERATIONS
from tests.stack.cases import ARM, Case, cases_of
from tests.stack.house import House, open_house
from tests.stack.play import Play, Result
from tests.stack.recording import record, record_packets


def main(argv: list[str]) -> int:
    """Plays or lists."""
    parser = argparse.ArgumentParser("python -m tests.stack.replay", description="cases on the real stack")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="OPERATION | KIND | PLACE")
    parser.add_argument("--list", choices=OPERATIONS, metavar="OPERATION", help=", ".join(OPERATIONS))
    options = parser.parse_args(argv)
    if not (options.list or options.cases):
        parser.error("needs a CASE or --list")
    try:
        cases = [Case.parse(name) for name in options.cases]
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    broken = 0
    with tempfile.TemporaryDirectory() as folder, open_house(Path(folder) / "s") as house:
        if options.list:
            house.work_on(options.list)
            recording = record(house)
            recording.packets = record_packets(house)
            print(*(one.name for one in cases_of(recording)), sep="\n")
        for case in cases:
            result = _played(house, case)
            broken += bool(result.wrong)
            print(json.dumps(result.plain(), indent=2))
    return 1 if broken else 0


def _played(house: House, case: Case) -> Result:
    if case.operation == ARM:
        return next(run_arming(house, Kept(), lambda _: [case]))
    house.work_on(case.operation)
    return Play(house, case).run()


if __name__ == "__main__":
    sys.exit(ended(lambda: main(sys.argv[1:])))
