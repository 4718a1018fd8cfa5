"""A role's command line: its commands, and one sentence with exit code 2 for what cannot be done."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kioskd.errors import BadConfiguration, KioskError

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
        return ended(lambda: options.work(options))
    except SystemExit as end:  # argparse has said what is wrong, or has shown its help
        return end.code if isinstance(end.code, int) else 2
    except KioskError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 2


def ended(work: Callable[[], int | None]) -> int:
    """The exit code of `work` once its output is out; 0, quietly, if whoever reads that has gone, as `head` does."""
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in it is flushed at the end
        return 0
    return code or 0


def add_token_arguments(parser: argparse.ArgumentParser, words: str) -> None:
    """The options that name a token."""
    parser.add_argument("--token", metavar="LABEL", help=words)
    parser.add_argument("--module", metavar="FILE", help="with --token: the PKCS#11 module")
    parser.add_argument("--pin-file", type=Path, metavar="FILE", help="with --token: the private file of its PIN")
    parser.add_argument("--configuration", default="", metavar="FILE", help="SoftHSM2's own configuration file")


def token_or_file(options: argparse.Namespace, file: str) -> bool:
    """Whether a token is named, and not a file (`file` is its option) with its passphrase; otherwise one sentence."""
    soft = (getattr(options, file), options.passphrase_file)
    hard = (options.token, options.module, options.pin_file)
    if (all(hard) and not any(soft)) or (all(soft) and not any(hard)):
        return all(hard)
    raise BadConfiguration(f"needs either --{file} and --passphrase-file, or --token, --module and --pin-file")


def add_server_arguments(parser: argparse.ArgumentParser, words: str) -> None:
    """The options that name a server at the other end of a network, and this machine's certificate for it."""
    parser.add_argument("--at", metavar="HOST:PORT", help=words)
    parser.add_argument("--tls-ca", type=Path, metavar="PEM", help="with --at: who signs the certificates")
    parser.add_argument("--tls-certificate", type=Path, metavar="PEM", help="with --at: your certificate")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="with --at: its key, a private file")
    parser.add_argument("--server-name", default="", metavar="NAME", help="what its certificate says, if not HOST")


def typed(words: str) -> str:
    """What somebody types; nothing at the end of input or at Ctrl-C."""
    try:
        return input(words)
    except (EOFError, KeyboardInterrupt):
        sys.stderr.write("\n")
        return ""


def whole(least: int, most: int) -> Callable[[str], int]:
    """An argument's type: a whole number within these bounds."""

    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{least} to {most}")
        return int(text)

    return number
