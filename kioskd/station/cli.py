"""`kioskd station`: the issuing station. Each card that is inserted is issued."""

import argparse
import asyncio
import sys
from pathlib import Path

from kioskd.config import load_terminal
from kioskd.edges.systemd import set_up_log
from kioskd.errors import BadConfiguration, KioskError
from kioskd.outcomes import outcome
from kioskd.terminal.run import identity, run_terminal
from kioskd.terminal.tap import TapRecord


class Count:
    """Prints a line for each card and says when the last one is done."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.good, self.bad = wanted, 0, 0

    def __call__(self, record: TapRecord) -> bool:
        """Counts one card; True after the last."""
        good = record.outcome == "issued"
        self.good, self.bad = self.good + good, self.bad + (not good)
        one = outcome(record.outcome)
        print(f"card {self.good + self.bad}: {one.code} {record.outcome} in {record.ms:.0f} ms", flush=True)
        if not good:
            print(f"  {one.technician} {one.advice}", flush=True)
        return self.good == self.wanted


def main(argv: list[str]) -> int:
    """Issues cards until told to stop or until `--count` of them are good; 2 for an unusable configuration."""
    parser = argparse.ArgumentParser("kioskd station", description="the issuing station")
    parser.add_argument("--config", type=Path, required=True, help="its YAML file")
    parser.add_argument("--check", action="store_true", help="only say whether the configuration is usable")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N cards that are issued well")
    args = parser.parse_args(argv)
    count = Count(args.count)
    try:
        config = load_terminal(args.config)
        if args.check:
            identity(config)
            print(f"{args.config}: station {config.name} is configured well")
            return 0
        set_up_log("kioskd-station")
        asyncio.run(run_terminal(config, "issue", "station", on_tap=count))
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return 2 if isinstance(wrong, BadConfiguration) else 1
    print(f"issued {count.good}, set aside {count.bad}")
    return 0
