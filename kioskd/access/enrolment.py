"""Giving out certificates at the access server: to a new terminal for a one-time code, to a known one for its old one.

What goes into a certificate is what the code was made for, or what the old certificate says: never what is asked for.
"""

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any

import kioskd.edges.enrolments as book
from kioskd.config import AccessConfig, EnrolmentSection, file_of
from kioskd.edges.enrolling import EnrollingAuthority
from kioskd.edges.link_server import Answer, Peer
from kioskd.edges.signing_request import read_request
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.errors import EnrolmentRefused, KioskRevoked, Malformed
from kioskd.rekey.enrolment import RENEW, WHOAMI, Code, Enrolled, Enrolling, Lifetime, Renewing, Whoami, read_code
from kioskd.shape import from_plain, to_plain

log = logging.getLogger(__name__)

SALT_BYTES = 16
_N, _R, _P = 1 << 14, 8, 1
"""scrypt: 16 MiB and some 80 ms for each guess; the code itself has 60 secret bits."""

NO_SUCH_CODE = "the code is wrong, used, expired or void; have the operator give out a new one"


def slow_hash(code: Code, salt: bytes) -> bytes:
    """What is kept of a code's secret part."""
    return hashlib.scrypt(code.secret.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=32)


def authority_of(config: AccessConfig, section: EnrolmentSection) -> EnrollingAuthority:
    """The authority that a configuration names; `BadConfiguration` if it cannot be used."""
    return EnrollingAuthority(file_of(section.ca), file_of(section.ca_key), file_of(config.tls.ca), section.days)


@dataclass(slots=True)
class Registrar:
    """Who answers terminals that enrol and those that renew; one slow hash at a time."""

    store: SqlStore
    authority: EnrollingAuthority
    revocations: book.Revocations
    _hashing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def doors(self) -> dict[tuple[str, str], Answer]:
        """What a terminal with a certificate may ask for."""
        return {("POST", RENEW): self.renew, ("GET", WHOAMI): self.whoami}

    async def enrol(self, body: Any) -> Any:
        """A certificate for a one-time code; an attempt is counted before the code is looked at."""
        wanted = from_plain(Enrolling, body)
        code = read_code(wanted.code)
        key, asked = read_request(wanted.csr)
        entry = await self._write(lambda connection: book.charge_attempt(connection, code.entry, _now()))
        if not await self._right(code, entry) or entry is None:
            if entry is not None:
                log.warning("enrolment: a wrong code for %s, %d of %d", entry.name, entry.attempts, book.ATTEMPTS)
            raise EnrolmentRefused(NO_SUCH_CODE)
        if asked not in ("", entry.name):
            await self._write(lambda connection: book.give_back_attempt(connection, code.entry))
            raise EnrolmentRefused(f"the code was made for {entry.name}, and this terminal is called {asked}")
        signed = self.authority.sign(key, entry.role, entry.name)
        await self._write(lambda connection: book.redeem(connection, entry, signed.given, _now()))
        log.info("enrolment: %s is enrolled as a %s, serial number %s", entry.name, entry.role, signed.given.serial)
        return to_plain(Enrolled(signed.pem, self.authority.trusted))

    async def renew(self, peer: Peer, raw: bytes) -> Any:
        """The next certificate of a terminal that comes under its present one."""
        await self._admit(peer)
        wanted = from_plain(Renewing, _json(raw))
        key, asked = read_request(wanted.csr)
        if asked not in ("", peer.name):
            raise EnrolmentRefused(f"{peer.name} may not renew for {asked}")
        before = await self.store.run(lambda connection: book.given_under(connection, peer.serial, peer.name))
        if before is None:
            raise EnrolmentRefused("this certificate was not given out here, and is not renewed here")
        if Lifetime(before.begin, before.until).early(time.time()):
            raise EnrolmentRefused("more than half of this certificate's life is left")
        signed = self.authority.sign(key, before.role, before.name)
        await self._write(lambda connection: book.renew(connection, peer.serial, peer.name, signed.given))
        log.info("enrolment: %s has renewed its certificate, serial number %s", peer.name, signed.given.serial)
        return to_plain(Enrolled(signed.pem, self.authority.trusted))

    async def whoami(self, peer: Peer, _: bytes) -> Any:
        """Under which certificate the terminal came, if it is let in."""
        await self._admit(peer)
        return to_plain(Whoami(peer.name, peer.role, peer.serial))

    async def _admit(self, peer: Peer) -> None:
        if await self.revocations.holds(peer.name, peer.serial):
            raise KioskRevoked(f"the certificate of {peer.name} was revoked")

    async def _right(self, code: Code, entry: book.Entry | None) -> bool:
        """Whether the secret part is the entry's; takes as long where there is no entry."""
        salt = entry.salt if entry is not None else bytes(SALT_BYTES)
        async with self._hashing:
            digest = await asyncio.to_thread(slow_hash, code, salt)
        return entry is not None and compare_digest(digest, entry.digest)

    async def _write(self, job: Any) -> Any:
        return await self.store.run(job, BEGIN_WRITING)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as wrong:
        raise Malformed("the body is not JSON") from wrong


def _now() -> int:
    return int(time.time())
