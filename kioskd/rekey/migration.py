"""From 3DES to AES: a replacement puts an AES master set on a card whose profile says that it takes one.

Each master reference on record says what its keys are for, so that an old one is never computed as a new one. The KRK
stays what it was, and so does the session that every replacement runs in.

A card that answers PUT KEY of an AES set with an error, in both layouts, gets a 3DES set of the new generation: it is
never left without a master set. A card that has ever proven an AES set gets no other any more, whatever is said of it.
"""

from kioskd.errors import TapEnds
from kioskd.gp.isd import SCP03
from kioskd.rekey.labels import KeyKind
from kioskd.rekey.profile import Profile
from kioskd.rekey.records import CardState, MasterRef

REFUSALS = 2
"""How often a card may refuse an AES set, once in each layout, before it gets a 3DES set."""


def kind_to_put(profile: Profile, state: CardState) -> KeyKind | None:
    """Of the next master set; None: what the card was issued with. `TapEnds` before a card would go back to 3DES."""
    if profile.migrates is None:
        if any(one.kind is not None for one in state.masters):
            raise TapEnds("card-unfit", f"it has an AES master set, and its profile {profile.name} has no `migrates`")
        return None
    if declined(state) >= REFUSALS and not _has_taken_one(state):
        return None
    return profile.migrates.kind


def declined(state: CardState) -> int:
    """How many AES sets the card has refused in the open case."""
    since = (one for one in state.intents if one.number > state.settled and one.number in state.found)
    return sum(state.found[one.number].declined for one in since)


def is_not_migrated(profile: Profile, master: MasterRef) -> bool:
    """Whether a card that was to have an AES set was left with the other kind."""
    return profile.migrates is not None and master.kind is None


def spoken(profile: Profile, state: CardState, kvn: int) -> frozenset[int]:
    """The secure channel protocols of the sets that may be at a key version number."""
    masters = () if profile.is_krk(kvn) else state.masters_at(kvn)
    return frozenset(profile.scp if one.kind is None else SCP03 for one in masters) or frozenset((profile.scp,))


def _has_taken_one(state: CardState) -> bool:
    proven = (one.proven_master for one in state.found.values())
    known = (*proven, state.closed.master if state.closed is not None else None)
    return any(one is not None and one.kind is not None for one in known)
