"""Somebody at a terminal's keyboard: `kioskctl enrol` in this process, beside the servers of a test."""

import asyncio
import io
from dataclasses import dataclass

import pytest

from kioskd.kiosk.kioskctl import main
from tests.enrolment.offices import Said, Terminal


@dataclass(frozen=True, slots=True)
class Keyboard:
    """Types at one terminal."""

    terminal: Terminal
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    async def enrol(self, *args: str, typing: str = "") -> Said:
        """`kioskctl enrol ARGS`, answered by what is typed."""
        self.patch.setattr("sys.stdin", io.StringIO(typing))
        code = await asyncio.to_thread(main, ["enrol", "--config", str(self.terminal.config), *args])
        told = self.capsys.readouterr()
        return Said(code, told.out, told.err)

    def files(self) -> dict[str, bytes]:
        """What is in the terminal's folder."""
        return {file.name: file.read_bytes() for file in self.terminal.folder.iterdir()}
