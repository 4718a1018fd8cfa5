"""Virtual time: tasks that sleep, wait for messages and die, one at a time and always in the same order.

A task is a coroutine. What it awaits is either `Sleep` or a `Mailbox`; nothing else ever stops it. Time is whole
milliseconds and moves only when nothing is left to do before the next moment.
"""

import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Died(BaseException):
    """The process that this task belongs to is gone. Not an Exception: nothing may catch it and go on."""


class Sleep:
    """Waits for so many milliseconds."""

    __slots__ = ("ms",)

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __await__(self) -> Generator["Sleep", Any, None]:
        yield self


class Mailbox:
    """Messages for one task, in the order in which they came."""

    __slots__ = ("_items", "_patience_ms", "_scheduler", "_waiter")

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()
        self._waiter: Task | None = None
        self._patience_ms = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Any) -> None:
        """Adds one; wakes who waits."""
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            self._scheduler.wake(waiter, 0, item)
        else:
            self._items.append(item)

    def get(self, patience_ms: int) -> "Mailbox":
        """To be awaited: the next item, or None if none comes in time."""
        self._patience_ms = patience_ms
        return self

    def __await__(self) -> Generator["Mailbox", Any, Any]:
        if self._items:
            return self._items.popleft()
        item = yield self
        self._waiter = None
        return item

    def park(self, task: "Task") -> int:
        """Notes who waits; for how long."""
        self._waiter = task
        return self._patience_ms


class Task:
    """One coroutine that is under way."""

    __slots__ = ("coroutine", "over", "turn")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.over = False
        self.turn = 0  # what was planned for an earlier turn does not happen any more


class Scheduler:
    """All tasks of one world."""

    def __init__(self) -> None:
        self.now = 0  # milliseconds
        self._plan: list[tuple[int, int, Task | Callable[[], None], int, Any]] = []
        self._count = 0
        self._running: Task | None = None
        self._alive: dict[int, Task] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Begins a task, now."""
        task = Task(coroutine)
        self._alive[id(task)] = task
        self.wake(task, 0, None)
        return task

    def wake(self, task: Task, after_ms: int, value: Any) -> None:
        """The task goes on with `value` after so many milliseconds, unless something else wakes it first."""
        task.turn += 1
        self._enter(after_ms, task, task.turn, value)

    def after(self, ms: int, call: Callable[[], None]) -> None:
        """Calls once, later."""
        self._enter(ms, call, 0, None)

    def _enter(self, ms: int, what: Task | Callable[[], None], turn: int, value: Any) -> None:
        self._count += 1
        heapq.heappush(self._plan, (self.now + ms, self._count, what, turn, value))

    def kill(self, task: Task) -> None:
        """Ends a task where it stands. A task cannot kill itself: it raises `Died`."""
        if task.over or task is self._running:
            return
        task.turn += 1
        self._end(task)
        try:
            task.coroutine.throw(Died())
        except (Died, StopIteration):
            pass
        finally:
            task.coroutine.close()

    def close(self) -> None:
        """Ends all that is still under way."""
        for task in tuple(self._alive.values()):
            self.kill(task)

    def _end(self, task: Task) -> None:
        task.over = True
        del self._alive[id(task)]

    def run(self) -> None:
        """Until nothing is planned any more."""
        while self._plan:
            at, _, what, turn, value = heapq.heappop(self._plan)
            if isinstance(what, Task):
                if what.over or what.turn != turn:
                    continue
                self.now = at
                self._step(what, value)
            else:
                self.now = at
                what()

    def _step(self, task: Task, value: Any) -> None:
        before, self._running = self._running, task
        try:
            wants = task.coroutine.send(value)
        except (StopIteration, Died):
            self._end(task)
            return
        except BaseException:
            self._end(task)
            raise
        finally:
            self._running = before
        self.wake(task, wants.ms if isinstance(wants, Sleep) else wants.park(task), None)
