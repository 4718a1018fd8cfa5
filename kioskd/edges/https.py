"""JSON over HTTP and mutual TLS 1.3, by aiohttp: the key management server's door, and the way to it."""

import argparse
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web

from kioskd.edges.link_server import Peer, peer_of
from kioskd.edges.tls import client_context
from kioskd.errors import (
    BadConfiguration,
    KioskError,
    KioskNotTrusted,
    Malformed,
    Refusal,
    ServerDown,
    ServerNotTrusted,
)
from kioskd.private_file import read_private

MAX_BODY_BYTES = 1 << 20
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Door:
    """One thing that may be asked for: by which roles, and who answers with what goes out as JSON."""

    roles: tuple[str, ...]
    answer: Callable[[Peer, str, Any], Awaitable[Any]]  # the peer, the last part of the path, the body's JSON


@asynccontextmanager
async def serve_https(
    host: str, port: int, tls: ssl.SSLContext, doors: Mapping[tuple[str, str], Door]
) -> AsyncIterator[None]:
    """Answers these (method, path) as long as the context lasts; `{name}` in a path is any one part.

    A role that a door is not for is answered 403, a body that is not JSON 400, a `KioskError` 409 with its outcome and
    sentence. `BadConfiguration` if the address cannot be listened on.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES)
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
        await runner.cleanup()


def _answering(door: Door) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        peer = peer_of(request)
        if peer.role not in door.roles:
            words = f"a certificate of the role {peer.role} may not ask for this"
            return web.json_response({"outcome": "role-forbidden", "sentence": words}, status=HTTPStatus.FORBIDDEN)
        try:
            body = _json(await request.read())
            return web.json_response(await door.answer(peer, request.match_info.get("name", ""), body))
        except KioskError as wrong:
            status = HTTPStatus.BAD_REQUEST if isinstance(wrong, Malformed) else HTTPStatus.CONFLICT
            return web.json_response({"outcome": wrong.outcome, "sentence": str(wrong)}, status=status)

    return answer


def _json(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as wrong:
        raise Malformed("the body is not JSON") from wrong


@dataclass(frozen=True, slots=True)
class HttpsServer:
    """Where a server is, what its certificate must say, and who we are."""

    host: str
    port: int
    name: str
    tls: ssl.SSLContext
    proxy: str = ""

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request's answer; `Refusal` if the server says no, `LinkLost` and its kinds if it cannot be spoken to."""
        raw = b"" if body is None else json.dumps(body).encode()
        where = f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
                session.request(
                    method,
                    f"https://{where}{path}",
                    data=raw,
                    ssl=self.tls,
                    server_hostname=self.name or self.host,
                    proxy=self.proxy or None,
                ) as response,
            ):
                answer = json.loads(await response.read())
                status = response.status
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as wrong:
            raise ServerNotTrusted(f"{where}: its certificate is expired, foreign or for another name") from wrong
        except (aiohttp.ClientConnectorError, TimeoutError) as wrong:
            raise ServerDown(f"{where}: nobody answers") from wrong
        except (aiohttp.ClientError, ssl.SSLError, OSError) as wrong:
            raise KioskNotTrusted(f"{where}: ended the connection; is our certificate one of its authority?") from wrong
        except (ValueError, RecursionError) as wrong:
            raise ServerDown(f"{where}: does not answer as a server of this house") from wrong
        if status != HTTPStatus.OK:
            told = answer if isinstance(answer, dict) else {}
            raise Refusal(str(told.get("outcome", "internal")), str(told.get("sentence", f"HTTP {status}")))
        return answer


def server_of(options: argparse.Namespace) -> HttpsServer:
    """The server that a command line's `add_server_arguments` name; `BadConfiguration` for what is missing or wrong."""
    host, colon, port = options.at.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadConfiguration("--at: needs HOST:PORT")
    for name in ("tls_ca", "tls_certificate", "tls_key"):
        if getattr(options, name) is None:
            raise BadConfiguration(f"--{name.replace('_', '-')}: is missing, and --at needs it")
    read_private(options.tls_key)
    tls = client_context(options.tls_ca, options.tls_certificate, options.tls_key)
    return HttpsServer(host.strip("[]"), int(port), options.server_name, tls)
