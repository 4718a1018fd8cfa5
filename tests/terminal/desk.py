"""A terminal in this process with virtual readers, a real journal and a real status socket; a test plays the server."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp

from kioskd.config import ServerSection, StatusSection, TerminalConfig, TlsSection
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.status_http import serve_status
from kioskd.ports import ReaderState
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.relay import RelayPolicy
from kioskd.rekey.wire import End, Refuse, Report, Tap
from kioskd.terminal.events import TooMany
from kioskd.terminal.panel import LinePanel
from kioskd.terminal.run import Floor
from kioskd.terminal.status import Status
from kioskd.terminal.status_api import StatusApi
from kioskd.terminal.tap import Terminal
from kioskd.terminal.uplink import Uplink
from kioskd.terminal.who_may import WhoMay
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.pcscd import _this_process_link
from kioskd.virtual.reader import VirtualReaders
from tests.loopback import HOST, NAME, Conversation, Door, House, becomes

POLICY = RelayPolicy((DEFAULT_PROFILE.aid,), DEFAULT_PROFILE.level, (0x9F7F, 0x66, 0xE0))
GROUPS = StatusSection("games", "mail")
"""Two groups that every Debian system has, and that nobody who runs a test is in."""

CARD = "cplc:4790D6008448DEADBEEF"
SHOWN = "cplc:…DEADBEEF"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Got:
    """An answer."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def told(self) -> Any:
        """Its JSON."""
        assert self.kind == JSON, self.kind
        return json.loads(self.body)


@dataclass(slots=True)
class Desk:
    """The terminal and its socket."""

    config: TerminalConfig
    terminal: Terminal
    status: Status
    readers: VirtualReaders
    floor: Floor
    api: StatusApi
    screen: StringIO

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return Path(self.config.socket)

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Got:
        """One request by this process, which runs the terminal and may do everything."""
        connector = aiohttp.UnixConnector(str(self.socket))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.request(method, f"http://local{path}", data=body) as response:
                kind = response.headers.get("Content-Type", "").split(";")[0]
                return Got(response.status, kind, await response.read(), response.headers)

    async def read(self, path: str) -> Any:
        """What a GET tells."""
        got = await self.ask("GET", path)
        assert got.status == HTTPStatus.OK, got
        return got.told


async def turn_away(conversation: Conversation) -> None:
    """Welcomes, then knows no card."""
    await conversation.welcome()
    while True:
        said = await conversation.hear()
        if isinstance(said, Tap):
            await conversation.say(lambda head: Refuse(head, "unknown-card", ""), said.head.tap)


def configured(folder: Path, house: House, port: int) -> TerminalConfig:
    """A terminal's configuration for a house on loopback."""
    tls = TlsSection(str(house.ca), str(house.kiosk.certificate), str(house.kiosk.key))
    server = ServerSection(HOST, port, NAME, 0.05)
    return TerminalConfig("k1", server, tls, str(folder / "k1.journal"), str(folder / "k1.sock"), status=GROUPS)


@asynccontextmanager
async def open_desk(folder: Path, house: House, door: Door, *names: str) -> AsyncIterator[Desk]:
    """A terminal with readers of these names, that looks for the door, and answers at its socket."""
    os.environ.setdefault("PCSCLITE_CSOCK_NAME", str(_this_process_link()))  # never the machine's own daemon
    config = configured(folder, house, door.port)
    journal, readers, out = SqliteJournal(Path(config.journal)), VirtualReaders(names or ("left", "right")), StringIO()
    uplink = Uplink("k1", "test", door.connect, journal)
    terminal = Terminal("replace", readers, uplink, journal, LinePanel(out), POLICY, config.server.patience_s)
    status = Status("k1", "kiosk", "kioskd test", config)
    floor = Floor(terminal, status, asyncio.Event())
    desk = Desk(config, terminal, status, readers, floor, StatusApi(config, terminal, status, floor.refresh), out)

    async def watch() -> None:
        async with contextlib.aclosing(readers.events()) as events:
            async for event in events:
                await floor.take(event)

    async with serve_status(desk.socket, desk.api.routes, WhoMay.of(GROUPS).refusal, (TooMany,)):
        tasks = [asyncio.create_task(work) for work in (watch(), uplink.run())]
        await becomes(lambda: len(status.readers) == len(names or ("left", "right")))
        try:
            yield desk
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await floor.finish()
            await readers.close()
            await journal.close()


async def tapped(desk: Desk, reader: str = "left") -> None:
    """A tap that ends, its card out of the reader again."""
    before = sum(desk.status.tallies.values())
    desk.readers.insert(reader, VirtualCard(options=CardOptions(serial=bytes.fromhex("DEADBEEF"))))
    await becomes(lambda: sum(desk.status.tallies.values()) > before and not desk.status.running)
    desk.readers.pull(reader)
    await becomes(lambda: desk.status.readers[reader] is ReaderState.EMPTY)


async def kept(desk: Desk, end: End = End.IN_DOUBT) -> None:
    """A report of the card that waits in the journal."""
    await desk.terminal.journal.keep_report(CARD, Report(7, bytes(range(32)), end, (b"\x90\x00",)))
