"""A recorded card, played again: a virtual card that answers with the recorded card's status words.

The trace holds no data, so the virtual card computes it; what the recorded card refused is refused again, and any
command that differs from the record in header or length ends the replay.
"""

from collections.abc import Iterable

from kioskd.errors import KioskError
from kioskd.rekey.trace import TracedCommand, traced
from kioskd.virtual.card import VirtualCard


class ReplayDiffers(KioskError):
    """The conversation is not the recorded one."""


class ReplayedCard:
    """A `Card` that plays a trace."""

    def __init__(self, card: VirtualCard, trace: Iterable[TracedCommand]) -> None:
        self._card = card
        self._trace = list(trace)
        self.played = 0

    @property
    def atr(self) -> bytes:
        """The card's answer to reset."""
        return self._card.atr

    async def transmit(self, command: bytes) -> bytes | None:
        """The answer, with the recorded status word; `ReplayDiffers` for another command than the recorded one."""
        if self.played == len(self._trace):
            raise ReplayDiffers(f"command {self.played + 1}: the record ends before it")
        recorded = self._trace[self.played]
        now = traced(command, None, 0)
        self.played += 1
        if (now.header, now.length) != (recorded.header, recorded.length):
            raise ReplayDiffers(
                f"command {self.played}: {now.header.hex().upper()} with {now.length} bytes, "
                f"recorded was {recorded.header.hex().upper()} with {recorded.length}"
            )
        if recorded.sw == 0:
            self._card.reset()
            return None
        if recorded.sw != 0x9000 and recorded.answered == 0:
            return recorded.sw.to_bytes(2)  # the recorded card refused it, so it had no effect
        answer = self._card.transmit(command)
        if int.from_bytes(answer[-2:]) != recorded.sw or len(answer) - 2 != recorded.answered:
            raise ReplayDiffers(f"command {self.played}: the virtual card cannot answer as the recorded one did")
        return answer

    async def close(self) -> None:
        """The end of the connection."""
        self._card.reset()
