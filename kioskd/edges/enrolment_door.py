"""The access server's door for terminals that have no certificate yet: HTTPS that asks for none, by aiohttp."""

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import web

from kioskd.errors import BadConfiguration, KioskError, Malformed
from kioskd.rekey.enrolment import ENROL, MAX_REQUEST_BYTES

PERIOD_S = 60.0
FROM_ONE, FROM_ALL = 10, 60
"""So many requests are looked at in a minute, from one address and from all together."""

BODY_S = 10.0
OPEN_S, MOST_OPEN, SWEEP_S = 30.0, 64, 1.0
"""A connection is ended after so long, and the oldest when there are so many: whoever says nothing holds up nobody."""

ADDRESSES = 1024

Enrol = Callable[[Any], Awaitable[Any]]
"""Takes the body's JSON; its result goes out as JSON."""


@dataclass(slots=True)
class Turnstile:
    """Lets so many through in a minute."""

    most: int
    times: deque[float] = field(default_factory=deque)

    def full(self, now: float) -> bool:
        """Whether nobody is let through just now."""
        while self.times and self.times[0] <= now - PERIOD_S:
            self.times.popleft()
        return len(self.times) >= self.most


@dataclass(slots=True)
class Gate:
    """Bounds how often somebody may try."""

    everybody: Turnstile = field(default_factory=lambda: Turnstile(FROM_ALL))
    each: dict[str, Turnstile] = field(default_factory=dict)

    def admits(self, address: str, now: float) -> bool:
        """Counts one request; whether it may be looked at."""
        if address not in self.each and len(self.each) >= ADDRESSES:
            self.each = {known: one for known, one in self.each.items() if one.full(now) or one.times}
        one = self.each.setdefault(address, Turnstile(FROM_ONE))
        if one.full(now) or self.everybody.full(now):
            return False
        one.times.append(now)
        self.everybody.times.append(now)
        return True


@asynccontextmanager
async def serve_enrolment(host: str, port: int, tls: ssl.SSLContext, enrol: Enrol) -> AsyncIterator[None]:
    """Answers POST /enrol as long as the context lasts; `BadConfiguration` if the address cannot be listened on."""
    gate = Gate()

    async def answer(request: web.Request) -> web.Response:
        if not gate.admits(request.remote or "", time.monotonic()):
            words = "too many requests; wait a minute"
            return web.json_response(_no("enrolment-refused", words), status=HTTPStatus.TOO_MANY_REQUESTS)
        try:
            return web.json_response(await enrol(await _body(request)))
        except KioskError as wrong:
            status = HTTPStatus.BAD_REQUEST if isinstance(wrong, Malformed) else HTTPStatus.CONFLICT
            return web.json_response(_no(wrong.outcome, str(wrong)), status=status)

    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_post(ENROL, answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=5.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError as wrong:
        await runner.cleanup()
        raise BadConfiguration(f"enrolment: {host}:{port} cannot be listened on: {wrong.strerror}") from wrong
    sweeping = asyncio.create_task(_sweep(runner))
    try:
        yield
    finally:
        sweeping.cancel()
        await runner.cleanup()


async def _sweep(runner: web.AppRunner) -> None:
    began: dict[object, float] = {}
    while runner.server is not None:
        now = time.monotonic()
        began = {one: began.get(one, now) for one in runner.server.connections}
        oldest_first = sorted(runner.server.connections, key=lambda one: began[one])
        for number, one in enumerate(oldest_first):
            if number < len(oldest_first) - MOST_OPEN or began[one] < now - OPEN_S:
                one.force_close()
        await asyncio.sleep(SWEEP_S)


async def _body(request: web.Request) -> Any:
    try:
        async with asyncio.timeout(BODY_S):
            return json.loads(await request.read())
    except TimeoutError as wrong:
        raise Malformed("the body did not come in time") from wrong
    except (ValueError, RecursionError) as wrong:
        raise Malformed("the body is not JSON") from wrong


def _no(outcome: str, sentence: str) -> dict[str, str]:
    return {"outcome": outcome, "sentence": sentence}
