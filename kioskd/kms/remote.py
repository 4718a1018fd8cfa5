"""A key management server at the other end of a network: the same steps as at its own desk, asked for over TLS."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kioskd.edges.https import HttpsServer
from kioskd.kms.acts import Files
from kioskd.rekey.ceremony import Act, Approval, Detail, Request
from kioskd.rekey.kms_wire import EXECUTIONS, HOLDINGS, REQUESTS, Asking, Done, Executing, Listed
from kioskd.rekey.release import KmsHoldings
from kioskd.shape import from_plain, to_plain


@dataclass(frozen=True, slots=True)
class RemoteCeremonies:
    """The ceremonies of a key management server that runs as a service; errors are the server's, or the network's."""

    server: HttpsServer

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        return from_plain(KmsHoldings, self._ask("GET", HOLDINGS))

    def ask(self, act: Act, said: Mapping[str, str], days: int) -> Request:
        """Asks for an act."""
        details = tuple(Detail(name, said[name]) for name in sorted(said))
        return from_plain(Request, self._ask("POST", REQUESTS, Asking(act, details, days)))

    def execute(self, asked: Request, given: tuple[Approval, ...], files: Files) -> list[str]:
        """Does what a request says; a bundle or order stays there for its access server."""
        to = "" if files.to is None else files.to.decode("ascii", "replace")
        return list(from_plain(Done, self._ask("POST", EXECUTIONS, Executing(asked, given, to))).lines)

    def listed(self) -> tuple[Listed, ...]:
        """Every request, oldest first."""
        return tuple(from_plain(Listed, one) for one in self._ask("GET", REQUESTS))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return asyncio.run(self.server.ask(method, path, None if body is None else to_plain(body)))
