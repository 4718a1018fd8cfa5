"""The terminal's link to the access server: a WebSocket over TLS 1.3 with certificates on both sides, by aiohttp."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp

from kioskd.errors import KioskNotTrusted, LinkLost, Malformed, ServerDown, ServerNotTrusted
from kioskd.rekey.wire import MAX_MESSAGE_BYTES, Message, decode, encode

HEARTBEAT_S = 20.0
CONNECT_S = 10.0
PATH = "/link/1"


class WebSocketLink:
    """One live link."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, server_ahead_s: float | None = None) -> None:
        self._socket = socket
        self.server_ahead_s = server_ahead_s
        self._heard = False

    async def send(self, message: Message) -> None:
        """Sends; `LinkLost` if the link is gone."""
        try:
            await self._socket.send_str(encode(message))
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as wrong:
            raise LinkLost("the link to the access server is gone") from wrong

    async def receive(self) -> Message:
        """The next message; `LinkLost` if the link goes, `Malformed` for anything that is no message of ours."""
        try:
            got = await self._socket.receive()
        except (ConnectionError, aiohttp.ClientError, RuntimeError) as wrong:
            raise LinkLost("the link to the access server is gone") from wrong
        if got.type is aiohttp.WSMsgType.TEXT:
            self._heard = True
            return decode(got.data)
        if got.type is aiohttp.WSMsgType.BINARY:
            raise Malformed("message: binary, text is spoken here")
        refused = got.type is aiohttp.WSMsgType.CLOSE and got.data != aiohttp.WSCloseCode.GOING_AWAY
        if refused and not self._heard:
            raise KioskNotTrusted("the access server sent no welcome; is this terminal's name that of its certificate?")
        raise LinkLost("the access server closed the link")


@asynccontextmanager
async def connect(
    host: str, port: int, name: str, tls: ssl.SSLContext, proxy: str = ""
) -> AsyncIterator[WebSocketLink]:
    """A link to the access server, whose certificate must say `name`; a kind of `LinkLost` tells why there is none.

    Through an http:// `proxy`, if one is named, which sees TLS only.
    """
    clock = _ServerClock()
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None), trace_configs=[clock.listener()]
    ) as session:
        try:
            async with asyncio.timeout(CONNECT_S):
                socket = await session.ws_connect(
                    f"https://{f'[{host}]' if ':' in host else host}:{port}{PATH}",
                    ssl=tls,
                    server_hostname=name or None,
                    proxy=proxy or None,
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MAX_MESSAGE_BYTES,
                )
        except aiohttp.WSServerHandshakeError as wrong:
            if wrong.status == HTTPStatus.FORBIDDEN:
                raise KioskNotTrusted("the access server does not take this certificate for a terminal's") from wrong
            raise ServerDown(f"{host}:{port}: is no access server (HTTP {wrong.status})") from wrong
        except aiohttp.ClientConnectorCertificateError as wrong:
            raise ServerNotTrusted(f"{host}:{port}: {wrong.certificate_error}") from wrong
        except aiohttp.ClientConnectorSSLError as wrong:
            raise ServerNotTrusted(f"{host}:{port}: TLS failed: {wrong.os_error.strerror}") from wrong
        except aiohttp.ClientConnectorError as wrong:
            raise ServerDown(f"{host}:{port}: {wrong.os_error.strerror or 'nobody answers'}") from wrong
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as wrong:
            # TLS stands, and the server hangs up before it answers: with TLS 1.3 a refused certificate looks like
            # this, whether the server's alert arrives or not (asyncio's servers close without sending it).
            raise KioskNotTrusted("the access server does not accept this terminal's certificate") from wrong
        except (aiohttp.ClientError, OSError, TimeoutError) as wrong:
            raise ServerDown(f"{host}:{port}: {str(wrong) or 'nobody answers'}") from wrong
        try:
            yield WebSocketLink(socket, clock.ahead_s)
        finally:
            await socket.close()


class _ServerClock:
    """What the server's answer says of its clock."""

    def __init__(self) -> None:
        self.ahead_s: float | None = None

    def listener(self) -> aiohttp.TraceConfig:
        """Hears the server's answer."""
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._note)
        return config

    async def _note(self, _session: object, _context: object, params: aiohttp.TraceRequestEndParams) -> None:
        with contextlib.suppress(ValueError, TypeError):
            said = parsedate_to_datetime(params.response.headers.get("Date", ""))
            self.ahead_s = float(round(said.timestamp() - time.time()))
