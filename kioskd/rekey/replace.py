"""`replace`: under the KRK, unlock, delete the old master set, install the new one, prove it, relock.

At every instant the KRK opens the card, so the script may delete before it installs. The profile's order is for the
first script of a case: `renumber` puts the new set in the old one's place, `install-first` deletes the old one in a
script of its own after the new one is proven. A card whose earlier script was interrupted is either only proven (if its
key information says that the new set is there) or installed again, delete-first, with a higher install number.
"""

from kioskd.errors import TapEnds
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.asks import Conversation, DeriveMaster, Recall, Remember
from kioskd.rekey.evidence import Subject, audit_of, deletable, finishes, judge, krk_of
from kioskd.rekey.migration import is_not_migrated, kind_to_put
from kioskd.rekey.profile import Operation, Order, Profile
from kioskd.rekey.records import Act, CardState, Closed, Found, Intent, MasterRef, Purpose, Receipt, fold
from kioskd.rekey.rotate import conclude_rotation, open_krk
from kioskd.rekey.script import MAX_DELETES, Desk, Plan, Verified, check_fit, run
from kioskd.rekey.tries import allows
from kioskd.rekey.wire import Report

PASSES = 3
"""How often one tap may run a script before it asks for another tap."""


def replace(desk: Desk, hearsay: KeyInformation | None, generation: int) -> Conversation[str]:
    """Brings the card to `generation`; the outcome's name. `hearsay` is its key information, read in the clear."""
    begun = False
    for _ in range(PASSES):
        state = fold((yield from Recall()))
        if not state.issued:
            raise TapEnds("unknown-card", "its issuance was never proven finished")
        assert state.closed is not None
        if not state.open and state.closed.master.generation == generation:
            return _finished(desk, state.closed) if begun else "already-done"
        begun = True
        found = yield from _replace_once(desk, state, hearsay, generation)
        hearsay = newest_keys(found, hearsay)
    state = fold((yield from Recall()))
    if state.open or state.closed is None or state.closed.master.generation != generation:
        return "not-finished"
    return _finished(desk, state.closed)


def _finished(desk: Desk, closed: Closed) -> str:
    return "not-migrated" if is_not_migrated(desk.subject.profile, closed.master) else "done"


def newest_keys(found: Found, hearsay: KeyInformation | None) -> KeyInformation | None:
    """The key information that a script has brought, else what was known before."""
    keys = found.key_information or found.told
    return hearsay if keys is None else KeyInformation(keys)


def _replace_once(desk: Desk, state: CardState, hearsay: KeyInformation | None, generation: int) -> Conversation[Found]:
    """One session under the KRK, one script, and the case closed if its report proves enough."""
    _check_generation(desk.subject, state, generation)
    check_fit(desk, Operation.REPLACE)
    session = yield from open_krk(desk, state, hearsay)
    new = state.proven_master
    if new is not None and _is_to_drop(desk.subject, state, new, generation):
        others = _to_delete(desk.subject, state, session.opened.greeting.kvn, hearsay, generation)
        deletes = tuple(kvn for kvn in others if kvn != new.kvn)
        plan = Plan(Purpose.DROP, deletes, read_keys=True, greets=(new.kvn,), unlocks=True, locks=True)
    elif _worth_proving(desk.subject.profile, state, hearsay, generation):
        newest = _installed(state, generation)[0]
        plan = Plan(Purpose.VERIFY, read_keys=True, greets=(newest.kvn,), locks=True)
    else:
        plan = yield from _install(desk.subject, state, session, hearsay, generation)
    state, found, _ = yield from run(desk, state, session, plan)
    yield from conclude(desk.subject, state, found, plan.purpose, generation)
    return found


def conclude(subject: Subject, state: CardState, found: Found, purpose: Purpose, generation: int) -> Conversation[None]:
    """Closes the case if `found`, evidence about the newest script, proves the card finished."""
    last = state.last
    assert last is not None
    krk = krk_of(state, last)
    if found.number != last.number or not state.open or not finishes(subject, state, found, krk, generation):
        return
    if Act.READ_KEYS not in last.acts:
        return  # in the midst of an issuance: a card without response MAC would pass for bare of its factory set
    master = found.proven_master
    assert master is not None
    audit, trust = audit_of(subject.profile, purpose, master), state.trust_of(krk)
    receipt = state.receipt_of(master)
    yield from Remember(Closed(found.number, purpose, master, krk, receipt, audit=audit, krk_trust=trust))


def settle(subject: Subject, report: Report) -> Conversation[bool]:
    """Judges a report that comes without its conversation, and closes the case if it may; False: not our script.

    One of a store that was lost proves nothing any more: its terminal may forget it.
    """
    state = fold((yield from Recall()))
    intent = state.intent(report.number, report.digest)
    if intent is None:
        return 0 < report.number <= state.floor
    if intent.number in state.found:
        # Who judged it may have died before it closed the case.
        yield from _conclude_late(subject, state, intent)
        return True
    found = yield from judge(subject, state, intent, report)
    yield from Remember(found)
    state = fold((found,), state)
    yield from _conclude_late(subject, state, intent)
    return True


def _conclude_late(subject: Subject, state: CardState, intent: Intent) -> Conversation[None]:
    found = state.found[intent.number]
    if intent.purpose.of_rotation:
        yield from conclude_rotation(subject, state, found)
        return
    if found.proven_master is not None and state.registered is not None and state.proven_krk is not None:
        yield from conclude(subject, state, found, intent.purpose, found.proven_master.generation)


def _is_to_drop(subject: Subject, state: CardState, new: MasterRef, generation: int) -> bool:
    """Whether the new set is proven beside the old one, which is what is left to delete."""
    proven = state.open and new.generation == generation and state.receipt_of(new) is not Receipt.MISMATCH
    first = subject.profile.order is Order.INSTALL_FIRST
    return proven and first and allows(subject.profile, state, new.kvn)


def _worth_proving(profile: Profile, state: CardState, hearsay: KeyInformation | None, generation: int) -> bool:
    """Whether the new set may already be on the card, so that proving it is all that is left to do."""
    installed = _installed(state, generation)
    if not state.open or not installed or hearsay is None:
        return False
    last = state.last
    found = state.found.get(last.number) if last is not None else None
    failed = last is not None and found is not None and (last.purpose is Purpose.VERIFY or found.declined)
    others = {one.kvn for one in state.masters} - {installed[0].kvn}
    return (
        not failed
        and allows(profile, state, installed[0].kvn)
        and state.receipt_of(installed[0]) is not Receipt.MISMATCH
        and installed[0].kvn in hearsay.kvns
        and not others & hearsay.kvns
    )


def _installed(state: CardState, generation: int) -> tuple[MasterRef, ...]:
    """The candidates of a generation, newest first."""
    return tuple(one for one in reversed(state.masters) if one.generation == generation)


def _install(
    subject: Subject, state: CardState, session: Verified, hearsay: KeyInformation | None, generation: int
) -> Conversation[Plan]:
    """Delete every set but the KRK (or put the new one in the old one's place, or beside it); greet the new one."""
    profile = subject.profile
    master = MasterRef(generation, profile.master_kvn(generation), state.next_install, kind_to_put(profile, state))
    handle = yield from DeriveMaster(subject.master_label(master))
    deletes, replaces = _to_delete(subject, state, session.opened.greeting.kvn, hearsay, generation), 0
    match _order(subject, state, hearsay, master):
        case Order.RENUMBER:
            replaces = _present(state, hearsay, master)
            deletes = tuple(kvn for kvn in deletes if kvn not in (replaces, master.kvn))
        case Order.INSTALL_FIRST:
            ours = {one.kvn for one in state.masters}
            deletes = tuple(kvn for kvn in deletes if kvn not in ours)
    return Plan(
        Purpose.REPLACE,
        deletes=deletes,
        new=handle,
        master=master,
        replaces=replaces,
        read_keys=True,
        greets=(master.kvn,),
        unlocks=True,
        locks=True,
    )


def _order(subject: Subject, state: CardState, hearsay: KeyInformation | None, master: MasterRef) -> Order:
    """The profile's order for the first script of a case; for every other the one that needs nothing to be proven."""
    profile = subject.profile
    if not profile.deletes:
        return Order.RENUMBER
    there = hearsay.kvns if hearsay is not None else frozenset()
    if state.open or master.kvn in there or master.kvn in {one.kvn for one in state.masters}:
        return Order.DELETE_FIRST
    if profile.order is Order.RENUMBER and not {one.kvn for one in state.masters} & there:
        return Order.DELETE_FIRST
    if profile.order is Order.RENUMBER and any(one.kind != master.kind for one in state.masters):
        return Order.DELETE_FIRST  # a key set keeps its type when another takes its place
    return profile.order


def _present(state: CardState, hearsay: KeyInformation | None, master: MasterRef) -> int:
    """The key version number whose place the new set takes: one of ours that the card says it has; 0 for none."""
    there = hearsay.kvns if hearsay is not None else frozenset(one.kvn for one in state.masters)
    if master.kvn in there:
        return master.kvn
    return next((one.kvn for one in reversed(state.masters) if one.kvn in there), 0)


def _to_delete(
    subject: Subject, state: CardState, krk_kvn: int, hearsay: KeyInformation | None, generation: int
) -> tuple[int, ...]:
    """Our master sets that may be there, then the sets that nobody knows; never the KRK or a bystander."""
    assert state.registered is not None
    kept = {krk_kvn} | {entry.kvn for entry in state.registered.bystanders}
    ours = list(dict.fromkeys(one.kvn for one in state.masters))
    # Hearsay may name anything: some cards read version 00 as all of them.
    there = deletable(hearsay.kvns if hearsay else frozenset())
    if not there and state.doubtful and state.closed is not None:
        # A lost store may have brought it to any generation since, and the card does not say what it holds.
        since = range(state.closed.master.generation, generation)
        there = frozenset(subject.profile.master_kvn(one) for one in since)
    unknown = sorted(there - set(ours))
    return tuple(kvn for kvn in (*ours, *unknown) if kvn not in kept)[:MAX_DELETES]


def _check_generation(subject: Subject, state: CardState, generation: int) -> None:
    """Refuses a generation older than one that the card has had, and one whose slot is the present master set's.

    The older one may have leaked: a vault put back from a copy, or a server that lags behind, would bring it back.
    A shared slot would not tell before from after.
    """
    assert state.closed is not None
    newest = max(one.generation for one in state.masters)
    if generation < newest:
        raise TapEnds("not-armed", f"the card has had generation {newest}, this vault is armed with {generation}")
    present = state.closed.master
    if present.generation != generation and present.kvn == subject.profile.master_kvn(generation):
        raise TapEnds("kvn-taken", f"generations {present.generation} and {generation} share KVN {present.kvn:02X}")
