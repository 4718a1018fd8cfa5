"""`adopt`: a card that was issued elsewhere, and whose master set is known, gets a KRK beside it, in the field.

The KRK travels under the master set: whoever records the tap and learns the master set later reads it. The card is
recorded as `master-bound`, so that operators see it; a campaign replaces its master set like any other, and reissuing
it is the only way to a KRK that never hung on a leaked key. Its master set counts as generation 0.

An attempt whose report was lost is made again: the earlier KRK is deleted and a fresh one put, so that each case closes
on the card's own cryptogram.
"""

from kioskd.errors import TapEnds
from kioskd.rekey.asks import Conversation, MintKRK, Recall, Remember
from kioskd.rekey.issue import Target, registration
from kioskd.rekey.profile import Operation
from kioskd.rekey.records import CardState, Found, Purpose, Registered, fold
from kioskd.rekey.replace import conclude
from kioskd.rekey.script import Desk, Plan, check_fit, factory_set, greet, run, verify

PASSES = 2


def adopt(desk: Desk, target: Target) -> Conversation[str]:
    """Adopts the card; the outcome's name."""
    check_fit(desk, Operation.ADOPT)
    for _ in range(PASSES):
        state = fold((yield from Recall()))
        if state.issued:
            return "adopted"
        yield from _put(desk, state, target)
    return "adopted" if fold((yield from Recall())).issued else "not-finished"


def _put(desk: Desk, state: CardState, target: Target) -> Conversation[Found]:
    """One script under the known master set: a KRK, the key information, both sets proven."""
    profile = desk.subject.profile
    opened = yield from greet(desk, state, profile.adopts_kvn)
    session = yield from verify(opened, (factory_set(profile.adopts, opened),))
    if state.registered is None:
        registered = _registration(desk, target)
        yield from Remember(registered)
        state = fold((registered,), state)
    label = desk.subject.krk_label(target.epoch, state.next_install, profile.krk_kvn)
    handle, cryptogram = yield from MintKRK(label)
    plan = Plan(
        Purpose.ADOPT,
        deletes=tuple(dict.fromkeys(one.kvn for one in state.krks)),
        new=handle,
        cryptogram=cryptogram,
        read_keys=True,
        greets=(profile.krk_kvn, profile.adopts_kvn),
    )
    state, found, _ = yield from run(desk, state, session, plan)
    if found.proven_krk is not None:
        yield from conclude(desk.subject, state, found, Purpose.ADOPT, 0)
    return found


def _registration(desk: Desk, target: Target) -> Registered:
    """The card with its foreign master set; `TapEnds` if that is not of the kind that the profile says."""
    profile, information = desk.subject.profile, target.key_information
    known = registration(desk, target, profile.adopts_kvn, (profile.adopts, profile.adopts_kvn))
    if information is None or information.entries_of(profile.adopts_kvn) != profile.entries(profile.adopts_kvn):
        raise TapEnds("card-unfit", f"KVN {profile.adopts_kvn:02X} holds keys of another kind than the profile says")
    return known
