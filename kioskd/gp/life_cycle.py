"""The card's life cycle (GPC 2.3.1, table 11-6)."""

from enum import IntEnum


class LifeCycle(IntEnum):
    """States of the card; SECURED is irreversible but for the way to CARD_LOCKED and back."""

    OP_READY = 0x01
    INITIALIZED = 0x07
    SECURED = 0x0F
    CARD_LOCKED = 0x7F
    TERMINATED = 0xFF
