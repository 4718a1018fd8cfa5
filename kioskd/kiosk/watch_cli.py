"""`kioskctl watch`: the status as it changes, on the whole screen; for a program, one event a line."""

import argparse
import asyncio
import json
import sys
from typing import Any

from kioskd.command_line import add_command
from kioskd.edges.status_client import StatusClient
from kioskd.errors import BadConfiguration
from kioskd.kiosk.asking import Asking, Exit


def add_commands(commands: Any) -> None:
    """The live view."""
    add_command(commands, "watch", "the status as it changes, until q; with --json one event a line", _watch)


def _watch(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    if asking.json:
        asyncio.run(_print_events(asking))
        return Exit.WELL
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadConfiguration("watch needs a screen; elsewhere use --json, or kioskctl status")
    asking.get("/status")  # whoever may not look is told so before the screen changes
    from kioskd.kiosk.watch_view import WatchView  # only who looks at the view pays for its library

    WatchView(StatusClient(asking.socket)).run()
    return Exit.WELL


async def _print_events(asking: Asking) -> None:
    async for event in StatusClient(asking.socket).events():
        print(json.dumps(event or {"kind": "listening"}), flush=True)
