"""A slow link that loses packets: two network namespaces, and between them every packet passes through this process.

The kernel need not know how to delay or lose packets: each end is a TUN device, and TCP in between is the real one.
"""

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Self

from kioskd.demo.roles import StageFailed
from tests.stack.cutter import DOWN, UP

CLONE_NEWNET = 0x40000000
TUNSETIFF, TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
TERMINAL_ADDRESS, SERVER_ADDRESS = "10.77.0.1", "10.77.0.2"
MTU = 1400
TCP = 6


@dataclass(slots=True)
class LossyLine:
    """The link, for as long as its context lasts; each way takes `delay_s`, give or take, and loses some packets."""

    delay_s: float = 0.04
    jitter_s: float = 0.01
    loss: float = 0.03
    networks: dict[str, str] = field(init=False, default_factory=dict)  # by direction: the end that sends so
    struck: threading.Event = field(init=False, default_factory=threading.Event)
    seen: list[str] = field(init=False, default_factory=list)  # packets with data, such as "up 1"
    _at: str = field(init=False, default="")
    _flap_s: float | None = field(init=False, default=None)
    _gone_until: float = field(init=False, default=0.0)
    _counts: dict[str, int] = field(init=False, default_factory=dict)
    _up: threading.Event = field(init=False, default_factory=threading.Event)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve, name="lossy line", daemon=True)
        self._thread.start()
        if not self._up.wait(20):
            raise StageFailed("the lossy line does not come up: it needs root and /dev/net/tun")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def arm(self, at: str, flap_s: float | None) -> None:
        """Counts packets with data from now on; from that one on the line is gone, for a while or until healed."""
        self._counts, self.seen = {UP: 0, DOWN: 0}, []
        self.struck.clear()
        self._at, self._flap_s = at, flap_s

    def heal(self) -> None:
        """The line is there."""
        self._at, self._gone_until = "", 0.0

    def _serve(self) -> None:
        ends = {}
        for direction, address in ((UP, TERMINAL_ADDRESS), (DOWN, SERVER_ADDRESS)):
            ends[direction] = _tun(address)
            self.networks[direction] = f"/proc/{os.getpid()}/fd/{os.open('/proc/thread-self/ns/net', os.O_RDONLY)}"
        self._up.set()
        try:
            self._forward(ends)
        finally:
            for end in (*ends.values(), *(int(path.rpartition("/")[2]) for path in self.networks.values())):
                os.close(end)

    def _forward(self, ends: dict[str, int]) -> None:
        chance, waiting, number = random.Random(1), list[tuple[float, int, int, bytes]](), 0
        other = {UP: ends[DOWN], DOWN: ends[UP]}
        last = {UP: 0.0, DOWN: 0.0}
        while not self._stop.is_set():
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, end, packet = heapq.heappop(waiting)
                with contextlib.suppress(OSError):
                    os.write(end, packet)
            pause_s = min(waiting[0][0] - now, 0.2) if waiting else 0.2
            for ready in select.select(list(ends.values()), [], [], max(0.0, pause_s))[0]:
                direction = UP if ready == ends[UP] else DOWN
                packet = os.read(ready, 2048)
                if not self._passes(direction, packet) or chance.random() < self.loss:
                    continue
                number += 1
                slow_s = self.delay_s + chance.uniform(-1, 1) * self.jitter_s
                last[direction] = max(last[direction], time.monotonic() + slow_s)
                heapq.heappush(waiting, (last[direction], number, other[direction], packet))

    def _passes(self, direction: str, packet: bytes) -> bool:
        if _carries_data(packet) and direction in self._counts:
            self._counts[direction] += 1
            here = f"{direction} {self._counts[direction]}"
            self.seen.append(here)
            if here == self._at:
                self._gone_until = float("inf") if self._flap_s is None else time.monotonic() + self._flap_s
                self._at = ""
                self.struck.set()
        return time.monotonic() >= self._gone_until


def _tun(address: str) -> int:
    """One end, in a new network namespace of this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"line0", TUN_WITHOUT_HEADER))
    for words in (
        ("addr", "add", f"{address}/24", "dev", "line0"),
        ("link", "set", "line0", "up", "mtu", str(MTU)),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run(["ip", *words], check=True)
    return end


def _carries_data(packet: bytes) -> bool:
    """Whether it is a TCP segment with at least one byte."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != TCP:
        return False
    head = 4 * (packet[0] & 15)
    return int.from_bytes(packet[2:4]) > head + 4 * (packet[head + 12] >> 4)
