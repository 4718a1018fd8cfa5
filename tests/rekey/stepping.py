"""One conversation, stepped by hand: it stops at every point, and a test may cut it there."""

import contextlib
from collections.abc import Coroutine
from typing import Any

from kioskd.errors import KioskError, TapEnds


class Talk:
    """One conversation, stepped; each step goes to the next point."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.points: list[str] = []
        self.result: Any = None
        self.over = False

    def __del__(self) -> None:
        if not self.over:
            self.cut()

    def step(self) -> bool:
        """Goes on to the next point; False if it has ended."""
        if self.over:
            return False
        try:
            self.points.append(self._coroutine.send(None))
        except StopIteration as end:
            self.result, self.over = end.value, True
        except TapEnds as end:
            self.result, self.over = end.name, True
        except KioskError as wrong:
            self.result, self.over = wrong.outcome, True
        return not self.over

    def steps(self, count: int) -> None:
        """So many steps."""
        for _ in range(count):
            self.step()

    def finish(self) -> Any:
        """To the end; its result."""
        while self.step():
            pass
        return self.result

    def cut(self) -> None:
        """Both ends die here."""
        self.over = True
        for _ in range(3):
            with contextlib.suppress(RuntimeError):  # it tried to forget its key sets first
                self._coroutine.close()
