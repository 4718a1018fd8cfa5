"""The way to the access server: through a proxy, and what is said where it ends."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from kioskd.edges.certificates import Role, create_ca, issue_client
from kioskd.edges.clock import synchronised
from kioskd.edges.link import connect
from kioskd.edges.network import Way, certificate_at_the_end, reach, shake_hands, tunnel
from kioskd.edges.tls import authority_context, validity, validity_of
from kioskd.errors import BadConfiguration, Malformed, ServerDown, ServerNotTrusted
from kioskd.proxy import proxy_address
from kioskd.rekey.wire import WIRE_VERSION, Head, Hello
from tests.loopback import HOST, NAME, Door, House, build_house, client_side, free_port, linger


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """An authority, and certificates."""
    return build_house(tmp_path_factory.mktemp("house"))


@dataclass(slots=True)
class Proxy:
    """A proxy on loopback that knows CONNECT and nothing else; `answer` is its status line."""

    answer: str = "HTTP/1.1 200 Connection established"
    asked: list[str] = field(default_factory=list)
    carried: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """How it is written in a configuration."""
        return f"http://{HOST}:{self.port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Proxy"]:
        """Carries as long as the context lasts."""
        server = await asyncio.start_server(self._carry, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
        self.asked.append(line)
        writer.write(f"{self.answer}\r\n\r\n".encode())
        if " 200 " not in self.answer:
            writer.close()
            return
        host, _, port = line.split()[1].rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(self._pipe(reader, back), self._pipe(there, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(65536):
                self.carried.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_the_link_goes_through_a_proxy_which_sees_no_word_of_it(house: House) -> None:
    door = Door(house, linger)
    async with door.open(), Proxy().open() as proxy:
        async with connect(HOST, door.port, NAME, client_side(house), proxy.url) as link:
            await link.send(Hello(Head(WIRE_VERSION, "k1", 0, "", 1, 0, ""), "kioskd in the clear"))
            await link.receive()
    assert proxy.asked == [f"CONNECT {HOST}:{door.port} HTTP/1.1"]
    assert sum(map(len, proxy.carried)) > 1000
    assert b"in the clear" not in b"".join(proxy.carried)


async def test_a_proxy_that_gives_no_way_is_said_with_its_answer(house: House) -> None:
    async with Proxy("HTTP/1.1 403 Forbidden by policy").open() as proxy:
        with pytest.raises(ServerDown, match=r"gives no way to .*: HTTP/1\.1 403 Forbidden by policy"):
            await tunnel(Way(HOST, 8443, NAME, proxy.url))
        with pytest.raises(ServerDown):
            async with connect(HOST, 8443, NAME, client_side(house), proxy.url):
                pass


async def test_a_server_is_reached_and_known_through_a_proxy(house: House) -> None:
    door = Door(house, linger)
    async with door.open(), Proxy().open() as proxy:
        for way in (Way(HOST, door.port, NAME), Way(HOST, door.port, NAME, proxy.url)):
            await reach(way)
            await shake_hands(way, authority_context(house.ca))
            shown = await certificate_at_the_end(way)
            assert validity_of(shown) == validity(house.server.certificate)
    assert len(proxy.asked) == 2


async def test_a_server_of_another_house_is_not_trusted_and_the_reason_is_said(house: House, tmp_path: Path) -> None:
    create_ca(tmp_path, "another-house")
    door = Door(house, linger)
    async with door.open():
        with pytest.raises(ServerNotTrusted, match="certificate"):
            await shake_hands(Way(HOST, door.port, NAME), authority_context(tmp_path / "ca.crt"))
        with pytest.raises(ServerNotTrusted, match="mismatch"):
            await shake_hands(Way(HOST, door.port, "elsewhere.test"), authority_context(house.ca))


async def test_where_nobody_answers_the_address_is_said() -> None:
    port = free_port()
    with pytest.raises(ServerDown, match=f"{HOST}:{port}: no connection \\(nothing listens there\\)"):
        await reach(Way(HOST, port, NAME))


@pytest.mark.parametrize(
    "text", ["proxy.example:3128", "https://proxy.example:3128", "http://u:p@proxy:1", "http://p:0"]
)
def test_a_proxy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadConfiguration, match="http://HOST:PORT"):
        proxy_address(text)


@pytest.mark.parametrize("begin", [datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC), datetime(2051, 1, 2, tzinfo=UTC)])
def test_the_validity_is_what_a_library_of_certificates_reads(tmp_path: Path, begin: datetime) -> None:
    create_ca(tmp_path / "ca", "old-authority")
    made = issue_client(tmp_path / "ca", Role.KIOSK, "k1", tmp_path, 30, begin)
    read = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    assert validity(made.certificate) == (read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp())


@pytest.mark.parametrize(
    "text", ["", "hello", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "\xff"]
)
def test_what_is_no_certificate_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "it.crt"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(BadConfiguration, match=r"it\.crt: is not a certificate in PEM"):
        validity(file)
    with pytest.raises(BadConfiguration, match="cannot be read"):
        validity(tmp_path / "none.crt")


def test_any_cut_of_a_certificate_is_malformed(house: House) -> None:
    der = ssl.PEM_cert_to_DER_cert(house.server.certificate.read_text())
    for length in range(len(der)):
        with pytest.raises(Malformed):
            validity_of(der[:length])


def test_asking_for_the_clock_changes_nothing() -> None:
    assert synchronised() in (True, False, None)
