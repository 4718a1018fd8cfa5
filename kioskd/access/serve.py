"""The access server from start to end: links from terminals, and a status socket."""

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from kioskd.access.enrolment import Registrar, authority_of
from kioskd.access.office import Office
from kioskd.access.session import Session
from kioskd.config import AccessConfig, file_of
from kioskd.edges import systemd
from kioskd.edges.enrolment_door import serve_enrolment
from kioskd.edges.enrolments import Revocations
from kioskd.edges.link_server import Peer, ServerLink, serve_links
from kioskd.edges.local_http import serve_local
from kioskd.edges.profile_file import load_profiles
from kioskd.edges.store import SqlStore
from kioskd.edges.tls import enrolment_server_context, server_context
from kioskd.errors import StoreFailed
from kioskd.log_fields import MessageId, entry
from kioskd.ports import Vault
from kioskd.version import VERSION

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660

DRAIN_S = 20.0
"""How long taps that are under way may take to finish when the server is told to stop."""


async def serve(config: AccessConfig, vault: Vault) -> None:
    """Runs until SIGTERM or SIGINT."""
    began = time.monotonic()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls, profiles = identity(config), load_profiles(config.profiles)
    store = SqlStore(config.store)
    office = Office(vault, store, profiles, config.rotate_krk)
    revocations = Revocations(store)
    registrar = _registrar(config, store, revocations)
    present: dict[str, Session] = {}
    line = systemd.Standing(lambda: standing(office, len(present)))
    office.taps.on_change = line.changed

    async def speak(peer: Peer, link: ServerLink) -> None:
        session = Session(office, peer.name, peer.role, link, lambda: revocations.holds(peer.name, peer.serial))
        present[peer.name] = session
        line.changed()
        try:
            await session.serve()
        finally:
            if present.get(peer.name) is session:
                del present[peer.name]
            line.changed()

    async def store_answers() -> bool:
        with contextlib.suppress(StoreFailed):  # a store that says no does answer
            await store.run(lambda _: None)
        return True

    async def vault_answers() -> bool:
        return vault.instant or await asyncio.get_running_loop().run_in_executor(office.worker, bool, 1)

    async def tell(_: bytes) -> dict[str, Any]:
        holdings = await office.in_vault(vault.holdings)
        return {
            "software": f"kioskd {VERSION}",
            "uptime_s": round(time.monotonic() - began, 1),
            "issuing": holdings.issuing,
            "armed": holdings.armed,
            "terminals": sorted(present),
            "outcomes": office.tallies,
        }

    watchdog = asyncio.create_task(systemd.watchdog({"the store": store_answers, "the vault": vault_answers}, line))
    try:
        async with AsyncExitStack() as stack:
            doors = registrar.doors() if registrar is not None else {}
            await stack.enter_async_context(serve_links(config.listen.host, config.listen.port, tls, speak, doors))
            await stack.enter_async_context(serve_local(Path(config.socket), SOCKET_MODE, {("GET", "/status"): tell}))
            if registrar is not None:
                await stack.enter_async_context(_enrolment(config, registrar))
            gc.freeze()  # what the start has made stays: no collection in a tap looks through it again
            systemd.notify("READY=1")
            line.changed()
            ready = entry(MessageId.READY)
            log.info("access server is ready on %s:%d", config.listen.host, config.listen.port, extra=ready)
            await stop.wait()
            systemd.notify("STOPPING=1")
            log.info("stops; taps to be finished first: %d", office.taps.count, extra=entry(MessageId.DRAINING))
            await office.taps.drain(DRAIN_S)
    finally:
        watchdog.cancel()
        office.worker.shutdown()
        store.close()


def standing(office: Office, terminals: int) -> str:
    """The server's line in `systemctl status`."""
    state = "draining" if office.taps.draining else "ready"
    return f"{state}; terminals linked: {terminals}; taps under way: {office.taps.count}"


def _registrar(config: AccessConfig, store: SqlStore, revocations: Revocations) -> Registrar | None:
    """Who gives out certificates; none where enrolment is off."""
    if config.enrolment is None:
        log.info("enrolment is off: the configuration has no section enrolment")
        return None
    return Registrar(store, authority_of(config, config.enrolment), revocations)


def _enrolment(config: AccessConfig, registrar: Registrar) -> AbstractAsyncContextManager[None]:
    assert config.enrolment is not None
    tls = enrolment_server_context(file_of(config.tls.certificate), file_of(config.tls.key))
    host = config.enrolment.host or config.listen.host
    return serve_enrolment(host, config.enrolment.port, tls, registrar.enrol)


def identity(config: AccessConfig) -> ssl.SSLContext:
    """The server's TLS identity; `BadConfiguration` if its files are none."""
    return server_context(file_of(config.tls.ca), file_of(config.tls.certificate), file_of(config.tls.key))
