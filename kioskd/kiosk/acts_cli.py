"""`kioskctl readers`, `drain`, `undrain`, `retry`, `support-bundle`: what a technician has a terminal do."""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

from kioskd.command_line import add_command
from kioskd.errors import BadConfiguration, KioskError, ServerDown
from kioskd.kiosk.asking import Asking, Exit, in_path
from kioskd.kiosk.status_words import reader_lines
from kioskd.outcomes import outcome
from kioskd.private_file import write_private

WAIT_S = 60.0
LINK_S = 5.0
LOOK_S = 0.2


def add_commands(commands: Any) -> None:
    """The commands that act; `readers` alone only looks."""
    readers = add_command(commands, "readers", "the readers; closes one for work on it, opens it again", _readers)
    readers.add_argument("act", nargs="?", choices=("close", "open"), help="what is done with a reader")
    readers.add_argument("name", nargs="?", metavar="NAME", help="the reader, or a part of its name that no other has")
    add_command(commands, "drain", "finishes the cards in hand, then takes no other one until undrained", _drain)
    add_command(commands, "undrain", "takes cards again", _undrain)
    add_command(commands, "retry", "tries the link to the access server at once", _retry)
    made = add_command(commands, "support-bundle", "writes what support needs to see, without secrets", _bundle)
    made.add_argument("--out", type=Path, metavar="FILE", help="default: kioskd-support-DATE-TIME.tar.gz, here")


def _readers(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    told = asking.get("/status")
    if args.act is None:
        readers = {key: told[key] for key in ("pcscd", "readers", "closed_readers")}
        asking.write(readers, reader_lines(told))
        return Exit.WELL if told["readers"] else Exit.NOT_WELL
    if not args.name:
        raise BadConfiguration(f"readers {args.act}: the NAME of the reader is missing, or a part of it")
    name = _one(args.name, {*told["readers"], *told["closed_readers"]})
    return _do(asking, f"/readers/{in_path(name)}/{args.act}")


def _one(words: str, names: set[str]) -> str:
    """The one reader that these words name."""
    found = [words] if words in names else [name for name in names if words in name]
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(names)) or "none"
    raise BadConfiguration(f"readers: {'several' if found else 'none'} of that name; there is {there}")


def _drain(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    told = asking.post("/drain")
    end = time.monotonic() + WAIT_S
    while told["under_way"] and time.monotonic() < end:
        time.sleep(LOOK_S)
        told["under_way"] = asking.get("/status")["under_way"]
    if told["under_way"]:
        asking.write(told, [f"drained, but {told['under_way']} cards are still being finished after {WAIT_S:.0f} s"])
        return Exit.NOT_WELL
    asking.write(told, ["drained: no card is under way, none is taken. When the work is done: kioskctl undrain"])
    return Exit.WELL


def _undrain(args: argparse.Namespace) -> Exit:
    return _do(args.asking, "/undrain")


def _retry(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    told = asking.post("/link/retry")
    end = time.monotonic() + LINK_S
    told["link"] = asking.get("/status")["link"]
    while not told["link"]["connected"] and time.monotonic() < end:
        time.sleep(LOOK_S)
        told["link"] = asking.get("/status")["link"]
    if told["link"]["connected"]:
        asking.write(told, ["the link to the access server is up"])
        return Exit.WELL
    why = outcome(told["link"]["problem"])
    asking.write(told, [f"no link after {LINK_S:g} s: {why.technician} {why.advice}"])
    return Exit.NOT_WELL


def _do(asking: Asking, path: str) -> Exit:
    told = asking.post(path)
    asking.write(told, [told["done"]])
    return Exit.WELL


def _bundle(args: argparse.Namespace) -> Exit:
    asking: Asking = args.asking
    out: Path = args.out or Path(time.strftime("kioskd-support-%Y%m%d-%H%M%S.tar.gz"))
    running = True
    try:
        body = asking.fetch("/support-bundle")
    except ServerDown:
        body, running = _bundle_without(asking.config), False
    try:
        write_private(out, body, new=True)
    except KioskError as wrong:
        raise BadConfiguration(str(wrong)) from wrong
    words = [f"{out}: {len(body)} bytes; manifest.json in it names each file with its SHA-256"]
    if not running:
        words.append("The terminal does not run: its status is not in it.")
    asking.write({"file": str(out), "bytes": len(body), "running": running}, words)
    return Exit.WELL if running else Exit.NOT_RUNNING


def _bundle_without(config: Path) -> bytes:
    from kioskd.config import TerminalConfig, load_yaml
    from kioskd.terminal.bundle import bundle  # the terminal makes its own, while it runs
    from kioskd.terminal.selftest import SelfTest

    read = load_yaml(TerminalConfig, config)
    return bundle(read, None, asyncio.run(SelfTest(read).run()))
