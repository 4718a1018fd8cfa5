"""A real access server's door on loopback, with certificates of its own; behind it, whatever a test says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kioskd.demo.stage import quiet_port
from kioskd.edges.certificates import Issued, Role, create_ca, issue_client, issue_server
from kioskd.edges.link import WebSocketLink, connect
from kioskd.edges.link_server import Peer, ServerLink, serve_links
from kioskd.edges.tls import client_context, server_context
from kioskd.errors import LinkLost
from kioskd.rekey.profile import DEFAULT_PROFILE, identify_steps
from kioskd.rekey.wire import WIRE_VERSION, Head, Hello, Message, Welcome

HOST = "127.0.0.1"
NAME = "access.test"
EPOCH = 77
LONG_AGO = datetime.now(UTC) - timedelta(days=30)


@dataclass(frozen=True, slots=True)
class House:
    """An authority, the server's certificate and a kiosk's."""

    folder: Path
    server: Issued
    kiosk: Issued

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.folder / "ca" / "ca.crt"


def build_house(folder: Path) -> House:
    """A new authority in `folder`, with one server and one kiosk, k1."""
    create_ca(folder / "ca", "test-authority")
    server = issue_server(folder / "ca", NAME, (NAME,), folder / "tls")
    return House(folder, server, issue_client(folder / "ca", Role.KIOSK, "k1", folder / "tls"))


def server_side(house: House) -> ssl.SSLContext:
    """The server's TLS context."""
    return server_context(house.ca, house.server.certificate, house.server.key)


def client_side(house: House) -> ssl.SSLContext:
    """The kiosk's TLS context."""
    return client_context(house.ca, house.kiosk.certificate, house.kiosk.key)


def free_port() -> int:
    """A port that nobody listens on, and that no connection of another process takes meanwhile by chance."""
    return quiet_port(HOST)


@dataclass(slots=True)
class Conversation:
    """The server's half of one link, said by a test line by line; `heard` keeps what came."""

    peer: Peer
    link: ServerLink
    heard: list[Message] = field(default_factory=list)
    sent: int = 0

    async def hear(self) -> Message:
        """The next message."""
        message = await self.link.receive()
        self.heard.append(message)
        return message

    async def say(
        self, make: Callable[[Head], Message], tap: str = "", card: str = "", *, skip: int = 0, epoch: int = EPOCH
    ) -> None:
        """Sends a message under the next sequence number, or one that is `skip` further on."""
        self.sent += 1
        await self.link.send(make(Head(WIRE_VERSION, self.peer.name, epoch, tap, self.sent + skip, 0, card)))

    async def welcome(self) -> None:
        """Hears hello, says welcome."""
        assert isinstance(await self.hear(), Hello)
        await self.say(lambda head: Welcome(head, identify_steps(DEFAULT_PROFILE)))


Script = Callable[[Conversation], Awaitable[None]]


@dataclass(slots=True)
class Door:
    """A door that is open on a port. Each link is one conversation by the test's script."""

    house: House
    script: Script
    port: int = field(default_factory=free_port)
    conversations: list[Conversation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def connect(self) -> AbstractAsyncContextManager[WebSocketLink]:
        """The kiosk's link to this door."""
        return connect(HOST, self.port, NAME, client_side(self.house))

    @asynccontextmanager
    async def open(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Door"]:
        """Serves while the context lasts; a failed assertion of the script fails the test."""
        async with serve_links(HOST, self.port, tls or server_side(self.house), self._speak):
            yield self
        if self.failures:
            raise self.failures[0]

    async def _speak(self, peer: Peer, link: ServerLink) -> None:
        conversation = Conversation(peer, link)
        self.conversations.append(conversation)
        self.came.set()
        try:
            with contextlib.suppress(LinkLost):  # what the terminal does then, is what the tests look at
                await self.script(conversation)
        except AssertionError as wrong:
            self.failures.append(wrong)


async def linger(conversation: Conversation) -> None:
    """Welcomes, then listens until the link is closed."""
    await conversation.welcome()
    with contextlib.suppress(Exception):
        while True:
            await conversation.hear()


async def becomes(true: Callable[[], bool], patience_s: float = 5.0) -> None:
    """Waits until something is true; fails if it never is."""
    async with asyncio.timeout(patience_s):
        while not true():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.005)


def wakings(pid: int) -> int:
    """How often the threads of a process have been woken up so far."""
    statuses = (status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(text.split("voluntary_ctxt_switches:")[1].split()[0]) for text in statuses)
