"""`rotate`: under the old KRK, after the new master set is proven, the KRK is replaced by one of another epoch.

Arming an epoch gives its private key to the access server: from then on the KRKs of its cards can be computed there.
A rotated card has a KRK whose epoch is not armed, which nobody can compute again.

One PUT KEY takes the old set's place and gives the new one the other slot (GPC 2.3.1, 7.5.1), so that there is always
one of the two, and the proven master set opens the card whatever happens. The new KRK is proven while its handle
lives; if that is lost, the key information under response MAC says which of the two is there. A card that does not
change a key version number keeps its KRK, and is not asked again for that epoch.
"""

from kioskd.errors import TapEnds
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.asks import Conversation, MintKRK, Recall, RecoverKRK, Remember
from kioskd.rekey.evidence import Subject, expected_entries, is_locked
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.profile import Operation, Profile
from kioskd.rekey.records import CardState, Closed, Found, KrkProof, Purpose, Receipt, fold
from kioskd.rekey.script import Desk, Plan, Verified, greet, run, verify

PASSES = 3


def due(profile: Profile, state: CardState, epoch: int) -> bool:
    """Whether a card whose case is closed should get a KRK of that epoch: a later one, that it has not refused."""
    assert state.closed is not None
    if profile.refuses(Operation.ROTATE):
        return False
    tried = any(one.purpose is Purpose.ROTATE and _epoch_of(one.cryptogram) == epoch for one in state.intents)
    return not state.open and not tried and state.closed.krk.epoch < epoch


def rotate(desk: Desk, hearsay: KeyInformation | None, epoch: int | None) -> Conversation[str]:
    """Brings the card to a KRK of that epoch, or finishes a rotation that was begun; the outcome's name.

    Without an epoch, a rotation that did not happen is only proven not to have happened. `hearsay` is the card's key
    information, read in the clear.
    """
    begun = False
    for _ in range(PASSES):
        state = fold((yield from Recall()))
        if state.rotating is None and (begun or epoch is None or not due(desk.subject.profile, state, epoch)):
            return "done"
        begun = True
        found = yield from _rotate_once(desk, state, hearsay, epoch)
        if found.key_information is not None:
            hearsay = KeyInformation(found.key_information)
    return "done" if fold((yield from Recall())).rotating is None else "not-finished"


def _rotate_once(
    desk: Desk, state: CardState, hearsay: KeyInformation | None, epoch: int | None
) -> Conversation[Found]:
    """One session, one script, and the case closed if its report proves where the KRK is."""
    session = yield from _session(desk, state, hearsay)
    plan = Plan(Purpose.LOCATE, read_keys=True, locks=True)
    if session.krk is not None and epoch is not None and not _kept_both(desk.subject, state):
        plan = yield from _put(desk, state, session.krk, epoch)
    elif session.krk is not None:
        # The one that has answered stays; what an attempt may have left beside it goes.
        other = desk.subject.profile.next_krk_kvn(session.krk.kvn)
        plan = Plan(Purpose.LOCATE, deletes=(other,), read_keys=True, unlocks=True, locks=True)
    state, found, _ = yield from run(desk, state, session, plan)
    yield from conclude_rotation(desk.subject, state, found)
    return found


def _session(desk: Desk, state: CardState, hearsay: KeyInformation | None) -> Conversation[Verified]:
    """A session under the KRK that was there before; if that is gone, under the proven master set."""
    assert state.closed is not None
    old, master, moved = state.closed.krk, state.closed.master, state.rotating
    if moved is None:
        return (yield from open_krk(desk, state, hearsay))
    if moved == old:  # nothing was sent: a script that only looks did not come back
        opened = yield from greet(desk, state, master.kvn)
        return (yield from verify(opened, (desk.subject.master_set(state, master, opened.answer),)))
    first, second = old.kvn, master.kvn
    if hearsay is not None and old.kvn not in hearsay.kvns:
        first, second = second, first
    opened = yield from greet(desk, state, first, second)
    if opened.greeting.kvn == old.kvn:
        return (yield from verify(opened, _recoveries(desk, state, old.kvn)))
    return (yield from verify(opened, (desk.subject.master_set(state, master, opened.answer),)))


def _put(desk: Desk, state: CardState, old: Cryptogram, epoch: int) -> Conversation[Plan]:
    """A fresh KRK in the place of the one that opened this session; what an earlier attempt left goes first."""
    kvn = desk.subject.profile.next_krk_kvn(old.kvn)
    handle, cryptogram = yield from MintKRK(desk.subject.krk_label(epoch, state.next_install, kvn))
    return Plan(
        Purpose.ROTATE,
        deletes=(kvn,) if state.rotating is not None else (),
        new=handle,
        cryptogram=cryptogram,
        replaces=old.kvn,
        read_keys=True,
        greets=(kvn,),
        unlocks=True,
        locks=True,
    )


def conclude_rotation(subject: Subject, state: CardState, found: Found) -> Conversation[None]:
    """Closes the case if `found`, evidence about the newest script, shows exactly one of the KRKs and the master."""
    moved, intent, read = state.rotating, state.last, found.key_information
    if moved is None or intent is None or found.number != intent.number or read is None:
        return
    if not is_locked(subject.profile, found):
        return
    assert state.closed is not None
    master, keys = state.closed.master, frozenset(read)
    if keys == expected_entries(subject, state, moved, master) and _receipt(state, moved) is not Receipt.MISMATCH:
        proof = KrkProof.CRYPTOGRAM if _proven(state, moved) else KrkProof.KEY_INFORMATION
        receipt, trust = _receipt(state, moved), state.trust_of(moved)
        yield from Remember(Closed(found.number, intent.purpose, master, moved, receipt, proof, krk_trust=trust))
        return
    old = next((one for one in state.krks if intent.opened_krk and one.install == intent.opened_krk), None)
    if old is not None and keys == expected_entries(subject, state, old, master):
        trust = state.trust_of(old)
        yield from Remember(Closed(found.number, intent.purpose, master, old, Receipt.NONE, krk_trust=trust))


def _kept_both(subject: Subject, state: CardState) -> bool:
    """Whether the card put the new set, says its receipt, beside the one that it was to take the place of.

    Without that receipt the set in the other slot may be anybody's, and was in the way of ours.
    """
    assert state.closed is not None
    moved, old, master = state.rotating, state.closed.krk, state.closed.master
    if moved is None:
        return False
    both = expected_entries(subject, state, moved, master) | subject.profile.entries(old.kvn)
    seen = (one for number, one in state.found.items() if number > state.settled and one.receipt is Receipt.MATCH)
    return any(one.key_information is not None and frozenset(one.key_information) == both for one in seen)


def _receipt(state: CardState, krk: Cryptogram) -> Receipt:
    numbers = (one.number for one in state.intents if one.cryptogram == krk)
    return next((state.found[n].receipt for n in numbers if n in state.found), Receipt.LOST)


def _proven(state: CardState, krk: Cryptogram) -> bool:
    return any(one.proven_krk == krk for one in state.found.values())


def open_krk(desk: Desk, state: CardState, hearsay: KeyInformation | None) -> Conversation[Verified]:
    """A session under the KRK: the card's cryptogram chooses among the candidates, newest first.

    Where it may be in two slots, after a restore, the one that the key information names is greeted first.
    """
    if not state.krk_candidates:
        raise TapEnds("missing-cryptogram")
    kvns = dict.fromkeys(one.kvn for one in state.krk_candidates)
    likely = sorted(kvns, key=lambda kvn: hearsay is not None and kvn not in hearsay.kvns)
    opened = yield from greet(desk, state, *likely)
    return (yield from verify(opened, _recoveries(desk, state, opened.greeting.kvn)))


def _recoveries(desk: Desk, state: CardState, kvn: int) -> tuple[RecoverKRK, ...]:
    live = (one for one in reversed(state.krks) if one.install >= state.krk_floor and one.kvn == kvn)
    return tuple(RecoverKRK(one, desk.subject.krk_label(one.epoch, one.install, one.kvn)) for one in live)


def _epoch_of(krk: Cryptogram | None) -> int:
    return krk.epoch if krk is not None else 0
