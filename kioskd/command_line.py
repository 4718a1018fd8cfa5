"""A role's command line: its commands, and one sentence with exit code 2 for what cannot be done."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from kioskd.errors import KioskError

Work = Callable[[argparse.Namespace], int | None]


def add_command(commands: Any, name: str, words: str, work: Work) -> argparse.ArgumentParser:
    """One more command of a parser's `add_subparsers()`; `work` returns its exit code, or None for 0."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words)
    made.set_defaults(work=work)
    return made


def run_command(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """Does the command that `argv` names; its exit code, or 2 with one sentence on standard error."""
    try:
        options = parser.parse_args(argv)
        code: int | None = options.work(options)
    except SystemExit as end:  # argparse has said what is wrong, or has shown its help
        return end.code if isinstance(end.code, int) else 2
    except KioskError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2
    return code or 0


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument's type: a whole number within these bounds."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{least} to {most}")
        return int(text)

    return number
