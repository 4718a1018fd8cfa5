"""Which of the profiles a card is of: for a known card the one in its records, for another the first that matches."""

import re

from kioskd.errors import TapEnds
from kioskd.rekey.facts import Facts
from kioskd.rekey.profile import Match, Profile
from kioskd.rekey.records import Registered


def of_record(profiles: tuple[Profile, ...], registered: Registered) -> Profile:
    """The profile that a card was issued with; `TapEnds` if it is not here any more."""
    named = (one for one in profiles if registered.name and one.name == registered.name)
    alike = (one for one in profiles if not registered.name and one.derivation == registered.profile)
    found = next(named, None) or next(alike, None)
    if found is None:
        raise TapEnds("card-unfit", f"issued with the profile {registered.name or registered.profile}: it is not here")
    if found.derivation != registered.profile:
        raise TapEnds("card-unfit", f"the profile {found.name} has another derivation than the card was issued with")
    return found


def of_facts(profiles: tuple[Profile, ...], facts: Facts, atr: bytes) -> Profile:
    """The first profile that what the card says of itself fits; `TapEnds` if there is none."""
    for one in profiles:
        if fits(one.match, facts, atr):
            return one
    spoken = ", ".join(f"SCP{one.scp:02X} i={one.i.hex().upper()}" for one in facts.channels) or "no card data"
    raise TapEnds("card-unfit", f"no profile matches: ATR {atr.hex().upper() or 'unknown'}, {spoken}")


_NO_CARD = "00"
"""As an answer to reset no card begins: how a file says that somebody has to choose its cards first."""


def hidden(profiles: tuple[Profile, ...]) -> tuple[tuple[str, str], ...]:
    """(profile, the earlier one that takes all of its cards): no new card is ever of it."""
    found = []
    for at, one in enumerate(profiles):
        before = next((other for other in profiles[:at] if _takes_all(other.match, one.match)), None)
        if before is not None:
            found.append((one.name, before.name))
    return tuple(found)


def _takes_all(wide: Match, narrow: Match) -> bool:
    atr = wide.atr in ("", narrow.atr) and narrow.atr != _NO_CARD
    return atr and (not wide.scp or (wide.scp == narrow.scp and wide.i in (-1, narrow.i)))


def fits(match: Match, facts: Facts, atr: bytes) -> bool:
    """Whether every word of the match is true of the card."""
    if match.atr and not re.match(match.atr, atr.hex().upper()):
        return False
    if not match.scp:
        return True
    wanted = (one for one in facts.channels if one.scp == match.scp)
    return any(match.i < 0 or match.i in one.i for one in wanted)
