"""`kioskctl`: what a field technician asks a terminal on this machine, and has it do."""

import argparse
import sys
from pathlib import Path

from kioskd.command_line import ended
from kioskd.errors import KioskError
from kioskd.kiosk import acts_cli, enrol_options, selftest_cli, status_cli, watch_cli
from kioskd.kiosk.asking import CONFIG, EXITS, SOCKET, Asking, exit_of, socket_of
from kioskd.version import VERSION


def build_parser() -> argparse.ArgumentParser:
    """The command line; the manual page and the shells' completion are made from it."""
    parser = argparse.ArgumentParser(
        "kioskctl",
        description="Asks the kiosk on this machine how it is, and has it do what a technician needs.",
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kioskctl {VERSION}")
    parser.add_argument("--socket", type=Path, help=f"its status socket (default: of --config, or {SOCKET})")
    parser.add_argument("--config", type=Path, help=f"the terminal's YAML file: names its socket (default {CONFIG})")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (status_cli, watch_cli, acts_cli, selftest_cli, enrol_options):
        module.add_commands(commands)
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="for programs")
        for option in ("--socket", "--config"):  # after the command, too; before it they are explained
            command.add_argument(option, type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        command.epilog, command.formatter_class = EXITS, argparse.RawDescriptionHelpFormatter
    return parser


def main(argv: list[str] | None = None) -> int:
    """Does one command; its exit code is one of `Exit`, with one sentence on standard error where it is not done."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or has shown its help
        return end.code if isinstance(end.code, int) else 2
    try:
        socket = args.socket or (socket_of(args.config) if args.config else SOCKET)
        args.config = args.config or CONFIG
        args.asking = Asking(socket, args.config, args.json)
        return ended(lambda: int(args.work(args)))
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return int(exit_of(wrong))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
