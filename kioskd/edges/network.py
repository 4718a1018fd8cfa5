"""The way to the access server, tried step by step: name, connection, proxy, and what certificate stands at its end."""

import asyncio
import contextlib
import os
import re
import socket
import ssl
from dataclasses import dataclass

from kioskd.errors import ServerDown, ServerNotTrusted
from kioskd.proxy import proxy_address

CONNECT_S = 5.0
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class Way:
    """Where the access server is, by what name its certificate must know it, and the proxy in between, if any."""

    host: str
    port: int
    name: str
    proxy: str = ""

    @property
    def first(self) -> tuple[str, int]:
        """Where the first connection goes: the server, or the proxy."""
        return proxy_address(self.proxy) if self.proxy else (self.host, self.port)


def proxy_in_environment() -> str:
    """The variable that names a proxy to other programs here; empty if there is none."""
    return next((name for name in _PROXY_VARIABLES if os.environ.get(name)), "")


async def addresses(host: str) -> tuple[str, ...]:
    """The addresses of a name; `ServerDown` if it has none."""
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as wrong:
        raise ServerDown(f"{host}: the name is not known here ({_why(wrong)})") from wrong
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


async def reach(way: Way) -> None:
    """Makes the first connection of the way and ends it; `ServerDown` if nobody answers there."""
    _, writer = await _connect(*way.first)
    await _end(writer)


async def tunnel(way: Way) -> None:
    """Asks the proxy for a way to the access server; `ServerDown` with its answer if it gives none."""
    _, writer = await _through(way)
    await _end(writer)


async def certificate_at_the_end(way: Way) -> bytes:
    """The certificate (DER) that whoever answers there shows, unproven; `ServerNotTrusted` if it speaks no TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # to look at it, and for nothing else
    return await _handshake(way, context)


async def shake_hands(way: Way, context: ssl.SSLContext) -> None:
    """A TLS handshake as the link makes it; `ServerNotTrusted` with the reason if it fails."""
    await _handshake(way, context)


async def _handshake(way: Way, context: ssl.SSLContext) -> bytes:
    _, writer = await _through(way)
    try:
        async with asyncio.timeout(CONNECT_S):
            await writer.start_tls(context, server_hostname=way.name or way.host)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as wrong:
        raise ServerNotTrusted(f"{way.host}:{way.port}: {wrong.verify_message}") from wrong
    except (OSError, TimeoutError) as wrong:
        raise ServerNotTrusted(f"{way.host}:{way.port}: TLS failed: {_why(wrong)}") from wrong
    finally:
        await _end(writer)
    return bytes(shown or b"")


async def _through(way: Way) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await _connect(*way.first)
    if not way.proxy:
        return reader, writer
    place = f"{f'[{way.host}]' if ':' in way.host else way.host}:{way.port}"
    try:
        async with asyncio.timeout(CONNECT_S):
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode("latin-1")
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as wrong:
        await _end(writer)
        raise ServerDown(f"{way.proxy}: is no proxy ({_why(wrong)})") from wrong
    if re.match(r"HTTP/1\.[01] 2\d\d\b", answer) is None:
        await _end(writer)
        raise ServerDown(f"{way.proxy}: gives no way to {place}: {answer[:80]}")
    return reader, writer


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as wrong:
        raise ServerDown(f"{host}:{port}: no connection ({_why(wrong)})") from wrong


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_S):
            await writer.wait_closed()


def _why(wrong: BaseException) -> str:
    if isinstance(wrong, TimeoutError):
        return "no answer in time"
    if isinstance(wrong, ConnectionRefusedError):  # asyncio's own words are those of a programmer
        return "nothing listens there"
    return getattr(wrong, "strerror", None) or str(wrong)
