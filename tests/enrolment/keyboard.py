"""Somebody at a terminal's keyboard: `kioskctl enrol` in this process, beside the servers of a test."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kioskd.kiosk.kioskctl import main
from tests.enrolment.offices import Said, Terminal
from tests.loopback import HOST


@dataclass(slots=True)
class Proxy:
    """An HTTP proxy that knows CONNECT, and keeps what it saw."""

    port: int = 0
    answer: str = "200 OK"
    seen: bytearray = field(default_factory=bytearray)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Proxy"]:
        """Serves on loopback as long as the context lasts."""
        async with await asyncio.start_server(self._serve, HOST, 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    @property
    def url(self) -> str:
        """What a configuration names."""
        return f"http://{HOST}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen += head.encode()
        writer.write(f"HTTP/1.1 {self.answer}\r\n\r\n".encode())
        if not self.answer.startswith("200"):
            writer.close()
            return
        host, _, port = head.split()[1].rpartition(":")
        beyond, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(self._pass(reader, back), self._pass(beyond, writer), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while got := await reader.read(4096):
            self.seen += got
            writer.write(got)
        writer.close()


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
