"""`kioskctl`: what a field technician asks a terminal on this machine."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from kioskd.edges.local_http import ask_local
from kioskd.errors import KioskError
from kioskd.kiosk import enrol_cli
from kioskd.outcome import Severity
from kioskd.outcomes import outcome

SOCKET = Path("/run/kioskd/kiosk.sock")


def main(argv: list[str] | None = None) -> int:
    """Prints the answer; 2 with one sentence if there is none."""
    parser = argparse.ArgumentParser("kioskctl", description="asks the kiosk on this machine")
    parser.add_argument("--socket", type=Path, default=SOCKET, help=f"its status socket (default {SOCKET})")
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser("status", help="how it is, and what to do next")
    status.add_argument("--json", action="store_true", help="for programs")
    enrol_cli.add_to(commands)
    args = parser.parse_args(argv)
    if args.command == "enrol":
        return enrol_cli.run(args)
    try:
        told = asyncio.run(ask_local(args.socket, "GET", "/status"))
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    try:
        lines = table(told)
    except (LookupError, TypeError, AttributeError):
        print(f"{args.socket}: what answers there is no kiosk and no station", file=sys.stderr)
        return 2
    print(json.dumps(told, indent=2) if args.json else "\n".join(lines))
    return 0


def table(told: dict[str, Any]) -> list[str]:
    """The status for a person: a table, the last taps, one next step."""
    link = "connected" if told["link"]["connected"] else _words(told["link"]["problem"])
    readers = ", ".join(f"{name} ({state})" for name, state in told["readers"].items()) or "none"
    waiting = told["pending_reports"]
    lines = [
        f"{told['role']} {told['name']}, {told['software']}, up {told['uptime_s']:.0f} s",
        f"  link to the server   {link}",
        f"  PC/SC daemon         {told['pcscd']}",
        f"  readers              {readers}",
        f"  reports waiting      {outcome('journal-failed').technician if waiting is None else waiting}",
        f"  taps under way       {told['under_way']}",
    ]
    if told["taps"]:
        lines += ["", "  last taps   code  outcome                     ms"]
        for tap in reversed(told["taps"][-8:]):
            began = time.strftime("%H:%M:%S", time.localtime(tap["began"]))
            lines.append(f"  {began}    {tap['code']}  {tap['outcome']:<24} {tap['ms']:>6.0f}")
    return [*lines, "", f"Next: {next_step(told)}"]


def next_step(told: dict[str, Any]) -> str:
    """The one thing to do now."""
    if told["pending_reports"] is None:
        return outcome("journal-failed").advice
    if told["pcscd"] != "up":
        return outcome("pcscd-down").advice
    if not told["readers"]:
        return outcome("no-reader").advice
    if not told["link"]["connected"]:
        return outcome(told["link"]["problem"] or "server-down").advice
    last = outcome(told["taps"][-1]["outcome"]) if told["taps"] else None
    if last is not None and last.severity in (Severity.RETRY, Severity.FAULT, Severity.ALARM):
        return last.advice
    return "nothing; the terminal is ready for cards."


def _words(problem: str) -> str:
    return outcome(problem or "server-down").technician


if __name__ == "__main__":
    sys.exit(main())
