"""A proxy on the loopback between a terminal and the access server, which cuts their link at any byte.

It sees TLS records, each of which is one message or one answer to it, and counts those of both directions from the
moment that it is asked to.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import Self

HEAD_BYTES = 5
APPLICATION_DATA = 0x17
UP, DOWN = "up", "down"
POINTS = ("before", "in the header", "in the middle", "at the last byte", "after")


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut: the record of a direction, counted from 1, the point in it, and whether the ends are told."""

    direction: str
    number: int
    point: str
    silent: bool = False

    def lets(self, size: int) -> int:
        """How many bytes of the record go through."""
        return dict(zip(POINTS, (0, 3, size // 2, size - 1, size), strict=True))[self.point]


@dataclass(slots=True)
class Cutter:
    """The proxy, for as long as its context lasts; `port` is where the terminal connects to."""

    target: int
    port: int = field(init=False)
    cut: Cut | None = field(init=False, default=None)
    struck: threading.Event = field(init=False, default_factory=threading.Event)
    seen: list[str] = field(init=False, default_factory=list)
    _silent: threading.Event = field(init=False, default_factory=threading.Event)
    _counts: dict[str, int] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _listener: socket.socket = field(init=False)
    _open: set[socket.socket] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="cutter", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.heal()

    def arm(self, cut: Cut | None) -> None:
        """Counts records from now on, and cuts there."""
        with self._lock:
            self._counts, self.seen, self.cut = {UP: 0, DOWN: 0}, [], cut
            self.struck.clear()

    def heal(self) -> None:
        """No cut is planned any more, and a link that was silent is dead."""
        with self._lock:
            self.cut = None
            quiet = self._silent.is_set()
            self._silent.clear()
        if quiet:
            self._drop()

    def _drop(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                terminal, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                terminal.close()
                continue
            server.settimeout(None)
            self._open |= {terminal, server}
            for direction, source, sink in ((UP, terminal, server), (DOWN, server, terminal)):
                threading.Thread(target=self._pump, args=(direction, source, sink), daemon=True).start()

    def _pump(self, direction: str, source: socket.socket, sink: socket.socket) -> None:
        try:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (record := _record(source)) is not None:
                if self._silent.is_set():
                    continue
                cut = self._cut_of(direction, record)
                sink.sendall(record if cut is None else record[: cut.lets(len(record))])
                if cut is not None and not cut.silent:
                    return
        except OSError:
            pass  # one end has gone: the other hears of it
        finally:
            for one in (source, sink):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            source.close()
            self._open.discard(source)

    def _cut_of(self, direction: str, record: bytes) -> Cut | None:
        """The cut that is for this record."""
        with self._lock:
            if record[0] != APPLICATION_DATA or direction not in self._counts:
                return None
            self._counts[direction] += 1
            self.seen.append(f"{direction} {self._counts[direction]}")
            cut = self.cut
            if cut is None or (cut.direction, cut.number) != (direction, self._counts[direction]):
                return None
            self.cut = None
            if cut.silent:
                self._silent.set()
            self.struck.set()
            return cut


def _record(source: socket.socket) -> bytes | None:
    head = _exactly(source, HEAD_BYTES)
    if head is None:
        return None
    body = _exactly(source, int.from_bytes(head[3:]))
    return None if body is None else head + body


def _exactly(source: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
