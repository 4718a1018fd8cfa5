"""The access server's side of the links: WebSockets over TLS 1.3 with client certificates, by aiohttp."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from kioskd.edges.link import HEARTBEAT_S, PATH
from kioskd.errors import BadConfiguration, KioskError, LinkLost, Malformed
from kioskd.rekey.enrolment import MAX_REQUEST_BYTES
from kioskd.rekey.wire import MAX_MESSAGE_BYTES, Message, decode, encode


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, from its verified certificate: common name, organisational unit, serial in hex."""

    name: str
    role: str
    serial: str = ""


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


Answer = Callable[[Peer, bytes], Awaitable[Any]]
"""Takes a peer's request; its result goes out as JSON."""

NO_DOORS: Mapping[tuple[str, str], Answer] = {}


@asynccontextmanager
async def serve_links(
    host: str, port: int, tls: ssl.SSLContext, speak: Speak, doors: Mapping[tuple[str, str], Answer] = NO_DOORS
) -> AsyncIterator[None]:
    """Takes links as long as the context lasts; `BadConfiguration` if the address cannot be listened on.

    `doors` answers these (method, path) besides, in JSON; a `KioskError` of one is 409 with its outcome and sentence.
    """

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

    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_get(PATH, answer)
    for (method, path), door in doors.items():
        app.router.add_route(method, path, _answering(door))
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


def _answering(door: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await door(peer_of(request), await request.read()))
        except KioskError as wrong:
            told = {"outcome": wrong.outcome, "sentence": str(wrong)}
            return web.json_response(told, status=HTTPStatus.CONFLICT)

    return answer


def peer_of(request: web.Request) -> Peer:
    """The peer of a request; TLS has verified the certificate, so a missing name is refused, not trusted."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    names = {key: value for group in (certificate or {}).get("subject", ()) for key, value in group}
    name, role = names.get("commonName", ""), names.get("organizationalUnitName", "")
    if not name or not role:
        raise web.HTTPForbidden(text="the certificate names no terminal and role")
    return Peer(name, role, str((certificate or {}).get("serialNumber", "")))
