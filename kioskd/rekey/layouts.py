"""Which of PUT KEY's two layouts a card is sent: with the clear length before the ciphertext, or without it."""

from kioskd.rekey.labels import KeyKind
from kioskd.rekey.migration import declined
from kioskd.rekey.records import CardState, Found, Intent, Purpose, Receipt

BOTH_LAYOUTS = 2


def with_length(state: CardState, kind: KeyKind | None, wanted: bool) -> bool:
    """The layout that this card has taken for keys of that kind; else the one it has not refused; else the wanted one.

    `kind`: of a set that a migration puts; None: of the card's own.
    """
    tried = [(one, state.found.get(one.number)) for one in state.intents if one.put_kvn and _kind_of(one) == kind]
    taken = [one for one, found in tried if _is_taken(state, one, found)]
    if taken:
        return taken[-1].with_length
    if kind is not None:
        return wanted if not declined(state) else not wanted
    return wanted if wanted not in refused_layouts(state) else not wanted


def refused_layouts(state: CardState) -> frozenset[bool]:
    """The layouts of PUT KEY, with the clear length and without it, that it answered with 6A80 at the station.

    In the field that would be a terminal's word alone: one that lies could have the card refused for ever.
    """
    numbers = {number for number, found in state.found.items() if found.refused_put}
    station = (Purpose.ISSUE_MASTER, Purpose.ISSUE_KRK)
    return frozenset(one.with_length for one in state.intents if one.number in numbers and one.purpose in station)


def _is_taken(state: CardState, intent: Intent, found: Found | None) -> bool:
    """Whether the card has taken a script's set, in that script's layout.

    What a card without response MAC is said to have taken counts for its own kind, whose layout the station proved. For
    the sets of a migration one lie would have it sent the wrong layout for ever: there the card's cryptogram counts.
    """
    if found is not None and found.receipt is Receipt.MATCH:
        return True
    if _kind_of(intent) is not None:
        return any(one.proven_master == intent.master for one in state.found.values())
    return found is not None and found.receipt is Receipt.TOLD


def _kind_of(intent: Intent) -> KeyKind | None:
    return intent.master.kind if intent.master is not None else None
