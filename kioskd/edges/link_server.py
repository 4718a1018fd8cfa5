"""The access server's side of the links: WebSockets over TLS 1.3 with client certificates, by aiohttp."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import WSCloseCode, WSMsgType, web

from kioskd.edges.link import HEARTBEAT_S, PATH
from kioskd.errors import BadConfiguration, LinkLost, Malformed
from kioskd.rekey.wire import MAX_MESSAGE_BYTES, Message, decode, encode


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, from its verified certificate: common name and organisational unit."""

    name: str
    role: str


class ServerLink:
    """One terminal's live link."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def send(self, message: Message) -> None:
        """Sends; `LinkLost` if the link is gone."""
        try:
            await self._socket.send_str(encode(message))
        except (ConnectionError, RuntimeError) as wrong:
            raise LinkLost("the terminal's link is gone") from wrong

    async def receive(self) -> Message:
        """The next message; `LinkLost` if the link goes, `Malformed` for anything that is no message of ours."""
        got = await self._socket.receive()
        if got.type is WSMsgType.TEXT:
            return decode(got.data)
        if got.type is WSMsgType.BINARY:
            raise Malformed("message: binary, text is spoken here")
        raise LinkLost("the terminal's link is gone")


Speak = Callable[[Peer, ServerLink], Awaitable[None]]
"""Speaks with one terminal until its link ends."""


@asynccontextmanager
async def serve_links(host: str, port: int, tls: ssl.SSLContext, speak: Speak) -> AsyncIterator[None]:
    """Takes links as long as the context lasts; `BadConfiguration` if the address cannot be listened on."""

    present: set[web.WebSocketResponse] = set()

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False)
        peer = peer_of(request)
        await socket.prepare(request)
        present.add(socket)
        try:
            await speak(peer, ServerLink(socket))
        finally:
            present.discard(socket)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get(PATH, answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as wrong:
        await runner.cleanup()
        raise BadConfiguration(f"listen: {host}:{port} cannot be listened on: {wrong.strerror}") from wrong
    try:
        yield
    finally:
        going = (socket.close(code=WSCloseCode.GOING_AWAY) for socket in present)
        await asyncio.gather(*going, return_exceptions=True)
        await runner.cleanup()


def peer_of(request: web.Request) -> Peer:
    """The peer of a request; TLS has verified the certificate, so a missing name is refused, not trusted."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    names = {key: value for group in (certificate or {}).get("subject", ()) for key, value in group}
    name, role = names.get("commonName", ""), names.get("organizationalUnitName", "")
    if not name or not role:
        raise web.HTTPForbidden(text="the certificate names no terminal and role")
    return Peer(name, role)
