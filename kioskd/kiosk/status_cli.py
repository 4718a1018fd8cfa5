"""`kioskctl status`, `taps`, `cases`, `case`, `readers`: what a terminal says of itself, for a person or a program."""

import argparse
from typing import Any

from rich.console import Console
from rich.text import Text

from kioskd.command_line import add_command
from kioskd.errors import BadConfiguration, ServerDown
from kioskd.kiosk.asking import Asking, Exit, in_path
from kioskd.kiosk.status_words import Line, Mood, Piece, case_lines, counted, lines, tap_line

STYLES = {Mood.PLAIN: "", Mood.GOOD: "green", Mood.LOOK: "yellow", Mood.BAD: "bold red", Mood.FAINT: "dim"}
_WELL = ("ready", "busy")


def add_commands(commands: Any) -> None:
    """The commands that only look."""
    add_command(commands, "status", "how it is, its last taps, and what to do next", _status)
    add_command(commands, "taps", "the last taps since it started, newest first", _taps)
    add_command(commands, "cases", "the cards whose reports wait here for the access server", _cases)
    case = add_command(commands, "case", "the story of one card at this terminal", _case)
    case.add_argument("card", metavar="N", help="a tap, or the end of the card's id, as the other commands show them")


def _status(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    try:
        told = asking.get("/status")
    except ServerDown as down:
        return _stopped(asking, str(down))
    try:
        shown = lines(told)
    except (LookupError, TypeError, AttributeError) as wrong:
        raise BadConfiguration(f"{asking.socket}: what answers there is no kiosk and no station") from wrong
    if asking.json:
        asking.write(told)
    else:
        show(shown)
    return Exit.WELL if told["state"] in _WELL else Exit.NOT_WELL


def _stopped(asking: Asking, sentence: str) -> Exit:
    from kioskd.kiosk.stopped import stopped_lines, told_without  # what a running terminal tells needs no journal here

    told = told_without(asking.config, sentence)
    asking.write(told, stopped_lines(told))
    return Exit.NOT_RUNNING


def show(shown: list[Line], console: Console | None = None) -> None:
    """Lines on the screen, in colours where it has some."""
    console = console or Console(highlight=False, soft_wrap=True)
    for line in shown:
        console.print(Text.assemble(*((piece.words, STYLES[piece.mood]) for piece in line)))


def _taps(args: argparse.Namespace) -> Exit:
    told = args.asking.get("/taps")
    shown = [tap_line(tap) for tap in reversed(told["taps"])]
    if args.asking.json:
        args.asking.write(told)
    else:
        show(shown or [(Piece("none since the terminal was started"),)])
    return Exit.WELL


def _cases(args: argparse.Namespace) -> Exit:
    told = args.asking.get("/cases")
    shown = [
        f"  {case['card']:<24} waiting: {counted(len(case['reports']), 'report')}, last {case['reports'][-1]['end']}"
        for case in told["cases"]
    ]
    args.asking.write(told, shown or ["  none: the access server has every report."])
    return Exit.WELL


def _case(args: argparse.Namespace) -> Exit:
    if not args.card.strip("… "):
        raise BadConfiguration("case: needs the end of a card's id, or a tap's number, as `kioskctl taps` shows them")
    told = args.asking.get(f"/case/{in_path(args.card)}")
    args.asking.write(told, case_lines(told))
    return Exit.WELL
