"""Who follows a terminal's work from reader to reader: nobody at a kiosk, the batch at an issuing station."""

from typing import TYPE_CHECKING, Any, Protocol

from kioskd.ports import ReaderState

if TYPE_CHECKING:
    from kioskd.terminal.tap import TapRecord  # which holds an observer


class Observer(Protocol):
    """Hears of readers and taps, may turn a card away, may end the terminal's work."""

    def reader(self, name: str, state: ReaderState) -> None:
        """A reader has changed; no name: DOWN, there is no daemon, or GONE, there is no reader."""
        ...

    def admits(self, reader: str, tap: str) -> bool:
        """Whether the card that has arrived in a reader may be tapped; `ends` follows if so."""
        ...

    async def begins(self, tap: "TapRecord") -> None:
        """The tap's card may be changed from now on; durable when it returns. `JournalFailed`: it must not be."""
        ...

    async def ends(self, tap: "TapRecord") -> bool:
        """A tap has ended; True if it was the last one that this terminal is for."""
        ...

    def tell(self) -> dict[str, Any]:
        """What it adds to the terminal's status."""
        ...


class Nobody:
    """Admits every card and never has enough."""

    def reader(self, name: str, state: ReaderState) -> None:
        """Does nothing."""

    def admits(self, reader: str, tap: str) -> bool:
        """Always."""
        return True

    async def begins(self, tap: "TapRecord") -> None:
        """Does nothing."""

    async def ends(self, tap: "TapRecord") -> bool:
        """Never the last."""
        return False

    def tell(self) -> dict[str, Any]:
        """Nothing."""
        return {}
