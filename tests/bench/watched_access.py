"""The access server as it is, with a stop-watch at its vault, its store and its link.

`python -m tests.bench.watched_access serve --config FILE`: one line of JSON on standard output for each tap. The
stop-watch costs some microseconds a tap.
"""

import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from kioskd.access.cli import main
from kioskd.edges.link_server import ServerLink
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.edges.store import SqlStore
from kioskd.rekey.wire import Message, Refuse, ScriptMessage, Verdict
from kioskd.virtual.vault import SoftVault

VERBS = (
    *("holdings", "challenge", "mint_krk", "recover_krk", "derive_master", "factory_set", "proves", "open_channel"),
    *("wrap_key_set", "wrap_commands", "unwrap_responses", "forget"),
)
WRITES = ("append", "firm_lease", "charge")


class Watch:
    """What one tap has cost so far; taps come one at a time in a bench."""

    def __init__(self) -> None:
        self.costs: dict[str, float] = {}
        self.trips: list[dict[str, float]] = []
        self.commits = 0
        self._arrived = self._left = 0.0
        self._up = self._down = 0

    def received(self, size: int) -> None:
        """A message has come up."""
        self._arrived, self._up = time.perf_counter(), size

    def leaves(self, size: int) -> None:
        """A message goes down now."""
        self._left, self._down = time.perf_counter(), size

    def sent(self, message: Message) -> None:
        """It has gone down; a script or a verdict ends the round trip, a verdict the tap."""
        if not isinstance(message, ScriptMessage | Verdict | Refuse):
            return
        self.trips.append({"ms": 1000 * (self._left - self._arrived), "up": self._up, "down": self._down})
        if not isinstance(message, ScriptMessage):
            vault = sum(ms for name, ms in self.costs.items() if name in VERBS)
            told = {"trips": self.trips, "commits": self.commits, "vault": vault, "costs": self.costs}
            print(json.dumps(told), flush=True)
            self.costs, self.trips, self.commits = {}, [], 0


watch = Watch()


def _timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def measured(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args)
        finally:
            watch.costs[name] = watch.costs.get(name, 0) + 1000 * (time.perf_counter() - began)

    return measured


def _counted(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def counting(*args: Any) -> Any:
        watch.commits += 1
        return await call(*args)

    return counting


def _put_on_the_watch() -> None:
    for vault, verb in itertools.product((SoftVault, TokenVault), VERBS):
        setattr(vault, verb, _timed(verb, getattr(vault, verb)))
    SqlStore._transact = _timed("store", SqlStore._transact)  # type: ignore[method-assign]
    for write in WRITES:
        setattr(SqlStore, write, _counted(getattr(SqlStore, write)))
    send, init = ServerLink.send, ServerLink.__init__

    async def watched_send(link: ServerLink, message: Message) -> None:
        await send(link, message)
        watch.sent(message)

    def watched_init(link: ServerLink, socket: Any) -> None:
        init(link, _Watched(socket))  # type: ignore[arg-type]

    ServerLink.send = watched_send  # type: ignore[assignment, method-assign]
    ServerLink.__init__ = watched_init  # type: ignore[assignment, method-assign]


class _Watched:
    """The server's WebSocket; it measures what passes."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send_str(self, text: str) -> None:
        watch.leaves(len(text))
        await self._socket.send_str(text)

    async def receive(self) -> Any:
        got = await self._socket.receive()
        if isinstance(got.data, str):
            watch.received(len(got.data))
        return got


if __name__ == "__main__":
    _put_on_the_watch()
    sys.exit(main(sys.argv[1:]))
