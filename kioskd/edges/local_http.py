"""HTTP on a Unix socket, by aiohttp: the status socket of every role, and the access server's import."""

import json
import os
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from kioskd.errors import BadConfiguration, KioskError, Refusal, ServerDown

MAX_BODY_BYTES = 1 << 20
ANSWER_S = 30.0
CLOSE_S = 60.0
"""How long an answer that is under way may take to finish when the socket closes."""

Handler = Callable[[bytes], Awaitable[Any]]
"""Takes the request's body; its result goes out as JSON."""


@asynccontextmanager
async def serve_local(socket: Path, mode: int, routes: Mapping[tuple[str, str], Handler]) -> AsyncIterator[None]:
    """Answers these (method, path) on a Unix socket with that file mode, as long as the context lasts.

    A `KioskError` of a handler is answered 409 with its outcome and sentence.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    for (method, path), handler in routes.items():
        app.router.add_route(method, path, _answering(handler))
    async with listening(app, socket, mode):
        yield


@asynccontextmanager
async def listening(app: web.Application, socket: Path, mode: int, close_s: float = CLOSE_S) -> AsyncIterator[None]:
    """Serves `app` on a Unix socket with that file mode; `BadConfiguration` if the place cannot be listened on."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=close_s)
    await runner.setup()
    before = os.umask(0o177)  # nobody may connect between bind and chmod
    try:
        if socket.is_socket():  # any other file is not ours to remove
            if _somebody_listens(socket):
                raise BadConfiguration(f"{socket}: somebody listens there already; does the service run?")
            socket.unlink()  # what a killed process left
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(mode)
    except BadConfiguration:
        await runner.cleanup()
        raise
    except OSError as wrong:
        await runner.cleanup()
        raise BadConfiguration(f"{socket}: cannot be listened on: {wrong.strerror or wrong}") from wrong
    finally:
        os.umask(before)
    try:
        yield
    finally:
        await runner.cleanup()
        socket.unlink(missing_ok=True)


def _somebody_listens(socket: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(socket))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # a full queue, or a socket that we may not open
    return True


def _answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(await request.read()))
        except KioskError as wrong:
            return web.json_response({"outcome": wrong.outcome, "sentence": str(wrong)}, status=409)

    return answer


async def ask_local(socket: Path, method: str, path: str, body: bytes = b"") -> Any:
    """One request to a role on this machine; `ServerDown` if nobody listens, `Refusal` if it says no."""
    try:
        connector = aiohttp.UnixConnector(str(socket))
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, f"http://local{path}", data=body) as response,
        ):
            body = await response.read()
            if response.status not in (HTTPStatus.OK, HTTPStatus.CONFLICT):
                raise Refusal("internal", f"{socket}: HTTP {response.status} to {method} {path}")
            answer = json.loads(body)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as wrong:
        raise ServerDown(f"{socket}: nobody answers; is the service running, and may you open its socket?") from wrong
    if response.status == HTTPStatus.CONFLICT:
        raise Refusal(answer["outcome"], answer["sentence"])
    return answer
