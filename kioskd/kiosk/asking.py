"""How `kioskctl` asks the terminal on this machine, and how a command of it ends."""

import asyncio
import json
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kioskd.edges.status_client import NotPermitted, StatusClient
from kioskd.errors import BadConfiguration, KioskError, Refusal, ServerDown

SOCKET = Path("/run/kioskd/kiosk.sock")
CONFIG = Path("/etc/kioskd/kiosk.yaml")


class Exit(IntEnum):
    """What the exit codes mean."""

    WELL = 0
    NOT_WELL = 1
    WRONG = 2
    NOT_PERMITTED = 3
    NOT_RUNNING = 4


EXITS = """\
exit codes:
  0  done, and all is well
  1  done, and something is not well: the output says what, and what to do
  2  the command, or what it names, makes no sense: one sentence says why
  3  you may not: one sentence says which group may
  4  the terminal does not run, or does not answer
"""


@dataclass(frozen=True, slots=True)
class Asking:
    """Where the terminal is asked, where its configuration lies, and whether a program reads the answer."""

    socket: Path
    config: Path
    json: bool

    def get(self, path: str) -> Any:
        """What the terminal answers to GET."""
        return asyncio.run(StatusClient(self.socket).ask("GET", path))

    def post(self, path: str) -> Any:
        """What the terminal answers to POST."""
        return asyncio.run(StatusClient(self.socket).ask("POST", path))

    def fetch(self, path: str) -> bytes:
        """The same as bytes."""
        return asyncio.run(StatusClient(self.socket).fetch("POST", path))

    def write(self, told: Any, lines: "list[str] | None" = None) -> None:
        """The answer for a program or for a person, on standard output."""
        text = json.dumps(told, indent=2, ensure_ascii=False) if self.json or lines is None else "\n".join(lines)
        sys.stdout.write(f"{text}\n")


def socket_of(config: Path) -> Path:
    """The socket that a terminal's configuration names; `BadConfiguration` if it cannot be read."""
    from kioskd.config import TerminalConfig, load_yaml  # not where the socket is where it always is

    return Path(load_yaml(TerminalConfig, config).socket)


def in_path(text: str) -> str:
    """A name as one step of an address."""
    return quote(text, safe="")


def exit_of(wrong: KioskError) -> Exit:
    """How a command ends that could not be done."""
    if isinstance(wrong, NotPermitted):
        return Exit.NOT_PERMITTED
    if isinstance(wrong, BadConfiguration):
        return Exit.WRONG
    if isinstance(wrong, Refusal):
        return Exit.NOT_WELL if wrong.name == "journal-failed" else Exit.WRONG
    return Exit.NOT_RUNNING if isinstance(wrong, ServerDown) else Exit.WRONG
