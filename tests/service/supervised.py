"""What systemd is to a service: it starts it, hears what it says, and would end it when the watchdog is not fed."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 90.0
FED = "WATCHDOG=1"


@dataclass(slots=True)
class Supervised:
    """One service under it, from `with` to its end; `heard` is every line that it said, and when."""

    folder: Path
    command: list[str]
    watchdog_s: float = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()  # what its command line begins with
    heard: list[tuple[float, str]] = field(init=False, default_factory=list)
    process: subprocess.Popen[bytes] = field(init=False)
    _socket: socket.socket = field(init=False)

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        place = self.folder / "notify"
        place.unlink(missing_ok=True)
        self._socket.bind(str(place))
        environment = {**os.environ, **self.environment, "NOTIFY_SOCKET": str(place)}
        if self.watchdog_s:
            environment["WATCHDOG_USEC"] = str(round(1_000_000 * self.watchdog_s))
        with self.log.open("wb") as log:
            command = [*self.inside, sys.executable, *self.command]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()

    @property
    def log(self) -> Path:
        """What the service printed."""
        return self.folder / "service.log"

    def statuses(self) -> list[str]:
        """Its STATUS texts so far."""
        return [line.removeprefix("STATUS=") for _, line in list(self.heard) if line.startswith("STATUS=")]

    def wait_until_ready(self) -> None:
        """Until READY=1."""
        self.until(lambda: "READY=1" in [line for _, line in list(self.heard)], "it never became ready")

    def wait_for_status(self, words: str) -> str:
        """Until a STATUS text with these words comes; the text."""
        self.until(lambda: any(words in one for one in self.statuses()), f"no status says {words!r}")
        return next(one for one in self.statuses() if words in one)

    def fed(self) -> int:
        """How often the watchdog was fed so far."""
        return sum(line == FED for _, line in list(self.heard))

    def longest_gap_s(self) -> float:
        """The longest that the watchdog had to wait, up to now."""
        times = [when for when, line in list(self.heard) if line in (FED, "READY=1")] + [time.monotonic()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def starves(self) -> bool:
        """Whether it comes to a time without feeding in which systemd ends a service."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            last = max((when for when, line in list(self.heard) if line == FED), default=0.0)
            if time.monotonic() - last > self.watchdog_s:
                return True
            time.sleep(0.05)
        return False

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Waits for it; it must come."""
        end = time.monotonic() + PATIENCE_S
        while not true():
            said = f"{otherwise}; it said {[line for _, line in self.heard][-5:]}"
            assert self.process.poll() is None and time.monotonic() < end, said + self.log.read_text()[-2000:]
            time.sleep(0.02)

    def stop(self) -> int:
        """Tells it to stop, as `systemctl stop` does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def _listen(self) -> None:
        while True:
            try:
                told = self._socket.recv(8192)
            except OSError:
                return
            now = time.monotonic()
            self.heard += [(now, line) for line in told.decode().splitlines()]
