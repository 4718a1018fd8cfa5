"""`issue`: both key sets go in under the factory set, in separate scripts, the master first; then the factory set goes.

The factory set opens the card until both new sets are proven. The KRK is proven while its handle lives in the vault; if
that is lost first, a fresh one is minted and put, and the old cryptogram stays a candidate.

A card that drops its factory set when the first other set is added gets its KRK under the proven master set, here in a
trusted room, and is recorded so. A card whose factory set fills one of two slots gets its KRK in that set's place; if
that does not come about, the factory set goes and the KRK comes under the proven master set, too. Where the card can be
locked or sealed, that is the last script, sent when nothing is left to be put or deleted.
"""

from dataclasses import dataclass

from kioskd.errors import TapEnds
from kioskd.gp.cplc import CardId
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.asks import Conversation, DeriveMaster, MintKRK, Recall, Remember
from kioskd.rekey.evidence import deletable, exact, expected_entries, krk_of
from kioskd.rekey.profile import FactoryHabit, Lock, Operation
from kioskd.rekey.records import CardState, MasterRef, Purpose, Registered, fold
from kioskd.rekey.replace import conclude
from kioskd.rekey.script import MAX_DELETES, Desk, Opened, Plan, Verified, check_fit, factory_set, greet, run, verify

PASSES = 8


@dataclass(frozen=True, slots=True)
class Target:
    """What an issued card is to hold, and what is known of it before."""

    generation: int
    epoch: int
    aliases: tuple[CardId, ...]
    key_information: KeyInformation | None


def issue(desk: Desk, target: Target) -> Conversation[str]:
    """Issues the card; the outcome's name."""
    opened: Opened | None = None
    check_fit(desk, Operation.ISSUE)
    for _ in range(PASSES):
        state = fold((yield from Recall()))
        if state.issued:
            return "issued" if opened is not None else "already-issued"
        opened = yield from _next_script(desk, state, target, opened)
    return "issued" if fold((yield from Recall())).issued else "not-finished"


def _next_script(desk: Desk, state: CardState, target: Target, opened: Opened | None) -> Conversation[Opened | None]:
    """The one script that is next, chosen by what the records prove; the session that it left open."""
    master = state.proven_master
    # Once the factory set may be gone, only the master set that is there opens the card: it is finished as it is.
    concluding = any(one.purpose is Purpose.CONCLUDE for one in state.intents)
    if master is None or (master.generation < target.generation and not concluding):
        return (yield from _put_master(desk, state, target, opened))
    if state.proven_krk is None:
        return (yield from _put_krk(desk, state, target, opened, master))
    return (yield from _drop_factory(desk, state, opened, master))


def _put_master(desk: Desk, state: CardState, target: Target, opened: Opened | None) -> Conversation[Opened | None]:
    profile = desk.subject.profile
    session = yield from _open_first(desk, state, opened)
    if session.opened.greeting.kvn != profile.factory_kvn:
        # The factory set is gone, so the card took a master set: it has just proven which.
        proof = Plan(Purpose.VERIFY, read_keys=True, greets=(session.opened.greeting.kvn,))
        return (yield from run(desk, state, session, proof))[2]
    if state.registered is None:
        registered = registration(desk, target, profile.factory_kvn)
        yield from Remember(registered)
        state = fold((registered,), state)
    master = MasterRef(target.generation, profile.master_kvn(target.generation), state.next_install)
    handle = yield from DeriveMaster(desk.subject.master_label(master))
    plan = Plan(
        Purpose.ISSUE_MASTER,
        deletes=tuple(dict.fromkeys(one.kvn for one in state.masters)),
        new=handle,
        master=master,
        greets=(master.kvn,) if profile.factory is FactoryHabit.DROPS else (master.kvn, profile.factory_kvn),
    )
    _, _, left = yield from run(desk, state, session, plan)
    return left


def _put_krk(
    desk: Desk, state: CardState, target: Target, opened: Opened | None, master: MasterRef
) -> Conversation[Opened | None]:
    profile, deletes, replaces = desk.subject.profile, tuple(dict.fromkeys(one.kvn for one in state.krks)), 0
    if profile.factory is FactoryHabit.DROPS or (profile.factory is FactoryHabit.FILLS and state.krks):
        session = yield from _open_master(desk, state, opened, master)
        deletes = (profile.factory_kvn, *deletes)
    else:
        session = yield from _open_factory(desk, state, opened)
        replaces = profile.factory_kvn if profile.factory is FactoryHabit.FILLS else 0
    kvn = profile.krk_kvn
    if not profile.deletes and target.key_information is not None and kvn in target.key_information.kvns:
        replaces = kvn  # an earlier one is there, says the card, and cannot be deleted
    handle, cryptogram = yield from MintKRK(desk.subject.krk_label(target.epoch, state.next_install, kvn))
    plan = Plan(
        Purpose.ISSUE_KRK,
        deletes=deletes,
        new=handle,
        cryptogram=cryptogram,
        replaces=replaces,
        greets=(kvn, master.kvn),
    )
    _, _, left = yield from run(desk, state, session, plan)
    return left


def _drop_factory(
    desk: Desk, state: CardState, opened: Opened | None, master: MasterRef
) -> Conversation[Opened | None]:
    """In a session of the proven master: delete the factory set, then the key information under response MAC.

    Key sets that an earlier such reading showed and that nobody knows go, too.
    """
    session = yield from _open_master(desk, state, opened, master)
    deletes = (desk.subject.profile.factory_kvn, *_strangers(desk, state, master))[:MAX_DELETES]
    plan = Plan(Purpose.CONCLUDE, deletes, read_keys=True, greets=(master.kvn,), unlocks=True)
    if _is_bare(desk, state, master):
        plan = Plan(Purpose.RELOCK, read_keys=True, greets=(master.kvn,), locks=True, seals=True)
    state, found, left = yield from run(desk, state, session, plan)
    yield from conclude(desk.subject, state, found, plan.purpose, master.generation)
    return left


def _is_bare(desk: Desk, state: CardState, master: MasterRef) -> bool:
    """Whether the card has nothing on it any more but what it is to keep, so that it can be locked."""
    if desk.subject.profile.lock is Lock.SESSION:
        return False
    ends = {one.number for one in state.intents if one.purpose in (Purpose.CONCLUDE, Purpose.RELOCK)}
    read = [one for number, one in sorted(state.found.items()) if number in ends and one.key_information is not None]
    return bool(read) and exact(desk.subject, state, read[-1], krk_of(state, None), master)


def _open_master(desk: Desk, state: CardState, opened: Opened | None, master: MasterRef) -> Conversation[Verified]:
    """A session of the proven master set."""
    if opened is None or opened.greeting.kvn != master.kvn:
        opened = yield from greet(desk, state, master.kvn)
    return (yield from verify(opened, (DeriveMaster(desk.subject.master_label(master)),)))


def _open_first(desk: Desk, state: CardState, opened: Opened | None) -> Conversation[Verified]:
    """A session of the factory set, or, where that may be gone, of the master set that took its place."""
    profile = desk.subject.profile
    if profile.factory is not FactoryHabit.DROPS or not state.masters:
        return (yield from _open_factory(desk, state, opened))
    kvns = tuple(dict.fromkeys(one.kvn for one in reversed(state.masters)))
    opened = yield from greet(desk, state, *kvns, profile.factory_kvn)
    if opened.greeting.kvn == profile.factory_kvn:
        return (yield from verify(opened, (factory_set(profile.factory_set, opened),)))
    candidates = state.masters_at(opened.greeting.kvn)
    return (yield from verify(opened, tuple(DeriveMaster(desk.subject.master_label(one)) for one in candidates)))


def _open_factory(desk: Desk, state: CardState, opened: Opened | None) -> Conversation[Verified]:
    profile = desk.subject.profile
    if opened is None or opened.greeting.kvn != profile.factory_kvn:
        opened = yield from greet(desk, state, profile.factory_kvn)
    return (yield from verify(opened, (factory_set(profile.factory_set, opened),)))


def _strangers(desk: Desk, state: CardState, master: MasterRef) -> tuple[int, ...]:
    readings = (one.key_information or one.told for _, one in sorted(state.found.items(), reverse=True))
    newest = next((one for one in readings if one is not None), ())
    expected = {entry.kvn for entry in expected_entries(desk.subject, state, krk_of(state, None), master)}
    return tuple(sorted(deletable(frozenset(entry.kvn for entry in newest)) - expected))


def registration(desk: Desk, target: Target, kvn: int, adopted: tuple[str, int] | None = None) -> Registered:
    """What stands on the card before we touch it and is not the set at `kvn` is a bystander, never deleted."""
    profile, information = desk.subject.profile, target.key_information
    if information is None:
        raise TapEnds("unreadable-card", "the card gives no key information")
    bystanders = tuple(entry for entry in information.entries if entry.kvn != kvn)
    taken = sorted({one.kvn for one in bystanders if one.kvn in profile.our_kvns})
    if taken:
        # It could neither stay (it may open the card) nor go (it would be deleted as one of ours).
        words = ", ".join(f"{one:02X}" for one in taken)
        raise TapEnds("card-unfit", f"a key set that is not ours at KVN {words}")
    return Registered(desk.subject.card, target.aliases, profile.derivation, bystanders, profile.name, adopted)
