"""The self-test: every part that a tap needs is tried, in the order in which one fault explains the next."""

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kioskd.config import TerminalConfig, file_of
from kioskd.edges import network
from kioskd.edges.clock import synchronised
from kioskd.edges.link import connect
from kioskd.edges.pcsc import present_readers
from kioskd.edges.tls import authority_context, client_context, validity, validity_of
from kioskd.errors import KioskError, Malformed
from kioskd.outcomes import CATALOGUE, outcome
from kioskd.rekey.wire import Refuse
from kioskd.terminal.answers import CheckAnswer, SelfTestAnswer
from kioskd.terminal.limits import DAY_S, LITTLE_BYTES, SET_THE_CLOCK, SOON_DAYS, WRONG_BY_S
from kioskd.terminal.uplink import greet
from kioskd.version import VERSION

GUESSED = (datetime(2025, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())
"""No clock of a terminal that runs this software stands outside of these."""

NOT_TRIED = "Not tried: {} comes first."

Found = tuple[bool | None, str, str]
"""Whether it is well, what was found, what to do."""


@dataclass(slots=True)
class SelfTest:
    """One run. `connected`: the link of this process stands, and needs no other one to be made."""

    config: TerminalConfig
    connected: bool = False
    server_ahead_s: float | None = None  # as the last link told
    _done: list[CheckAnswer] = field(default_factory=list)

    async def run(self) -> SelfTestAnswer:
        """Every check, one after the other; none of them changes anything."""
        await self._check("disk", self._disk)
        await self._check("pcscd", self._pcscd)
        await self._check("reader", self._reader, "pcscd")
        await self._check("clock", self._clock)
        await self._check("certificate", self._certificate)
        await self._check("network", self._network)
        await self._check("proxy", self._proxy, "network")
        await self._check("tls", self._tls, "network", "proxy", "certificate")
        await self._check("access server", self._access, "network", "proxy", "certificate", "tls")
        done = tuple(self._done)
        return SelfTestAnswer(all(one.well is not False for one in done), done)

    async def _check(self, name: str, work: Callable[[], Awaitable[Found]], *first: str) -> None:
        failed = next((one.name for one in self._done if one.name in first and one.well is False), None)
        if failed is not None:
            self._done.append(CheckAnswer(name, None, NOT_TRIED.format(failed), ""))
            return
        try:
            well, found, advice = await work()
        except KioskError as wrong:
            well, found, advice = False, str(wrong), outcome(wrong.outcome).advice
        self._done.append(CheckAnswer(name, well, found, "" if well else advice))

    async def _disk(self) -> Found:
        folder = Path(self.config.journal).parent
        return await asyncio.to_thread(_try_disk, folder)

    async def _pcscd(self) -> Found:
        await asyncio.to_thread(present_readers, "")
        return True, "It answers.", ""

    async def _reader(self) -> Found:
        wanted = self.config.reader.name_contains
        every = await asyncio.to_thread(present_readers, "")
        mine = [name for name in every if wanted in name]
        if mine:
            return True, ", ".join(mine), ""
        if every:
            found = f"None has {wanted!r} in its name; there is {', '.join(every)}."
            return False, found, "Correct reader.name_contains in the configuration, or connect the right reader."
        return False, outcome("no-reader").technician, outcome("no-reader").advice

    async def _clock(self) -> Found:
        now, words = time.time(), f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')}"
        if not GUESSED[0] < now < GUESSED[1]:
            return False, f"{words} cannot be right.", SET_THE_CLOCK
        if self.server_ahead_s is not None and abs(self.server_ahead_s) > WRONG_BY_S:
            return False, f"{words}; the access server's clock is {self.server_ahead_s:+.0f} s from it.", SET_THE_CLOCK
        hint = await self._hint_of_certificates(now)
        if hint:
            return False, f"{words}; {hint}", SET_THE_CLOCK
        steered = synchronised()
        if steered is False:
            return (
                None,
                f"{words}; no time service steers it.",
                "Have a time service steer the clock: timedatectl set-ntp true.",
            )
        return True, f"{words}; {'a time service steers it.' if steered else 'nothing speaks against it.'}", ""

    async def _hint_of_certificates(self, now: float) -> str:
        """What the certificates say of the clock: none is made before its time, and a server's is seldom run out."""
        try:
            begin, _ = validity(file_of(self.config.tls.certificate))
            if now < begin:
                return f"this terminal's certificate was made later, on {_day(begin)}."
        except KioskError:
            pass  # the next check says so
        try:
            begin, end = validity_of(await network.certificate_at_the_end(self._way()))
        except KioskError:
            return ""  # it cannot be reached: no hint
        if now < begin:
            return f"the access server's certificate begins later, on {_day(begin)}."
        return f"the access server's certificate has ended before, on {_day(end)}." if now > end else ""

    async def _certificate(self) -> Found:
        tls = self.config.tls
        begin, end = validity(file_of(tls.certificate))
        if not self._keyless():
            self._context()
        now = time.time()
        if not begin <= now <= end:
            return False, f"It is valid from {_day(begin)} to {_day(end)}.", outcome("kiosk-not-trusted").advice
        if end - now < SOON_DAYS * DAY_S:
            return None, f"It ends on {_day(end)}, in {(end - now) / DAY_S:.0f} days.", "Renew it before that day."
        words = "; its key is handed to the running service alone." if self._keyless() else "."
        return True, f"It is valid until {_day(end)}{words}", ""

    async def _network(self) -> Found:
        way = self._way()
        host, port = way.first
        found = await network.addresses(host)
        await network.reach(way)
        return True, f"{host}:{port} answers ({found[0]}).", ""

    async def _proxy(self) -> Found:
        way = self._way()
        if way.proxy:
            await network.tunnel(way)
            return True, f"{way.proxy} gives a way to {way.host}:{way.port}.", ""
        variable = network.proxy_in_environment()
        if variable:
            found = f"None is configured, but {variable} is set for other programs."
            return None, found, "If the way out needs it, set server.proxy in the configuration."
        return True, "None is configured, and the way is open without.", ""

    async def _tls(self) -> Found:
        way = self._way()
        ca = file_of(self.config.tls.ca)
        await network.shake_hands(way, authority_context(ca) if self._keyless() else self._context())
        return True, f"The access server proves that it is {way.name}.", ""

    async def _access(self) -> Found:
        if self.connected:
            return True, "The link stands.", ""
        if self._keyless():
            return None, "Not tried: the key of the certificate is handed to the running service alone.", ""
        server, way = self.config.server, self._way()
        async with connect(server.host, server.port, server.name, self._context(), server.proxy) as link:
            # TLS has taken it; a revoked one is told so only when it says something.
            answer = await greet(link, self.config.name, f"kioskd {VERSION}")
        if isinstance(answer, Refuse):
            no = CATALOGUE.get(answer.outcome, outcome(Malformed.outcome))  # a newer server may have others
            return False, no.technician, no.advice
        return True, f"{way.host}:{way.port} takes this terminal's certificate.", ""

    def _way(self) -> network.Way:
        server = self.config.server
        return network.Way(server.host, server.port, server.name or server.host, server.proxy)

    def _keyless(self) -> bool:
        """Whether the key is a systemd credential, and systemd did not start this process."""
        return self.config.tls.key.startswith("credential:") and "CREDENTIALS_DIRECTORY" not in os.environ

    def _context(self) -> ssl.SSLContext:
        tls = self.config.tls
        return client_context(file_of(tls.ca), file_of(tls.certificate), file_of(tls.key))


def _try_disk(folder: Path) -> Found:
    try:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
    except PermissionError:
        return None, f"{folder}: you may not write there.", "Ask again as root."
    except OSError as wrong:
        return False, f"{folder}: {wrong.strerror}.", outcome("journal-failed").advice
    words = f"{folder}: {free >> 20} MB are free."
    return (True, words, "") if free >= LITTLE_BYTES else (False, words, "Make room on that disk.")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
