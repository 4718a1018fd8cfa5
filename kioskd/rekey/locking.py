"""Unlocking and relocking, three ways: which commands a profile's mode needs, and what its answers show.

    session     none: a session under the KRK is unlocked, the INITIALIZE UPDATE that ends it relocks
    lifecycle   SET STATUS to SECURED, ..., SET STATUS to the resting state, GET STATUS
    executive   UNLOCK, ..., RELOCK, GET DATA DF20; SEAL once, at the end of the issuance

A card refuses SET STATUS to the state that it is in, and RELOCK when it is locked: these accept any status word, and
what is read afterwards under response MAC decides.
"""

from kioskd.errors import Malformed
from kioskd.gp.apdu import CommandAPDU
from kioskd.gp.executive import STATE_TAG, ExecutiveState, read_state, relock, seal
from kioskd.gp.isd import get_data, get_status_isd, set_status
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.tlv import find, parse
from kioskd.rekey.profile import Lock, Profile

_LIFE_CYCLE = 0x9F70


def lock_command(profile: Profile, *, sealing: bool) -> CommandAPDU | None:
    """What locks the card again, or for the first time; None if nothing is to be sent."""
    match profile.lock:
        case Lock.LIFECYCLE if profile.rests is LifeCycle.CARD_LOCKED:
            return set_status(LifeCycle.CARD_LOCKED)
        case Lock.EXECUTIVE:
            return seal() if sealing else relock()
    return None


def state_command(profile: Profile) -> CommandAPDU | None:
    """What reads whether the card is locked; None where the session is the lock."""
    match profile.lock:
        case Lock.LIFECYCLE:
            return get_status_isd()
        case Lock.EXECUTIVE:
            return get_data(STATE_TAG)
    return None


def shows_locked(profile: Profile, data: bytes) -> bool:
    """Whether an authenticated answer to `state_command` shows the card as its profile wants it."""
    try:
        if profile.lock is Lock.EXECUTIVE:
            return read_state(data) is ExecutiveState.SEALED
        entry = find(parse(data), 0xE3)
        state = None if entry is None else find(entry.children(), _LIFE_CYCLE)
    except Malformed:
        return False
    return state is not None and state.value[:1] == bytes((profile.rests,))
