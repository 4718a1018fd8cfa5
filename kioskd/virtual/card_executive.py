"""The virtual card's executive: dormant until SEAL; afterwards key commands need the unlock key of the session's set.

Unlocked is volatile: reset, SELECT, INITIALIZE UPDATE and RELOCK end it. The bytes are those of `gp/executive.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from hmac import compare_digest

from kioskd.gp.apdu import SW, CommandAPDU
from kioskd.gp.executive import ExecutiveState
from kioskd.gp.isd import DES_TYPE
from kioskd.gp.keys import BLOCK_BYTES
from kioskd.virtual.card_memory import CardMemory, StoredSet


def state_of(memory: CardMemory, *, unlocked: bool) -> ExecutiveState:
    """What the state object says."""
    if not memory.sealed:
        return ExecutiveState.DORMANT
    return ExecutiveState.UNLOCKED if unlocked else ExecutiveState.SEALED


def sealed(memory: CardMemory, command: CommandAPDU) -> tuple[CardMemory, SW]:
    """SEAL: for ever, and only with a set on the card that can unlock it again."""
    if (command.p1, command.p2) != (0, 0) or command.data:
        return memory, SW.INCORRECT_P1P2
    if memory.sealed or not any(one.unlock for one in memory.sets):
        return memory, SW.CONDITIONS_NOT_SATISFIED
    return replace(memory, sealed=True), SW.OK


def unlocks(
    memory: CardMemory, stored: StoredSet | None, open_key: Callable[[bytes], bytes], command: CommandAPDU
) -> SW:
    """UNLOCK: whether the value that came is the unlock key of the session's set."""
    if (command.p1, command.p2) != (0, 0):
        return SW.INCORRECT_P1P2
    if not memory.sealed or stored is None or not stored.unlock:
        return SW.CONDITIONS_NOT_SATISFIED
    if not command.data or len(command.data) % BLOCK_BYTES:
        return SW.WRONG_DATA
    value, known = (_meant(stored, one) for one in (open_key(command.data)[: len(stored.unlock)], stored.unlock))
    return SW.OK if compare_digest(value, known) else SW.SECURITY_STATUS_NOT_SATISFIED


def _meant(stored: StoredSet, value: bytes) -> bytes:
    """What counts of a key: all of it, or in a 3DES set all but the parity bits, which tokens set."""
    return bytes(one & ~1 for one in value) if stored.kind == DES_TYPE else value
