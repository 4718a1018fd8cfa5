"""Cards on which INITIALIZE UPDATE alone costs an attempt, until an EXTERNAL AUTHENTICATE succeeds: what was spent.

Each one is written down before it leaves, so a card that is pulled before EXTERNAL AUTHENTICATE has been counted. The
host spends at most half of what the card allows; the other half is for what a restored store has forgotten. One
terminal spends at most half of that, and no more is counted for it, so that a stolen certificate alone cannot have a
card refused: not by many taps at the same moment either, of which none sees what the others are about to spend.
"""

from collections import Counter

from kioskd.rekey.profile import Profile
from kioskd.rekey.records import CardState, Intent, Receipt


def budget(profile: Profile) -> int:
    """How often the host may greet one key set in a row without opening a session."""
    return (profile.greeting_tries - 1) // 2


def share(profile: Profile) -> int:
    """How much of that one terminal may spend."""
    return max(1, budget(profile) // 2)


def spent(profile: Profile, state: CardState, kvn: int, terminal: str = "") -> int:
    """How often the set at `kvn` may have been greeted since it last opened or was put; by one terminal alone if named.

    Never less than the card has counted: what is not known to have stayed away counts as done.
    """
    since = _since(state, kvn)
    told = Counter(one.terminal for one in state.greeted if one.kvn == kvn and one.after >= since)
    if terminal:
        return told[terminal]
    alone = sum(min(one, share(profile)) for one in told.values())
    closing = [one for one in state.intents if one.number >= since and one.number > state.granted and _greets(one, kvn)]
    on_new = sum(one.put_kvn == kvn for one in closing)
    return alone + len(closing) - on_new + min(on_new, 1)  # a set that was put again starts anew


def allows(profile: Profile, state: CardState, kvn: int, terminal: str = "") -> bool:
    """Whether the set may be greeted once more, by that terminal if one is named."""
    if not profile.greeting_tries:
        return True
    ours = not terminal or spent(profile, state, kvn, terminal) < share(profile)
    return ours and spent(profile, state, kvn) < budget(profile)


def _since(state: CardState, kvn: int) -> int:
    """The newest script that opened a session of that set, or whose receipt shows that it put it."""
    return max((one.number for one in state.intents if _begins_anew(state, one, kvn)), default=-1)


def _begins_anew(state: CardState, intent: Intent, kvn: int) -> bool:
    found = state.found.get(intent.number)
    if found is None:
        return False
    put = intent.put_kvn == kvn and found.receipt in (Receipt.MATCH, Receipt.TOLD)
    return put or (intent.opened.kvn == kvn and found.opened)


def _greets(intent: Intent, kvn: int) -> bool:
    return any(one.kvn == kvn for one in intent.greetings)
