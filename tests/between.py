"""Something between a reader and a good card: it may change what passes; the rest is the card's."""

from dataclasses import dataclass

from kioskd.virtual.card import VirtualCard


@dataclass
class Between:
    """Looks like the card behind it; `transmit` says what is done to a command and its answer."""

    card: VirtualCard

    @property
    def atr(self) -> bytes:
        """The card's."""
        return self.card.atr

    def reset(self) -> None:
        """The card's."""
        self.card.reset()

    def transmit(self, raw: bytes) -> bytes:
        """The card's answer."""
        return self.card.transmit(raw)
