"""The link, both sides, over real TLS: who is let in, who is not, and what each failure is called."""

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from kioskd.edges.certificates import Role, issue_client, issue_server
from kioskd.edges.link import PATH, WebSocketLink, connect
from kioskd.edges.link_server import Peer
from kioskd.edges.tls import client_context, examine, server_context
from kioskd.errors import (
    BadConfiguration,
    KioskError,
    KioskNotTrusted,
    LinkLost,
    Malformed,
    ServerDown,
    ServerNotTrusted,
)
from kioskd.rekey.wire import MAX_MESSAGE_BYTES, WIRE_VERSION, Head, Hello, Verdict, Welcome
from tests.loopback import (
    HOST,
    LONG_AGO,
    NAME,
    Conversation,
    Door,
    House,
    build_house,
    client_side,
    free_port,
    linger,
    server_side,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
async def door(house: House) -> AsyncIterator[Door]:
    async with Door(house, linger).open() as opened:
        yield opened


def head(sequence: int = 1) -> Head:
    return Head(WIRE_VERSION, "k1", 0, "", sequence, 0, "")


async def greet(link: WebSocketLink) -> Welcome:
    """Says hello and hears the welcome, or raises what a terminal would see."""
    await link.send(Hello(head(), "test"))
    welcome = await link.receive()
    assert isinstance(welcome, Welcome)
    return welcome


async def failure(port: int, tls: ssl.SSLContext, name: str = NAME, host: str = HOST) -> KioskError:
    """The error that a terminal's greeting ends in."""
    with pytest.raises(KioskError) as failed:
        async with connect(host, port, name, tls) as link:
            await greet(link)
    return failed.value


async def test_a_terminal_is_known_by_its_certificate(door: Door) -> None:
    async with door.connect() as link:
        assert (await greet(link)).head.sequence == 1
    house = door.house
    serial = examine(house.ca, house.kiosk.certificate, house.kiosk.key).serial
    assert [conversation.peer for conversation in door.conversations] == [Peer("k1", "kiosk", serial)]


async def test_only_tls_1_3_is_spoken(door: Door, house: House) -> None:
    for context in (server_side(house), client_side(house)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    old = client_side(house)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    await failure(door.port, old)
    assert door.conversations == []


# --- the server is not whom the terminal trusts ------------------------------------------------------------------


async def test_nobody_at_the_address_is_a_server_that_is_down(house: House) -> None:
    assert type(await failure(free_port(), client_side(house))) is ServerDown


async def test_a_name_that_does_not_exist_is_a_server_that_is_down(house: House) -> None:
    assert type(await failure(1, client_side(house), host="nobody.invalid")) is ServerDown


async def test_an_expired_server_certificate_is_not_trusted(house: House, tmp_path: Path) -> None:
    expired = issue_server(house.folder / "ca", NAME, (NAME,), tmp_path, days=1, not_before=LONG_AGO)
    async with Door(house, linger).open(server_context(house.ca, expired.certificate, expired.key)) as door:
        wrong = await failure(door.port, client_side(house))
    assert type(wrong) is ServerNotTrusted
    assert "expired" in str(wrong)


async def test_a_server_of_another_authority_is_not_trusted(house: House, foreign: House) -> None:
    async with Door(foreign, linger).open() as door:
        assert type(await failure(door.port, client_side(house))) is ServerNotTrusted
    assert door.conversations == []


async def test_a_server_of_another_name_is_not_trusted(door: Door, house: House) -> None:
    wrong = await failure(door.port, client_side(house), name="other.test")
    assert type(wrong) is ServerNotTrusted
    assert "other.test" in str(wrong)


async def test_a_kiosk_of_our_own_that_plays_the_server_is_not_trusted(house: House) -> None:
    kiosk = server_context(house.ca, house.kiosk.certificate, house.kiosk.key)
    async with Door(house, linger).open(kiosk) as door:
        assert type(await failure(door.port, client_side(house))) is ServerNotTrusted


async def test_a_server_that_does_not_speak_tls_is_not_trusted(house: House) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, HOST, 0)
    async with server:
        wrong = await failure(server.sockets[0].getsockname()[1], client_side(house))
    assert type(wrong) is ServerNotTrusted


async def test_a_server_that_takes_the_call_and_says_nothing_is_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kioskd.edges.link.CONNECT_S", 0.3)
    with socket.create_server((HOST, 0)) as silent:
        assert type(await failure(silent.getsockname()[1], client_side(house))) is ServerDown


async def test_a_server_that_hangs_up_at_once_is_down(house: House) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    async with server:
        assert type(await failure(server.sockets[0].getsockname()[1], client_side(house))) is ServerDown


async def test_another_web_server_of_the_house_is_no_access_server(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Door(house, linger).open() as door:
        monkeypatch.setattr("kioskd.edges.link.PATH", "/elsewhere")
        wrong = await failure(door.port, client_side(house))
    assert type(wrong) is ServerDown
    assert "HTTP 404" in str(wrong)


# --- the terminal is not whom the server trusts ------------------------------------------------------------------


def without_certificate(house: House) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(house.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@pytest.mark.parametrize("time", range(5))
async def test_a_terminal_without_a_certificate_is_told_so(door: Door, house: House, time: int) -> None:
    assert type(await failure(door.port, without_certificate(house))) is KioskNotTrusted
    assert door.conversations == []


async def test_a_refusal_that_comes_as_an_alert_is_told_so(house: House) -> None:
    def refuse(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener is closed at the end
            while True:
                connection, _ = listener.accept()
                with connection, pytest.raises(ssl.SSLError):
                    server_side(house).wrap_socket(connection, server_side=True)

    with socket.create_server((HOST, 0)) as listener:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        wrong = await failure(listener.getsockname()[1], without_certificate(house))
        listener.shutdown(socket.SHUT_RDWR)
        await refusing
    assert type(wrong) is KioskNotTrusted


async def test_a_terminal_of_another_authority_is_told_so(door: Door, house: House, foreign: House) -> None:
    stranger = client_context(house.ca, foreign.kiosk.certificate, foreign.kiosk.key)
    assert type(await failure(door.port, stranger)) is KioskNotTrusted
    assert door.conversations == []


async def test_a_terminal_whose_certificate_has_expired_is_told_so(door: Door, house: House, tmp_path: Path) -> None:
    expired = issue_client(house.folder / "ca", Role.KIOSK, "k1", tmp_path, days=1, not_before=LONG_AGO)
    tls = client_context(house.ca, expired.certificate, expired.key)
    assert type(await failure(door.port, tls)) is KioskNotTrusted
    assert door.conversations == []


async def test_a_server_certificate_is_no_terminals(door: Door, house: House) -> None:
    tls = client_context(house.ca, house.server.certificate, house.server.key)
    assert type(await failure(door.port, tls)) is KioskNotTrusted
    assert door.conversations == []


async def test_a_link_that_the_server_closes_without_a_welcome_is_a_kiosk_that_is_not_trusted(house: House) -> None:
    async def turn_away(conversation: Conversation) -> None:
        await conversation.hear()

    async with Door(house, turn_away).open() as door:
        wrong = await failure(door.port, client_side(house))
    assert type(wrong) is KioskNotTrusted
    assert "name" in str(wrong)


async def test_a_server_that_stops_before_its_welcome_is_a_link_that_is_lost(house: House) -> None:
    async def stall(conversation: Conversation) -> None:
        await conversation.hear()
        await conversation.hear()

    door = Door(house, stall)
    async with contextlib.AsyncExitStack() as stack:
        async with door.open():
            link = await stack.enter_async_context(door.connect())
            await link.send(Hello(head(), "test"))
            await door.came.wait()
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 0.5, "links do not hold up the server's end"
        with pytest.raises(LinkLost) as lost:
            await link.receive()
        assert type(lost.value) is LinkLost


# --- a link that lives, and ends ---------------------------------------------------------------------------------


async def test_a_message_survives_both_ways(house: House) -> None:
    async def echo(conversation: Conversation) -> None:
        await conversation.link.send(await conversation.hear())

    async with Door(house, echo).open() as door, door.connect() as link:
        said = Verdict(head(7), "done")
        await link.send(said)
        assert await link.receive() == said


async def test_a_link_that_the_server_closes_later_is_lost(house: House) -> None:
    async with Door(house, Conversation.welcome).open() as door, door.connect() as link:
        await greet(link)
        with pytest.raises(LinkLost) as lost:
            await link.receive()
        assert type(lost.value) is LinkLost
        with pytest.raises(LinkLost):
            await link.send(Hello(head(2), "test"))


async def test_a_link_whose_server_dies_is_lost(house: House) -> None:
    async with Door(house, linger).open() as door:
        async with door.connect() as link:
            await greet(link)
            door.conversations[0].link._socket._req.transport.abort()  # type: ignore[union-attr]
            with pytest.raises(LinkLost) as lost:
                await link.receive()
            assert type(lost.value) is LinkLost


class Raw:
    """A terminal that says what it likes, with a right certificate."""

    def __init__(self, house: House, port: int) -> None:
        self._tls, self._port = client_side(house), port

    @contextlib.asynccontextmanager
    async def talk(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with aiohttp.ClientSession() as session:
            url = f"https://{HOST}:{self._port}{PATH}"
            async with session.ws_connect(url, ssl=self._tls, server_hostname=NAME) as wire:
                yield wire


@pytest.mark.parametrize(
    "words",
    ["", "hello", "{}", '{"version": 1}', '{"version": 2, "kind": "goodbye"}', "[" * 20000, b"\x00\x01"],
    ids=["nothing", "words", "an empty object", "version 1", "unknown kind", "brackets", "binary"],
)
async def test_a_message_that_is_none_of_ours_ends_the_link_unanswered(house: House, words: str | bytes) -> None:
    ends: list[BaseException] = []

    async def listen(conversation: Conversation) -> None:
        try:
            await conversation.hear()
        except KioskError as wrong:
            ends.append(wrong)

    async with Door(house, listen).open() as door, Raw(house, door.port).talk() as wire:
        await (wire.send_str(words) if isinstance(words, str) else wire.send_bytes(words))
        assert (await wire.receive()).type is aiohttp.WSMsgType.CLOSE
    assert [type(end) for end in ends] == [Malformed]


async def test_a_message_that_is_too_long_ends_the_link_unread(house: House) -> None:
    ends: list[BaseException] = []

    async def listen(conversation: Conversation) -> None:
        try:
            await conversation.hear()
        except KioskError as wrong:
            ends.append(wrong)

    async with Door(house, listen).open() as door, Raw(house, door.port).talk() as wire:
        await wire.send_str("x" * (MAX_MESSAGE_BYTES + 1))
        assert (await wire.receive()).type is aiohttp.WSMsgType.CLOSE
    assert [type(end) for end in ends] == [LinkLost]


async def test_a_certificate_without_a_role_is_turned_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.edges.certificates.NameOID.ORGANIZATIONAL_UNIT_NAME", oid("title"))
    nobody = issue_client(house.folder / "ca", Role.KIOSK, "nobody", house.folder / "nobody")
    monkeypatch.undo()
    async with Door(house, linger).open() as door:
        tls = client_context(house.ca, nobody.certificate, nobody.key)
        assert type(await failure(door.port, tls)) is KioskNotTrusted
    assert door.conversations == []
    shutil.rmtree(house.folder / "nobody")


def oid(name: str) -> object:
    from cryptography.x509 import NameOID

    return getattr(NameOID, name.upper())


async def test_an_address_that_is_taken_is_a_configuration_that_is_not_usable(door: Door, house: House) -> None:
    with pytest.raises(BadConfiguration, match=rf"{HOST}:{door.port}"):
        async with Door(house, linger, door.port).open():
            pass
