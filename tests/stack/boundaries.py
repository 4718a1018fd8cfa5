"""Every call of a journal, a store or a batch's file in a running role, as a place where something may strike.

Found by looking at the shipped classes, not listed by hand: each public coroutine has a boundary `before` and one
`after`, and one `uncommitted` if it writes, between its writing and its commit. A boundary's name tells who calls.

What strikes is read from a plan beside the role's log: the role goes on unchanged until then.
"""

import contextvars
import inspect
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from kioskd.edges.batch_file import BatchFile
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.kms.transcript_file import TranscriptFile
from kioskd.virtual.sealed import SealedFile

PORTS: dict[str, type[Any]] = {"journal": SqliteJournal, "store": SqlStore, "batch": BatchFile}
FILES: dict[str, type[Any]] = {"transcript": TranscriptFile, "vault": SealedFile}
"""What commands write besides: their plain methods, and each wait for the disk."""

_IN_WORKER = {"journal": "_work", "store": "run"}
"""The method that hands a transaction to the port's worker."""

NOT_CALLS = frozenset({"close"})
KILL, FILL = "kill", "fill"

_here: contextvars.ContextVar[str] = contextvars.ContextVar("boundary", default="")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen where; `at` is a boundary with its count, empty: only the names are noted."""

    name: str
    at: str = ""
    act: str = KILL
    where: str = ""  # for FILL: the file that takes what room there is

    def write(self, path: Path) -> None:
        """Puts the plan where the role looks; it counts from now on."""
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(json.dumps({"name": self.name, "at": self.at, "act": self.act, "where": self.where}))
        fresh.replace(path)


def calls(port: str) -> tuple[str, ...]:
    """The public coroutines of a port's class."""
    found = inspect.getmembers(PORTS[port], inspect.iscoroutinefunction)
    return tuple(name for name, _ in found if not name.startswith("_") and name not in NOT_CALLS)


def file_calls(port: str) -> tuple[str, ...]:
    """The public methods of a file's class."""
    found = inspect.getmembers(FILES[port], inspect.isfunction)
    return tuple(name for name, _ in found if not name.startswith("_"))


class Boundaries:
    """Notes each boundary that is met, and strikes at the one of the plan."""

    def __init__(self, plan: Path, trace: Path) -> None:
        self._plan, self._trace = plan, trace
        self._lock = threading.Lock()
        self._read = ""
        self._present: Plan | None = None
        self._met: Counter[str] = Counter()

    def install(self) -> None:
        """From now on, every call of every port meets its boundaries."""
        for port, kind in PORTS.items():
            if port in _IN_WORKER:
                inner = getattr(kind, _IN_WORKER[port])
                setattr(kind, _IN_WORKER[port], self._before_commit(inner))
            for name in calls(port):
                setattr(kind, name, self._bounded(port, name, getattr(kind, name)))

    def install_files(self) -> None:
        """The same for what a command writes into files."""
        for port, kind in FILES.items():
            for name in file_calls(port):
                setattr(kind, name, self._plainly(f"{port}.{name}", getattr(kind, name)))
        os.fsync = self._plainly("disk.fsync", os.fsync)

    def meet(self, moment: str, name: str) -> None:
        """One boundary; it may be the last thing that this process does."""
        with self._lock:
            plan = self._plan_now()
            if plan is None:
                return
            name = f"{moment} {name}"
            self._met[name] += 1
            met = f"{name} #{self._met[name]}"
            with self._trace.open("a", encoding="utf-8") as trace:
                trace.write(f"{plan.name}\t{met}\n")
            if met == plan.at:
                _strike(plan)

    def _plan_now(self) -> Plan | None:
        try:
            text = self._plan.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        if text != self._read:
            self._read, self._present = text, Plan(**json.loads(text))
            self._met = self._met_before(self._present.name)
        return self._present

    def _met_before(self, plan: str) -> Counter[str]:
        """What other processes of this name have met under the same plan: one command after the other."""
        if not self._trace.exists():
            return Counter()
        lines = (line.partition("\t") for line in self._trace.read_text(encoding="utf-8").splitlines())
        return Counter(met.rpartition(" #")[0] for name, _, met in lines if name == plan)

    def _bounded(self, port: str, method: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            frame = sys._getframe(1)
            if frame.f_globals["__name__"] == PORTS[port].__module__:
                return await inner(*args, **kwargs)
            name = f"{port}.{method}{_record(args[1:])} by {_caller(frame)}"
            token = _here.set(name)
            try:
                self.meet("before", name)
                reply = await inner(*args, **kwargs)
                self.meet("after", name)
            finally:
                _here.reset(token)
            return reply

        return call

    def _plainly(self, what: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            name = f"{what} by {_caller(sys._getframe(1))}"
            self.meet("before", name)
            reply = inner(*args, **kwargs)
            self.meet("after", name)
            return reply

        return call

    def _before_commit(self, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(port: Any, job: Callable[..., Any], *how: Any, **more: Any) -> Any:
            name = _here.get()

            def done(*args: Any) -> Any:
                result = job(*args)
                writes = how == (BEGIN_WRITING,) or (not args and port._connection.in_transaction)
                if name and writes:
                    self.meet("uncommitted", name)
                return result

            return await inner(port, done, *how, **more)

        return call


def _caller(frame: FrameType) -> str:
    return f"{frame.f_globals['__name__'].removeprefix('kioskd.')}.{frame.f_code.co_qualname}"


def _record(args: tuple[Any, ...]) -> str:
    """The kind of record that is written, or the state of a batch's row."""
    for one in args:
        kind = type(one)
        if kind.__module__ == "kioskd.rekey.records":
            return f"({kind.__name__})"
        if hasattr(one, "state"):
            return f"({one.state})"
    return ""


def _strike(plan: Plan) -> None:
    if plan.act == FILL:
        _fill(Path(plan.where))
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _fill(path: Path) -> None:
    """Takes all the room of a disk, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
