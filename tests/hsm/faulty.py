"""A token whose calls fail from the n-th on, or once: in front of the real module, and behind it all is real."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_PLAIN = (bytes, bytearray, str, int, bool, float, type(None), tuple, list, dict)


@dataclass
class Fate:
    """When a call fails and how; it counts every call of session, keys and objects."""

    fail_at: int = -1  # counted from 0; -1: never
    error: Callable[[], Exception] = RuntimeError
    lasting: bool = True  # the token is gone from then on; False: only this call fails
    calls: list[str] = field(default_factory=list)

    def call(self, name: str, work: Callable[[], Any]) -> Any:
        """One call of the token."""
        here = len(self.calls)
        self.calls.append(name)
        due = here >= self.fail_at if self.lasting else here == self.fail_at
        if self.fail_at >= 0 and due:
            raise self.error()
        return self.wrapped(work())

    def wrapped(self, result: Any) -> Any:
        """Objects of the binding are watched, too."""
        return result if isinstance(result, (*_PLAIN, Watched)) else Watched(self, result)


class Watched:
    """A session, key or object of the binding, each of whose calls is counted and may fail."""

    def __init__(self, fate: Fate, real: Any) -> None:
        self._fate, self._real = fate, real

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if not callable(found):
            return found
        return lambda *args, **named: self._fate.call(
            name, lambda: found(*(bare(one) for one in args), **{key: bare(one) for key, one in named.items()})
        )

    def __getitem__(self, attribute: Any) -> Any:
        return self._fate.call("attribute", lambda: self._real[attribute])

    def __iter__(self) -> Iterator[Any]:
        for one in self._real:
            yield self._fate.wrapped(one)


def bare(value: Any) -> Any:
    """What the binding may be given."""
    return value._real if isinstance(value, Watched) else value
