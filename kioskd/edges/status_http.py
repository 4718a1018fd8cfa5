"""A terminal's status API over its Unix socket, by aiohttp: who asks is looked at first, every error is a sentence."""

import asyncio
import contextlib
import json
import logging
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from kioskd.edges.local_http import listening
from kioskd.edges.peers import LocalPeer, peer_of
from kioskd.errors import KioskError
from kioskd.shape import to_plain

SOCKET_MODE = 0o666
"""Everybody may connect: whoever may not ask is told so in a sentence."""

MAX_BODY_BYTES = 4096
CLOSE_S = 2.0
SILENCE_S = 15.0
"""How often a stream without news says that it is alive."""

log = logging.getLogger(__name__)


class NotHere(KioskError):
    """What the address names is not there."""

    outcome = "bad-message"


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that is no JSON object."""

    body: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer without an end: what a listener's queue brings, as server-sent events named by their `kind`."""

    listen: Callable[[], "AbstractContextManager[asyncio.Queue[Any]]"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what its address names, and what stands after the question mark."""

    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """One verb of the API. `answers` is the type of its answer, or its content type where that is no JSON object.

    It answers with HTTP status 200, or with 503 if `well` says that the answer is no good news.
    """

    method: str
    path: str
    summary: str
    answers: Any
    act: Callable[[Asked], Awaitable[Any]]
    acts: bool = False
    query: tuple[str, ...] = ()
    well: Callable[[Any], bool] | None = None


Refusal = Callable[[LocalPeer, bool], str]
"""Why somebody may not ask, or not act; nothing if they may."""


@asynccontextmanager
async def serve_status(
    place: Path | sockets.socket, routes: Sequence[Route], refusal: Refusal, busy: tuple[type[KioskError], ...] = ()
) -> AsyncIterator[None]:
    """Serves these routes at a path, or on a socket that listens already, as long as the context lasts.

    400 for a request that makes no sense, 403 by `refusal`, 404, 405, 503 for an error of `busy`, 409 for any other
    `KioskError`: each with a JSON object of outcome and sentence.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_guard(refusal, busy)])
    for route in routes:
        app.router.add_route(route.method, route.path, _answering(route))
    if isinstance(place, Path):
        async with listening(app, place, SOCKET_MODE, CLOSE_S):
            yield
        return
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S)
    await runner.setup()
    await web.SockSite(runner, place).start()
    try:
        yield
    finally:
        await runner.cleanup()


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _guard(refusal: Refusal, busy: tuple[type[KioskError], ...]) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        said = _may(request, refusal)
        if said:
            return _sorry(HTTPStatus.FORBIDDEN, "not-permitted", said)
        try:
            return await handler(request)
        except KioskError as wrong:
            status = HTTPStatus.CONFLICT
            if isinstance(wrong, (NotHere, *busy)):
                status = HTTPStatus.NOT_FOUND if isinstance(wrong, NotHere) else HTTPStatus.SERVICE_UNAVAILABLE
            return _sorry(status, wrong.outcome, str(wrong))
        except web.HTTPException as wrong:
            return _refused(request, wrong)
        except ConnectionError:
            raise  # whoever asked has gone
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return _sorry(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "An error of ours: the log has more.")

    return guard


def _may(request: web.Request, refusal: Refusal) -> str:
    connection = request.transport.get_extra_info("socket") if request.transport is not None else None
    if connection is None:
        return "You are gone."
    return refusal(peer_of(connection), request.method not in ("GET", "HEAD"))


def _refused(request: web.Request, wrong: web.HTTPException) -> web.Response:
    sentences = {
        HTTPStatus.NOT_FOUND: f"There is no {request.path[:80]} here; GET /openapi.json tells what there is.",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"The body is longer than {MAX_BODY_BYTES} bytes.",
    }
    if isinstance(wrong, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(wrong.allowed_methods))
        answer = _sorry(HTTPStatus.METHOD_NOT_ALLOWED, "bad-message", f"{request.path[:80]} takes {allowed} only.")
        answer.headers["Allow"] = allowed
        return answer
    status = HTTPStatus(wrong.status)
    return _sorry(status, "bad-message", sentences.get(status) or wrong.text or f"{status.phrase}.")


def _sorry(status: HTTPStatus, outcome: str, sentence: str) -> web.Response:
    return web.json_response({"outcome": outcome, "sentence": sentence}, status=status)


def _answering(route: Route) -> _Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        _check(route, request.query.keys(), await request.read())
        found = await route.act(Asked(dict(request.match_info), dict(request.query)))
        if isinstance(found, Stream):
            return await _stream(request, found)
        if isinstance(found, Content):
            return web.Response(body=found.body, headers={"Content-Type": found.kind})
        good = route.well is None or route.well(found)
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return web.json_response(to_plain(found), status=status)

    return answer


def _check(route: Route, query: Any, body: bytes) -> None:
    """What goes beyond an address is refused, so that nobody thinks it had done something."""
    unknown = sorted(set(query) - set(route.query))
    if unknown:
        known = f"known are {', '.join(route.query)}" if route.query else "it takes none"
        raise web.HTTPBadRequest(text=f"{route.path} has no parameter {unknown[0][:40]!r}; {known}.")
    if body:
        try:
            empty = json.loads(body) == {}
        except (ValueError, RecursionError):
            empty = False
        if not empty:
            raise web.HTTPBadRequest(text=f"{route.path} takes no body, or an empty JSON object.")


async def _stream(request: web.Request, stream: Stream) -> web.StreamResponse:
    with stream.listen() as queue:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(b": hello\n\n")
        with contextlib.suppress(ConnectionError):
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        event = to_plain(await queue.get())
                except TimeoutError:
                    await response.write(b": nothing new\n\n")
                    continue
                await response.write(f"event: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode())
    return response
