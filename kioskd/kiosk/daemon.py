"""`kioskd kiosk`: the daemon of a kiosk. Cards that are tapped get their master key replaced."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from kioskd.config import load_terminal
from kioskd.edges.systemd import set_up_log
from kioskd.errors import BadConfiguration, KioskError
from kioskd.terminal.run import identity, run_terminal


def main(argv: list[str]) -> int:
    """Runs the kiosk until it is told to stop; 2 for a configuration that is not usable, 1 for what may pass."""
    parser = argparse.ArgumentParser("kioskd kiosk", description="the daemon of a kiosk")
    parser.add_argument("--config", type=Path, required=True, help="its YAML file")
    parser.add_argument("--check", action="store_true", help="only say whether the configuration is usable")
    args = parser.parse_args(argv)
    try:
        config = load_terminal(args.config)
        if args.check:
            identity(config)
            print(f"{args.config}: kiosk {config.name} is configured well")
            return 0
        set_up_log("kioskd-kiosk")
        asyncio.run(run_terminal(config, "replace", "kiosk"))
    except KioskError as wrong:
        logging.getLogger(__name__).debug("refused", exc_info=True)
        print(wrong, file=sys.stderr)
        return 2 if isinstance(wrong, BadConfiguration) else 1
    return 0
