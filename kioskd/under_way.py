"""What a server is in the midst of: counted, told, and waited for when it is to stop."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class UnderWay:
    """So many pieces of work; `on_change` hears whenever their number or `draining` changes."""

    count: int = 0
    draining: bool = False  # nothing new is to be begun
    on_change: Callable[[], None] = lambda: None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One more, as long as the context lasts."""
        self.count += 1
        self.on_change()
        try:
            yield
        finally:
            self.count -= 1
            self._ended.set()
            self.on_change()

    async def drain(self, patience_s: float) -> None:
        """Lets nothing new begin, and waits until nothing is under way, for at most that many seconds."""
        self.draining = True
        self.on_change()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self.count:
                    self._ended.clear()
                    await self._ended.wait()
