"""The other end of a terminal's status socket, by aiohttp: asks, acts, fetches, listens."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from kioskd.errors import Refusal, ServerDown

ANSWER_S = 120.0
"""A self-test waits for a network that swallows everything, step after step."""


class NotPermitted(Refusal):
    """The terminal says that we may not."""


@dataclass(frozen=True, slots=True)
class StatusClient:
    """A terminal's status socket."""

    socket: Path

    async def ask(self, method: str, path: str) -> Any:
        """What it answers, from JSON; `ServerDown` if nobody is there, `Refusal` with its sentence if it says no.

        An answer that is bad news (503 with more than a sentence) is an answer.
        """
        body = await self.fetch(method, path)
        try:
            return json.loads(body)
        except ValueError as wrong:
            raise ServerDown(f"{self.socket}: what answers there is no kiosk and no station") from wrong

    async def fetch(self, method: str, path: str) -> bytes:
        """The same, as it came."""
        async with self._request(method, path, aiohttp.ClientTimeout(total=ANSWER_S)) as response:
            return await response.read()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """What happens, as it happens, until it ends; an empty event says that the terminal listens to us now."""
        async with self._request("GET", "/events", aiohttp.ClientTimeout(total=None)) as response:
            yield {}
            async for line in response.content:
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
                    yield event

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, patience: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        connector = aiohttp.UnixConnector(str(self.socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=patience) as session,
                session.request(method, f"http://local{path}") as response,
            ):
                if response.status != HTTPStatus.OK:
                    self._refuse(response.status, await response.read(), f"{method} {path}")
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as wrong:
            sentence = f"{self.socket}: nobody answers; is the service running, and may you open its socket?"
            raise ServerDown(sentence) from wrong

    def _refuse(self, status: int, body: bytes, what: str) -> None:
        try:
            told = json.loads(body)
            outcome, sentence = str(told["outcome"]), str(told["sentence"])
        except (ValueError, LookupError, TypeError):
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                return  # bad news, but an answer
            raise Refusal("internal", f"{self.socket}: HTTP {status} to {what}") from None
        raise (NotPermitted if status == HTTPStatus.FORBIDDEN else Refusal)(outcome, sentence)
