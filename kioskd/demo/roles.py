"""The roles as processes: started by their own command lines, watched through their status sockets."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.edges.local_http import ask_local
from kioskd.errors import KioskError, ServerDown

START_S = 20.0


class StageFailed(KioskError):
    """A part of the installation did not do what it must; the text says which and what it printed."""


@dataclass(slots=True)
class Roles:
    """The processes of one installation, by name; each logs to log/NAME.log in its folder."""

    folder: Path
    environment: Mapping[str, str]
    _processes: dict[str, subprocess.Popen[bytes]] = field(init=False, default_factory=dict)

    def run(self, *args: str) -> str:
        """`kioskd ARGS`; what it printed, or `StageFailed`."""
        done = subprocess.run([sys.executable, "-m", "kioskd", *args], capture_output=True, text=True, check=False)
        if done.returncode:
            raise StageFailed(f"kioskd {' '.join(args[:2])}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def start(self, name: str, *args: str) -> None:
        """Starts a role in the background and waits until its status socket answers."""
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"}
        with self.log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "kioskd", *args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self.until(lambda: self.status(name) is not None, f"{name} does not start", START_S, alive=name)

    def stop(self, name: str) -> None:
        """Ends a role, with force if it does not end by itself."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        """Ends a role as a power cut does."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def pid(self, name: str) -> int:
        """A role's process."""
        return self._processes[name].pid

    def status(self, name: str) -> dict[str, Any] | None:
        """What a role's status socket answers; None if nobody does."""
        try:
            told: dict[str, Any] = asyncio.run(ask_local(self.folder / f"{name}.sock", "GET", "/status"))
        except ServerDown:
            return None
        return told

    def until(self, true: Callable[[], bool], otherwise: str, patience_s: float, alive: str = "") -> None:
        """Waits for something to become true, for a bounded time; `StageFailed` with the log's end otherwise."""
        end = time.monotonic() + patience_s
        while not true():
            dead = alive and self._processes[alive].poll() is not None
            if dead or time.monotonic() > end:
                said = self.log(alive).read_text()[-800:] if alive and self.log(alive).exists() else ""
                raise StageFailed(f"{otherwise}\n{said}".strip())
            time.sleep(0.02)

    def stop_all(self) -> None:
        """Ends every role."""
        for name in list(self._processes):
            self.stop(name)

    def log(self, name: str) -> Path:
        """What a role printed."""
        return self.folder / "log" / f"{name}.log"
