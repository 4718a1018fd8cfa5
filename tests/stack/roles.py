"""The processes of the house: started from the nursery, killed by whoever likes, started anew as systemd does."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from kioskd.demo.roles import StageFailed
from tests.stack.boundaries import Plan
from tests.stack.nursery import EXIT

PATIENCE_S = 60.0
LOOK_S = 0.02
READY = {"access": "access server is ready", "kiosk": "kiosk is ready", "station": "station is ready"}
TAP_ENDED = re.compile(r"tap [0-9a-f]{8}: ([a-z-]+) in \d+ ms$", re.MULTILINE)
AS_SYSTEMD = {"WATCHDOG_USEC": str(600 * 10**6)}
"""The watchdog asks each part at once, and then so seldom that no case sees it again."""


@dataclass(slots=True)
class Role:
    """One running process and what it has said since its start."""

    name: str
    pid: int
    log: Path
    _watch: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        try:
            self._watch = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._watch = -1

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._watch >= 0 and not select.select([self._watch], [], [], 0)[0]

    def end(self, how: signal.Signals) -> None:
        """Sends a signal and waits for the end."""
        if self.alive:
            signal.pidfd_send_signal(self._watch, how)
            if not select.select([self._watch], [], [], 30.0)[0]:
                signal.pidfd_send_signal(self._watch, signal.SIGKILL)
                if not select.select([self._watch], [], [], 30.0)[0]:
                    raise StageFailed(f"{self.name} ({self.pid}) does not die")
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1

    def said(self) -> str:
        """Its log since its start."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    @property
    def code(self) -> int | None:
        """The exit code that it told; None if it was killed."""
        last = self.said().rpartition(EXIT)
        return int(last[2]) if last[1] else None

    def outcomes(self) -> list[str]:
        """How its taps have ended."""
        return TAP_ENDED.findall(self.said())


@dataclass(slots=True)
class Nursery:
    """The nursery's process and the roles that came out of it, by name."""

    folder: Path
    environment: Mapping[str, str]
    present: dict[str, Role] = field(init=False, default_factory=dict)
    starts: int = field(init=False, default=0)
    _process: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment, "PYTHONUNBUFFERED": "1", **AS_SYSTEMD},
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise StageFailed("the nursery does not start")
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.present.values():
            role.end(signal.SIGKILL)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The nursery's process."""
        return self._process.pid

    def start(self, name: str, *args: str, network: str = "") -> Role:
        """Starts a role and waits until it says that it is ready."""
        role = self.present[name] = self._born(name, args, network, command=False)
        until(lambda: READY[name] in role.said() or not role.alive, f"{name} does not start", role)
        return role

    def run(self, name: str, *args: str) -> Role:
        """Runs a command until it ends, one way or another."""
        role = self._born(name, args, "", command=True)
        until(lambda: not role.alive, f"{name} does not end", role)
        return role

    def _born(self, name: str, args: tuple[str, ...], network: str, *, command: bool) -> Role:
        self.starts += 1
        log = self.folder / "log" / f"{name}-{self.starts}.log"
        order = {"args": args, "log": str(log), "network": network, "command": command}
        order |= {"plan": str(self.plan(name)), "trace": str(self.trace(name))}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Role(name, int(self._process.stdout.readline()), log)

    def stop(self, name: str) -> None:
        """Ends a role as its service manager does, and forgets its log."""
        role = self.present.pop(name, None)
        if role is not None:
            role.end(signal.SIGTERM)
            role.log.unlink(missing_ok=True)

    def plan(self, name: str) -> Path:
        """Where a role looks for its plan."""
        return self.folder / f"{name}.plan"

    def trace(self, name: str) -> Path:
        """Where a role notes the boundaries that it meets."""
        return self.folder / f"{name}.trace"

    def arm(self, name: str, plan: Plan | None) -> None:
        """Gives a role a plan, and an empty trace."""
        self.trace(name).unlink(missing_ok=True)
        if plan is None:
            self.plan(name).unlink(missing_ok=True)
        else:
            plan.write(self.plan(name))

    def met(self, name: str) -> list[str]:
        """The boundaries that a role has met since it was armed, in order."""
        trace = self.trace(name)
        lines = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
        return [line.partition("\t")[2] for line in lines]


def until(true: Callable[[], bool], otherwise: str, role: Role | None = None, patience_s: float = PATIENCE_S) -> None:
    """Waits for something; `StageFailed` if it does not come, with what the role said last."""
    end = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > end:
            said = role.said()[-1500:] if role is not None else ""
            raise StageFailed(f"{otherwise}\n{said}".strip())
        time.sleep(LOOK_S)
