"""A role's status socket, asked by somebody who does not speak HTTP well."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from kioskd.edges.local_http import serve_local

GOOD = (
    b"GET /status HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n",
    b'POST /import HTTP/1.1\r\nHost: local\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{"a":1}',
    b"POST /import HTTP/1.1\r\nHost: local\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)
PATIENCE_S = 20.0
QUIET_S = 0.02


class StatusSocket:
    """One server on a Unix socket, in this process."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "fuzz.sock"
        self._loop = asyncio.new_event_loop()
        self._serving = contextlib.AsyncExitStack()
        self._loop.run_until_complete(self._serving.enter_async_context(self._served()))
        self._asked = 0

    def _served(self) -> Any:
        async def tell(body: bytes) -> dict[str, int]:
            return {"length": len(body)}

        return serve_local(self._socket, 0o600, {("GET", "/status"): tell, ("POST", "/import"): tell})

    def ask(self, raw: bytes) -> object:
        """What it answers; an inner error of it, or silence to a good question, is a failure."""
        answer = self._loop.run_until_complete(self._exchange(raw))
        if b" 500 " in answer[:40]:
            raise AssertionError("the server failed inside")
        self._asked += 1
        if self._asked % 100 == 0 and b" 200 OK" not in self._loop.run_until_complete(self._exchange(GOOD[0])):
            raise AssertionError("the server does not answer any more")
        return answer

    async def _exchange(self, raw: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                writer.write(raw)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                answer = b""
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while True:
                        patience_s = PATIENCE_S if raw == GOOD[0] else QUIET_S
                        part = await asyncio.wait_for(reader.read(65536), patience_s)
                        if not part:
                            break
                        answer += part
                return answer
            finally:
                writer.close()
