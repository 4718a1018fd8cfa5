"""The executive's three commands and its state object, of cards whose KRK set has an unlock key.

They are ours, not GlobalPlatform's; docs/decisions/011-the-executive.md fixes the bytes. They need a secure channel.

    SEAL     84 5A 00 00                    ends the dormant state, for ever
    UNLOCK   84 5C 00 00 | key under DEK    in a session of a set that has an unlock key; volatile
    RELOCK   84 5E 00 00
    state    GET DATA DF20: DF20 01 | 00 dormant, 01 sealed, 02 unlocked
"""

from enum import IntEnum

from kioskd.errors import Malformed
from kioskd.gp.apdu import INS, CommandAPDU
from kioskd.gp.tlv import parse_one

STATE_TAG = 0xDF20
UNLOCK_KID = 4


class ExecutiveState(IntEnum):
    """What the state object says."""

    DORMANT = 0x00
    SEALED = 0x01
    UNLOCKED = 0x02


def seal() -> CommandAPDU:
    """From now on key commands need the unlocked state."""
    return CommandAPDU(0x80, INS.SEAL, 0x00, 0x00)


def unlock(wrapped: bytes) -> CommandAPDU:
    """The unlock key of the session's set, under that set's data encryption key."""
    return CommandAPDU(0x80, INS.UNLOCK, 0x00, 0x00, wrapped)


def relock() -> CommandAPDU:
    """Ends the unlocked state, as a reset does."""
    return CommandAPDU(0x80, INS.RELOCK, 0x00, 0x00)


def read_state(data: bytes) -> ExecutiveState:
    """The state of a GET DATA answer; `Malformed` for anything else."""
    value = parse_one(data, STATE_TAG).value
    try:
        return ExecutiveState(int.from_bytes(value)) if len(value) == 1 else _unknown()
    except ValueError:
        return _unknown()


def _unknown() -> ExecutiveState:
    raise Malformed("executive: not a state")
