"""Faults as wrappers around whoever answers: the engine, the relay and the edges have no hooks for them.

Every call of a wrapped port is a point. A run is cut before or after the n-th point, or a reply is bent by a liar.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar, cast

P = TypeVar("P")


class When(StrEnum):
    """On which side of a point a run is cut: before it happens, or after it happened but before anyone knows."""

    BEFORE = "before"
    AFTER = "after"


class PowerCut(BaseException):
    """The process dies here. Not an Exception: nothing may catch it and go on."""


@dataclass(slots=True)
class Faults:
    """One schedule over all ports that it wraps; `points` names what was reached, in order."""

    cut_at: int | None = None  # counted from 0
    when: When = When.BEFORE
    error: Callable[[], BaseException] = PowerCut
    bend: Callable[[str, Any], Any] | None = None  # (name of the call, reply) -> reply
    points: list[str] = field(default_factory=list)
    dead: bool = False

    def wrap(self, port: P, *names: str) -> P:
        """The port with the named methods under this schedule; all others pass."""
        return cast(P, _Wrapped(self, port, frozenset(names)))

    def before(self, name: str) -> int:
        """Enters a point; raises if the run is cut before it, or was cut already."""
        if self.dead:
            raise self.error()
        self.points.append(name)
        here = len(self.points) - 1
        if here == self.cut_at and self.when is When.BEFORE:
            self.dead = True
            raise self.error()
        return here

    def after(self, here: int, name: str, reply: Any) -> Any:
        """Leaves a point with its reply; raises if the run is cut after it."""
        if here == self.cut_at and self.when is When.AFTER:
            self.dead = True
            raise self.error()
        return reply if self.bend is None else self.bend(name, reply)


class _Wrapped:
    """A port that asks its schedule first."""

    def __init__(self, faults: Faults, port: Any, names: frozenset[str]) -> None:
        self._faults = faults
        self._port = port
        self._names = names

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._port, name)
        if name not in self._names:
            return inner
        if inspect.iscoroutinefunction(inner):
            return self._awaited(name, inner)
        return self._called(name, inner)

    def _called(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            here = self._faults.before(name)
            return self._faults.after(here, name, inner(*args, **kwargs))

        return call

    def _awaited(self, name: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            here = self._faults.before(name)
            return self._faults.after(here, name, await inner(*args, **kwargs))

        return call
