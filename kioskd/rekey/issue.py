"""`issue`: both key sets go in under the factory set, in separate scripts, the master first; then the factory set goes.

The factory set opens the card until both new sets are proven. The KRK is proven while its handle lives in the vault; if
that is lost first, a fresh one is minted and put, and the old cryptogram stays a candidate.
"""

from dataclasses import dataclass

from kioskd.errors import TapEnds
from kioskd.gp.cplc import CardId
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.asks import Conversation, DeriveMaster, MintKRK, Recall, Remember, UseFactorySet
from kioskd.rekey.evidence import deletable, expected_entries, krk_of
from kioskd.rekey.records import CardState, MasterRef, Purpose, Registered, fold
from kioskd.rekey.replace import conclude
from kioskd.rekey.script import MAX_DELETES, Desk, Opened, Plan, Verified, greet, run, verify

PASSES = 6


@dataclass(frozen=True, slots=True)
class Order:
    """What an issued card is to hold, and what is known of it before."""

    generation: int
    epoch: int
    aliases: tuple[CardId, ...]
    key_information: KeyInformation | None


def issue(desk: Desk, order: Order) -> Conversation[str]:
    """Issues the card; the outcome's name."""
    opened: Opened | None = None
    for _ in range(PASSES):
        state = fold((yield from Recall()))
        if state.issued:
            return "issued" if opened is not None else "already-issued"
        opened = yield from _next_script(desk, state, order, opened)
    return "issued" if fold((yield from Recall())).issued else "not-finished"


def _next_script(desk: Desk, state: CardState, order: Order, opened: Opened | None) -> Conversation[Opened | None]:
    """The one script that is next, chosen by what the records prove; the session that it left open."""
    master = state.proven_master
    # Once the factory set may be gone, only the master set that is there opens the card: it is finished as it is.
    concluding = any(one.purpose is Purpose.CONCLUDE for one in state.intents)
    if master is None or (master.generation < order.generation and not concluding):
        return (yield from _put_master(desk, state, order, opened))
    if state.proven_krk is None:
        return (yield from _put_krk(desk, state, order, opened, master))
    return (yield from _drop_factory(desk, state, opened, master))


def _put_master(desk: Desk, state: CardState, order: Order, opened: Opened | None) -> Conversation[Opened | None]:
    profile = desk.subject.profile
    session = yield from _open_factory(desk, state, opened)
    if state.registered is None:
        registered = _registration(desk, order)
        yield from Remember(registered)
        state = fold((registered,), state)
    master = MasterRef(order.generation, profile.master_kvn(order.generation), state.next_install)
    handle = yield from DeriveMaster(desk.subject.master_label(master))
    plan = Plan(
        Purpose.ISSUE_MASTER,
        deletes=tuple(dict.fromkeys(one.kvn for one in state.masters)),
        new=handle,
        master=master,
        greets=(master.kvn, profile.factory_kvn),
    )
    _, _, left = yield from run(desk, state, session, plan)
    return left


def _put_krk(
    desk: Desk, state: CardState, order: Order, opened: Opened | None, master: MasterRef
) -> Conversation[Opened | None]:
    session = yield from _open_factory(desk, state, opened)
    kvn = desk.subject.profile.krk_kvn
    handle, cryptogram = yield from MintKRK(desk.subject.krk_label(order.epoch, state.next_install, kvn))
    plan = Plan(
        Purpose.ISSUE_KRK,
        deletes=tuple(dict.fromkeys(one.kvn for one in state.krks)),
        new=handle,
        cryptogram=cryptogram,
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
    if opened is None or opened.greeting.kvn != master.kvn:
        opened = yield from greet(desk, state, master.kvn)
    session = yield from verify(opened, (DeriveMaster(desk.subject.master_label(master)),))
    plan = Plan(
        Purpose.CONCLUDE,
        deletes=(desk.subject.profile.factory_kvn, *_strangers(desk, state, master))[:MAX_DELETES],
        read_keys=True,
        greets=(master.kvn,),
    )
    state, found, left = yield from run(desk, state, session, plan)
    yield from conclude(desk.subject, state, found, Purpose.CONCLUDE, master.generation)
    return left


def _open_factory(desk: Desk, state: CardState, opened: Opened | None) -> Conversation[Verified]:
    profile = desk.subject.profile
    if opened is None or opened.greeting.kvn != profile.factory_kvn:
        opened = yield from greet(desk, state, profile.factory_kvn)
    return (yield from verify(opened, (UseFactorySet(profile.factory_set),)))


def _strangers(desk: Desk, state: CardState, master: MasterRef) -> tuple[int, ...]:
    readings = (one.key_information for _, one in sorted(state.found.items(), reverse=True))
    newest = next((one for one in readings if one is not None), ())
    expected = {entry.kvn for entry in expected_entries(desk.subject, state, krk_of(state, None), master)}
    return tuple(sorted(deletable(frozenset(entry.kvn for entry in newest)) - expected))


def _registration(desk: Desk, order: Order) -> Registered:
    """What stands on the card before we touch it and is not the factory set is a bystander, never deleted."""
    if order.key_information is None:
        raise TapEnds("unreadable-card", "the card gives no key information")
    factory = desk.subject.profile.factory_kvn
    bystanders = tuple(entry for entry in order.key_information.entries if entry.kvn != factory)
    taken = sorted({one.kvn for one in bystanders if one.kvn in desk.subject.profile.our_kvns})
    if taken:
        # It could neither stay (it may open the card) nor go (it would be deleted as one of ours).
        raise TapEnds(
            "scp-unsupported", f"a key set that is not ours at KVN {', '.join(f'{one:02X}' for one in taken)}"
        )
    return Registered(desk.subject.card, order.aliases, desk.subject.profile.derivation, bystanders)
