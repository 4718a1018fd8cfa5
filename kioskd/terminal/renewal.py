"""The terminal renews its certificate by itself, when a third of its life is left, over the link's own port.

A new key each time. The new identity is tried at the access server before it takes the old one's place, and links are
made under it from the next one on that begins while no tap is under way.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kioskd.config import TerminalConfig
from kioskd.edges.tls import Certified, client_context, examine
from kioskd.errors import KioskError
from kioskd.rekey.enrolment import RENEW, WHOAMI, Enrolled, Lifetime, Renewing
from kioskd.shape import from_plain, to_plain
from kioskd.terminal.identity import IdentityFiles, identity_files

if TYPE_CHECKING:
    from kioskd.edges.https import HttpsServer

log = logging.getLogger(__name__)

LOOK_S = 3600.0
"""How often the certificate is looked at: clocks are put right meanwhile, and people put new files in place."""

SPREAD_PART = 30
"""Terminals that were enrolled on one day do not all renew in one minute, but over a thirtieth of a life."""

PAUSE_S = (1.0, 60.0, 6 * 3600.0)
"""After a failure: at least, at first, at most."""


class Renewal:
    """The identity under which links are made, and the task that renews it."""

    def __init__(self, config: TerminalConfig, tls: ssl.SSLContext, idle: Callable[[], bool]) -> None:
        self._config, self._idle = config, idle
        self._tls, self._next = tls, tls
        self._files = identity_files(config.tls)
        self._spread = random.random()  # noqa: S311 - not a secret

    def for_link(self) -> ssl.SSLContext:
        """What the next link is made under: the newest identity, unless a tap is under way."""
        if self._next is not self._tls and self._idle():
            self._tls = self._next
            log.info("renewal: links are made under the new certificate from now on")
        return self._tls

    async def run(self) -> None:
        """Looks at the certificate and renews it in time, until cancelled; at once done if it is not in one file."""
        failures = 0
        while self._files is not None:
            pause_s = LOOK_S
            try:
                told = await asyncio.to_thread(examine, self._files.ca, self._files.identity, self._files.identity)
                life = Lifetime(told.begin, told.end)
                wait_s = self._until_due(life)
                if wait_s > 0:
                    pause_s, failures = min(wait_s, LOOK_S), 0
                else:
                    failures += 1
                    pause_s = self._pause_s(life, failures)
                    await self._renew(self._files, told)
                    pause_s = 0.0
            except KioskError as wrong:
                log.warning("renewal: %s; tried again in %.0f s", wrong, pause_s)
            except Exception:
                log.exception("renewal: failed; tried again in %.0f s", pause_s)
            await asyncio.sleep(pause_s)

    def _until_due(self, life: Lifetime) -> float:
        return life.due() + self._spread * (life.end - life.begin) / SPREAD_PART - time.time()

    @staticmethod
    def _pause_s(life: Lifetime, failures: int) -> float:
        """Twice as long after each failure, never longer than an eighth of what is left."""
        least, first, most = PAUSE_S
        first = min(first, (life.end - life.begin) / 1000)
        longest = max(least, min(most, (life.end - time.time()) / 8))
        pause_s: float = min(longest, first * 2.0 ** min(failures - 1, 20))
        return max(least, pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret

    async def _renew(self, files: IdentityFiles, told: Certified) -> None:
        # Not loaded before it is needed: a terminal renews once in some months.
        from kioskd.edges.signing_request import new_key, signing_request

        key = await asyncio.to_thread(new_key)
        csr = signing_request(key, told.role, told.name).decode()
        answer = await self._server(files).ask("POST", RENEW, to_plain(Renewing(csr)))
        given = from_plain(Enrolled, answer)
        try:
            ca = given.ca if files.ca.parent == files.identity.parent else await asyncio.to_thread(files.trusted)
            new = await asyncio.to_thread(files.stage, key, given.certificate, ca, told.name, told.role)
            await self._server(files.staged).ask("GET", WHOAMI)
            await asyncio.to_thread(files.adopt)
        finally:
            await asyncio.to_thread(files.discard)
        self._next = self._context(files)
        log.info("renewal: the certificate is renewed, until %s", time.strftime("%Y-%m-%d", time.gmtime(new.end)))

    def _server(self, files: IdentityFiles) -> "HttpsServer":
        from kioskd.edges.https import HttpsServer

        server = self._config.server
        return HttpsServer(server.host, server.port, server.name, self._context(files), server.proxy)

    @staticmethod
    def _context(files: IdentityFiles) -> ssl.SSLContext:
        return client_context(files.ca, files.identity, files.identity)
