"""A new terminal's way to the enrolment door, by aiohttp: the fingerprint first, and nothing before it fits."""

import json
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Never
from urllib.parse import urlsplit

import aiohttp

from kioskd.edges.tls import enrolment_client_context
from kioskd.errors import BadConfiguration, LinkLost, Malformed, Refusal, ServerDown, ServerNotTrusted
from kioskd.proxy import proxy_address
from kioskd.rekey.enrolment import ENROL, Enrolled, Enrolling
from kioskd.shape import from_plain, to_plain

ANSWER_S = 60.0
DEFAULT_PORT = 8445
FINGERPRINT_BYTES = 32
MAX_ANSWER_BYTES = 1 << 18
_NOBODY = bytes(FINGERPRINT_BYTES)
"""No certificate has this fingerprint: who compares with it learns the true one, and sends nothing."""


@dataclass(frozen=True, slots=True)
class EnrolmentServer:
    """Where terminals enrol; `proxy` is the URL of an HTTP proxy that is asked to CONNECT, or empty."""

    host: str
    port: int
    proxy: str = ""

    async def fingerprint(self) -> bytes:
        """The SHA-256 of the certificate that answers there; nothing is sent."""
        try:
            await self._post(_NOBODY, b"")
        except aiohttp.ServerFingerprintMismatch as told:
            return told.got
        raise AssertionError("a certificate whose fingerprint is zero")

    async def enrol(self, fingerprint: bytes, wanted: Enrolling) -> Enrolled:
        """Sends the code to the server of that fingerprint alone; `Refusal` if it says no."""
        try:
            status, body = await self._post(fingerprint, json.dumps(to_plain(wanted)).encode())
        except aiohttp.ServerFingerprintMismatch as wrong:
            raise ServerNotTrusted(
                f"{self.where}: answers with another certificate by now; nothing was sent"
            ) from wrong
        try:
            answer = json.loads(body)
            if status != HTTPStatus.OK:
                raise Refusal(str(answer["outcome"]), str(answer["sentence"]))
            return from_plain(Enrolled, answer)
        except (ValueError, LookupError, TypeError, Malformed) as wrong:
            raise ServerDown(f"{self.where}: is no enrolment server (HTTP {status})") from wrong

    @property
    def where(self) -> str:
        """Its host and port."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def _post(self, fingerprint: bytes, body: bytes) -> tuple[int, bytes]:
        connector = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(fingerprint))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session,
                session.post(
                    f"https://{self.where}{ENROL}",
                    data=body,
                    ssl=enrolment_client_context(),
                    proxy=self.proxy or None,
                    allow_redirects=False,
                ) as response,
            ):
                return response.status, await response.content.read(MAX_ANSWER_BYTES)
        except aiohttp.ServerFingerprintMismatch:
            raise
        except (TimeoutError, aiohttp.ClientError, ssl.SSLError, OSError) as wrong:
            self._lost(wrong)

    def _lost(self, wrong: Exception) -> Never:
        if isinstance(wrong, aiohttp.ClientHttpProxyError):
            raise LinkLost(f"the proxy does not let us through to {self.where}: HTTP {wrong.status}") from wrong
        if isinstance(wrong, aiohttp.ClientProxyConnectionError):
            raise LinkLost(f"the proxy does not answer: {wrong.os_error.strerror or 'nobody is there'}") from wrong
        if isinstance(wrong, aiohttp.ClientConnectorSSLError):
            raise ServerDown(f"{self.where}: does not speak TLS 1.3; is it the enrolment port?") from wrong
        if isinstance(wrong, aiohttp.ClientConnectorError):
            raise ServerDown(f"{self.where}: {wrong.os_error.strerror or 'nobody answers'}") from wrong
        raise ServerDown(f"{self.where}: hung up, or did not answer in time") from wrong


def read_url(text: str, proxy: str = "") -> EnrolmentServer:
    """The server of https://HOST or https://HOST:PORT; `BadConfiguration` for anything else."""
    try:
        parts, port = urlsplit(text), urlsplit(text).port
    except ValueError as wrong:
        raise BadConfiguration(f"{text!r:.80}: is no URL") from wrong
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme != "https" or not parts.hostname or extra:
        raise BadConfiguration(
            "URL: needs the scheme https, a host and a port, as `kioskd access enrolment add` shows it"
        )
    if proxy:
        proxy_address(proxy)
    return EnrolmentServer(parts.hostname, DEFAULT_PORT if port is None else port, proxy)


def read_fingerprint(text: str) -> bytes:
    """A SHA-256 in hex, with or without colons and spaces; `BadConfiguration` for anything else."""
    plain = text.strip().removeprefix("SHA256:").removeprefix("sha256:")
    for mark in ": ":
        plain = plain.replace(mark, "")
    try:
        made = bytes.fromhex(plain)
    except ValueError:
        made = b""
    if len(made) != FINGERPRINT_BYTES:
        raise BadConfiguration("--fingerprint: needs the 64 hex digits that `kioskd access enrolment add` shows")
    return made
