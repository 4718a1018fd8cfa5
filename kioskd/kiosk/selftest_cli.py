"""`kioskctl selftest`: every part that a tap needs, tried; by the terminal, or by itself where that does not run."""

import argparse
import asyncio
from typing import Any

from kioskd.command_line import add_command
from kioskd.errors import ServerDown
from kioskd.kiosk.asking import Asking, Exit
from kioskd.kiosk.status_cli import show
from kioskd.kiosk.status_words import Line, Mood, Piece
from kioskd.shape import to_plain

_MARKS = {True: Piece("pass", Mood.GOOD), False: Piece("FAIL", Mood.BAD), None: Piece("look", Mood.LOOK)}
_NOT_TRIED = Piece("skip", Mood.FAINT)


def add_commands(commands: Any) -> None:
    """The self-test."""
    add_command(commands, "selftest", "tries reader, clock, network, TLS, disk and server; says what to do", _selftest)


def _selftest(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    running = True
    try:
        told = asking.post("/selftest")
    except ServerDown:
        running, told = False, _without(asking)
    if asking.json:
        asking.write({**told, "running": running})
    else:
        show(selftest_lines(told, running=running))
    return Exit.WELL if told["well"] else Exit.NOT_WELL


def _without(asking: Asking) -> dict[str, Any]:
    from kioskd.config import TerminalConfig, load_yaml
    from kioskd.terminal.selftest import SelfTest  # the terminal tests itself, while it runs

    told: dict[str, Any] = to_plain(asyncio.run(SelfTest(load_yaml(TerminalConfig, asking.config)).run()))
    return told


def selftest_lines(told: dict[str, Any], *, running: bool = True) -> list[Line]:
    """Each part on a line, what to do below it, and the first thing to do at the end."""
    shown: list[Line] = []
    if not running:
        shown += [(Piece("The terminal does not run; this is tried without it.", Mood.LOOK),), ()]
    for check in told["checks"]:
        mark = _NOT_TRIED if _not_tried(check) else _MARKS[check["well"]]
        shown.append((Piece(f"  {check['name']:<15}"), mark, Piece(f"  {check['found']}")))
        if check["advice"]:
            shown.append((Piece(f"{'':<23}{check['advice']}", Mood.LOOK),))
    return [*shown, (), (_next(told["checks"]),)]


def _next(checks: list[dict[str, Any]]) -> Piece:
    for well, mood in ((False, Mood.BAD), (None, Mood.LOOK)):
        for check in checks:
            if check["well"] is well and check["advice"]:
                return Piece(f"Next: {check['advice']}", mood)
    parts = "every part that was tried works" if any(map(_not_tried, checks)) else "every part works"
    return Piece(f"Next: nothing; {parts}.", Mood.GOOD)


def _not_tried(check: dict[str, Any]) -> bool:
    return check["well"] is None and not check["advice"]
