"""The key management server as a service: who may ask for what, over mutual TLS. The rules are those of its desk."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kioskd.config import KmsConfig, file_of
from kioskd.edges import systemd
from kioskd.edges.certificates import Role
from kioskd.edges.https import Door, serve_https
from kioskd.edges.link_server import Peer
from kioskd.edges.local_http import serve_local
from kioskd.edges.tls import server_context
from kioskd.errors import NotApproved
from kioskd.kms.acts import Files
from kioskd.kms.ceremonies import Ceremonies
from kioskd.kms.outbox import Outbox
from kioskd.log_fields import MessageId, entry
from kioskd.rekey.ceremony import Approval
from kioskd.rekey.kms_wire import (
    APPROVALS,
    EXECUTIONS,
    HOLDINGS,
    ONLINE,
    PAPERS,
    REQUESTS,
    Asking,
    Done,
    Executing,
    Papers,
)
from kioskd.shape import from_plain, to_plain
from kioskd.under_way import UnderWay
from kioskd.version import VERSION

T = TypeVar("T")
log = logging.getLogger(__name__)

SOCKET_MODE = 0o660

DRAIN_S = 100.0
"""How long an act that is under way may take to end when the service is told to stop: an HSM makes an RSA pair."""
_PEOPLE = (Role.OPERATOR.value, Role.CUSTODIAN.value)


@dataclass(frozen=True, slots=True)
class Reception:
    """Answers what comes over the network, one thing at a time: a vault has one worker."""

    ceremonies: Ceremonies
    outbox: Outbox
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "vault"))
    requests: UnderWay = field(default_factory=UnderWay)

    def doors(self) -> dict[tuple[str, str], Door]:
        """Every door, and for whom it is."""
        operator, access = (Role.OPERATOR.value,), (Role.ACCESS.value,)
        return {
            ("GET", HOLDINGS): Door(_PEOPLE, self._holdings),
            ("GET", REQUESTS): Door(_PEOPLE, self._listed),
            ("POST", REQUESTS): Door(operator, self._ask),
            ("POST", APPROVALS): Door(_PEOPLE, self._approve),
            ("POST", EXECUTIONS): Door(operator, self._execute),
            ("GET", f"{PAPERS}/{{name}}"): Door(access, self._papers),
        }

    async def _holdings(self, _: Peer, __: str, ___: Any) -> Any:
        return to_plain(await self._work(self.ceremonies.holdings))

    async def _listed(self, _: Peer, __: str, ___: Any) -> Any:
        return to_plain(await self._work(self.ceremonies.listed))

    async def _ask(self, peer: Peer, _: str, body: Any) -> Any:
        asking = from_plain(Asking, body)
        if asking.act not in ONLINE:
            raise NotApproved(f"{asking.act.value}: is asked for at the key management server itself")
        said = {one.name: one.value for one in asking.details}
        asked = await self._work(lambda: self.ceremonies.ask(asking.act, said, asking.days))
        log.info("%s asked for: %s", peer.name, asked.words, extra=entry(MessageId.CEREMONY))
        return to_plain(asked)

    async def _approve(self, peer: Peer, _: str, body: Any) -> Any:
        approval = from_plain(Approval, body)
        listed = await self._work(lambda: self.ceremonies.approve(approval))
        log.info("%s brought the approval of %s", peer.name, approval.custodian, extra=entry(MessageId.CEREMONY))
        return to_plain(listed)

    async def _execute(self, peer: Peer, _: str, body: Any) -> Any:
        wanted = from_plain(Executing, body)
        if wanted.request.act not in ONLINE:
            raise NotApproved(f"{wanted.request.act.value}: is done at the key management server itself")
        lines = await self._work(lambda: self._done(wanted))
        log.info("%s had done: %s", peer.name, wanted.request.words, extra=entry(MessageId.CEREMONY))
        return to_plain(Done(tuple(lines)))

    def _done(self, wanted: Executing) -> list[str]:
        to = wanted.to.encode() or None
        out = None if to is None else self.outbox.place(to, wanted.request.digest)
        done = self.ceremonies.execute(wanted.request, wanted.approvals, Files(to, out))
        return done if out is None else [*done[:-1], "Next: `kioskd access fetch` at the access server."]

    async def _papers(self, _: Peer, name: str, __: Any) -> Any:
        return to_plain(Papers(await self._work(lambda: self.outbox.waiting(name))))

    async def status(self) -> dict[str, Any]:
        """What the service says of itself, without a key."""
        held = await self._work(self.ceremonies.holdings)
        listed = await self._work(self.ceremonies.listed)
        return {
            "software": f"kioskd {VERSION}",
            "generations": held.generations,
            "epochs": {str(epoch): state.value for epoch, state in held.states(int(time.time())).items()},
            "requests open": sum(not one.done for one in listed),
        }

    async def alive(self) -> bool:
        """Whether the vault's worker takes calls: it answers when it has done what it is at."""
        return await asyncio.get_running_loop().run_in_executor(self.worker, bool, 1)

    def standing(self) -> str:
        """The service's line in `systemctl status`."""
        return f"{'draining' if self.requests.draining else 'ready'}; requests under way: {self.requests.count}"

    async def _work(self, job: Callable[[], T]) -> T:
        with self.requests.one():
            return await asyncio.get_running_loop().run_in_executor(self.worker, job)


async def serve(config: KmsConfig, ceremonies: Ceremonies) -> None:
    """Runs until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = server_context(file_of(config.tls.ca), file_of(config.tls.certificate), file_of(config.tls.key))
    reception = Reception(ceremonies, Outbox(file_of(config.outbox)))
    await reception.status()  # a vault or transcript that cannot be used is found out now

    async def tell(_: bytes) -> Any:
        return await reception.status()

    line = systemd.Standing(reception.standing)
    reception.requests.on_change = line.changed
    watchdog = asyncio.create_task(systemd.watchdog({"the vault": reception.alive}, line))
    try:
        async with (
            serve_https(config.listen.host, config.listen.port, tls, reception.doors()),
            serve_local(Path(config.socket), SOCKET_MODE, {("GET", "/status"): tell}),
        ):
            systemd.notify("READY=1")
            line.changed()
            ready = entry(MessageId.READY)
            log.info("key management server is ready on %s:%d", config.listen.host, config.listen.port, extra=ready)
            await stop.wait()
            systemd.notify("STOPPING=1")
            words = "stops; requests to be finished first: %d"
            log.info(words, reception.requests.count, extra=entry(MessageId.DRAINING))
            await reception.requests.drain(DRAIN_S)
    finally:
        watchdog.cancel()
        reception.worker.shutdown()
