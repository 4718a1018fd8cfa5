"""One script, from plan to evidence: wrapped as a whole, written down before it leaves, judged when it comes back."""

from dataclasses import dataclass, replace

from kioskd.errors import Malformed, TapEnds
from kioskd.gp.apdu import SW, CommandAPDU, ResponseAPDU
from kioskd.gp.executive import unlock
from kioskd.gp.isd import (
    KDD_BYTES,
    RESPONSE_MAC,
    SCP03,
    InitializeUpdateAnswer,
    KeyField,
    delete_key,
    get_data,
    initialize_update,
    put_key,
    set_status,
)
from kioskd.gp.keys import KVN
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.scp03 import R_MAC
from kioskd.rekey.asks import (
    Ask,
    ChannelHandle,
    ChargeAttempt,
    Conversation,
    FirmLease,
    KeyHandle,
    NewChallenge,
    OpenChannel,
    Proves,
    RecoverKRK,
    Remember,
    Send,
    UseFactorySet,
    WrapCommands,
    WrapKeySet,
    WrapUnlockKey,
)
from kioskd.rekey.evidence import Subject, judge
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.layouts import BOTH_LAYOUTS, refused_layouts, with_length
from kioskd.rekey.locking import lock_command, state_command
from kioskd.rekey.migration import spoken
from kioskd.rekey.notices import Greeted
from kioskd.rekey.profile import KEY_INFORMATION_TAG, Lock, Operation, Profile
from kioskd.rekey.records import Act, CardState, Found, Greeting, Intent, MasterRef, Purpose, fold
from kioskd.rekey.tries import allows, spent
from kioskd.rekey.wire import MAX_STEPS, End, Report, Script, Step

GREET_DEADLINE_MS = 10_000
SCRIPT_DEADLINE_MS = 30_000
MAX_DELETES = MAX_STEPS - 8

_FACTORY, _DEFAULT = 0xFF, 0x00

_OK = (int(SW.OK),)
_GONE = (int(SW.OK), int(SW.REFERENCED_DATA_NOT_FOUND))
_ANY: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Desk:
    """One conversation's place: which tap, at which terminal, about which card."""

    tap: str
    kiosk: str
    subject: Subject


@dataclass(frozen=True, slots=True)
class Opened:
    """An INITIALIZE UPDATE that the card answered: the next script can run in its session."""

    greeting: Greeting
    answer: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """A session whose card cryptogram was verified, and the lease that this won."""

    opened: Opened
    handle: KeyHandle
    fence: int
    krk: Cryptogram | None = None  # the replacement set that it is, if it is one


@dataclass(frozen=True, slots=True)
class Plan:
    """What one script is to do."""

    purpose: Purpose
    deletes: tuple[int, ...] = ()
    new: KeyHandle | None = None
    master: MasterRef | None = None
    cryptogram: Cryptogram | None = None
    replaces: int = 0  # the key version number whose keys the new ones take the place of; 0: of none
    read_keys: bool = False
    greets: tuple[int, ...] = ()
    unlocks: bool = False  # first, where the profile's mode has something to unlock
    locks: bool = False  # in the end, and reads that it is locked
    seals: bool = False  # locks for the first time

    @property
    def put_kvn(self) -> int:
        """The key version number that it installs; 0 for none."""
        installed = self.master or self.cryptogram
        return installed.kvn if installed is not None else 0


def check_fit(desk: Desk, operation: Operation) -> None:
    """`TapEnds` if the card's profile rules the operation out: before anything is changed."""
    unfit = desk.subject.profile.refuses(operation)
    if unfit:
        raise TapEnds("card-unfit", unfit)


def greet(desk: Desk, state: CardState, *kvns: int) -> Conversation[Opened]:
    """INITIALIZE UPDATE in a script of its own; `TapEnds` if the card does not open a session.

    Of several key version numbers, the first that the card says it has: one that it has not (6A88) costs no attempt.
    """
    profile = desk.subject.profile
    allowed = [kvn for kvn in kvns if allows(profile, state, kvn, desk.kiosk)]
    if not allowed:
        count = spent(profile, state, kvns[-1])
        raise TapEnds("tries-kept", f"KVN {kvns[-1]:02X}: {count} INITIALIZE UPDATEs without a session")
    for kvn in allowed[:-1]:
        greeting, response = yield from _greeted(desk, state, kvn)
        if response.sw != SW.REFERENCED_DATA_NOT_FOUND:
            return _session(profile, state, greeting, response)
    return _session(profile, state, *(yield from _greeted(desk, state, allowed[-1])))


def _greeted(desk: Desk, state: CardState, kvn: int) -> Conversation[tuple[Greeting, ResponseAPDU]]:
    """The factory set of some cards has the number FF and is only reached by 00; the answer says which set it is."""
    greeting, response = yield from _asked(desk, state, kvn, kvn)
    if kvn == _FACTORY and response.sw == SW.INCORRECT_P1P2:
        greeting, response = yield from _asked(desk, state, kvn, _DEFAULT)
    return greeting, response


def _asked(desk: Desk, state: CardState, kvn: int, p1: int) -> Conversation[tuple[Greeting, ResponseAPDU]]:
    challenge = yield from NewChallenge(desk.subject.profile.challenge_bytes)
    step = Step(initialize_update(KVN(p1), challenge).encode(), _OK)
    if desk.subject.profile.greeting_tries:
        yield from Remember(Greeted(kvn, desk.kiosk, state.next_number - 1))
    report = yield from Send(Script(0, str(desk.subject.card), b"", GREET_DEADLINE_MS, (step,)))
    _went_up(report, in_doubt=state.open)
    return Greeting(kvn, challenge), _decoded(report.answers[0])


def _session(profile: Profile, state: CardState, greeting: Greeting, response: ResponseAPDU) -> Opened:
    """The session that an INITIALIZE UPDATE opened."""
    kvn = greeting.kvn
    if response.sw in (SW.AUTHENTICATION_BLOCKED, SW.CONDITIONS_NOT_SATISFIED, SW.SECURITY_STATUS_NOT_SATISFIED):
        raise TapEnds("card-locked", f"INITIALIZE UPDATE of KVN {kvn:02X} was answered {response.sw:04X}")
    if not response.ok:
        raise TapEnds("not-finished", f"INITIALIZE UPDATE of KVN {kvn:02X} was answered {response.sw:04X}")
    answer = _read_answer(response.data)
    mute = profile.level_of(answer.scp) & R_MAC and answer.scp == SCP03 and not answer.i & RESPONSE_MAC
    if answer.kvn != kvn or answer.scp not in spoken(profile, state, kvn) or mute:
        told = f"SCP{answer.scp:02X}, i={answer.i:02X}"
        raise TapEnds("scp-unsupported", f"KVN {answer.kvn:02X}, {told}, asked for KVN {kvn:02X}")
    return Opened(greeting, response.data)


def factory_set(name: str, opened: Opened) -> UseFactorySet:
    """The factory set of that name for the card that answered: a diversified one is made of what its answer names."""
    return UseFactorySet(name, opened.answer[:KDD_BYTES])


def verify(opened: Opened, candidates: tuple[Ask[KeyHandle], ...]) -> Conversation[Verified]:
    """Finds the candidate that the card proves to hold, then takes the card's lease, in that order.

    A card that proves none of them ends the tap: no EXTERNAL AUTHENTICATE, no retry.
    """
    for candidate in candidates:
        handle = yield from candidate
        if (yield from Proves(handle, opened.greeting.host_challenge, opened.answer)):
            fence = yield from FirmLease()
            krk = candidate.cryptogram if isinstance(candidate, RecoverKRK) else None
            return Verified(opened, handle, fence, krk)
    yield from ChargeAttempt(KVN(opened.greeting.kvn))
    raise TapEnds("wrong-cryptogram", f"KVN {opened.greeting.kvn:02X}: none of {len(candidates)} key sets on record")


def run(
    desk: Desk, state: CardState, session: Verified, plan: Plan
) -> Conversation[tuple[CardState, Found, Opened | None]]:
    """Sends one script and judges its report; the state after it, the evidence, and the session that it left open."""
    if not desk.subject.profile.deletes:
        plan = replace(plan, deletes=())  # the card does not know the command
    script, intent = yield from _prepare(desk, state, session, plan)
    yield from Remember(intent)
    state = fold_on(state, intent)
    report = yield from Send(script)
    # The sent script is the record's: a report for any other is not evidence about it.
    if (report.number, report.digest) != (intent.number, intent.digest):
        raise TapEnds("bad-message", "a report for another script")
    krk = plan.new if plan.cryptogram is not None else None
    found = yield from judge(desk.subject, state, intent, report, krk)
    yield from Remember(found)
    state = fold_on(state, found)
    _went_up(report, in_doubt=True)
    if report.answers and not _decoded(report.answers[0]).ok:
        raise TapEnds("not-finished", "the card refused EXTERNAL AUTHENTICATE; it is not tried again")
    return state, found, _left_open(intent, report)


def _prepare(desk: Desk, state: CardState, session: Verified, plan: Plan) -> Conversation[tuple[Script, Intent]]:
    """Wraps the plan's commands in the session and writes down what will verify its report."""
    opened = session.opened
    _check_tries(desk.subject.profile, state, plan, opened.greeting.kvn)
    profile = desk.subject.profile
    level = profile.level_of(_read_answer(opened.answer).scp)
    channel = yield from OpenChannel(session.handle, opened.greeting.host_challenge, opened.answer, level)
    fields: tuple[KeyField, ...] = ()
    kind = plan.master.kind if plan.master is not None else None
    own = profile if kind is None or profile.migrates is None else profile.migrates
    length_sent = with_length(state, kind, own.key_length_sent)
    if plan.new is not None:
        if len(refused_layouts(state)) == BOTH_LAYOUTS:
            raise TapEnds("card-unfit", "the card has refused PUT KEY in both layouts; it is not tried again")
        wrapped_set = yield from WrapKeySet(channel, plan.new, own.zero_kcv)
        fields = tuple(replace(one, with_length=length_sent) for one in wrapped_set)
    opening = yield from _unlocking(profile, plan, session, channel)
    acts = (*opening, *_acts(profile, plan, fields))
    wrapped = yield from WrapCommands(channel, tuple(command for _, command, _ in acts))
    greetings = []
    for kvn in plan.greets:
        greetings.append(Greeting(kvn, (yield from NewChallenge(desk.subject.profile.challenge_bytes))))
    script = Script(
        number=state.next_number,
        card=str(desk.subject.card),
        after=opened.answer,
        deadline_ms=SCRIPT_DEADLINE_MS,
        steps=_steps(acts, wrapped.commands, greetings),
        cryptogram=plan.cryptogram,
    )
    intent = Intent(
        number=script.number,
        digest=script.digest,
        purpose=plan.purpose,
        tap=desk.tap,
        kiosk=desk.kiosk,
        fence=session.fence,
        opened=opened.greeting,
        opened_answer=opened.answer,
        acts=(Act.AUTHENTICATE, *(act for act, _, _ in acts), *(Act.GREET for _ in greetings)),
        deletes=plan.deletes,
        put_kvn=plan.put_kvn,
        master=plan.master,
        cryptogram=plan.cryptogram,
        kcvs=tuple(one.kcv for one in fields),
        greetings=tuple(greetings),
        marks=wrapped.marks,
        sealed=wrapped.sealed,
        opened_krk=session.krk.install if session.krk is not None else 0,
        with_length=length_sent,
    )
    return script, intent


def _check_tries(profile: Profile, state: CardState, plan: Plan, opened: int) -> None:
    """`TapEnds` if a greeting at the script's end could block a set that this script neither opens nor puts."""
    for kvn in plan.greets:
        if kvn not in (opened, plan.put_kvn) and not allows(profile, state, kvn):
            count = spent(profile, state, kvn)
            raise TapEnds("tries-kept", f"KVN {kvn:02X}: {count} INITIALIZE UPDATEs without a session")


Planned = tuple[Act, CommandAPDU, tuple[int, ...]]
"""What a step does, its command, and the status words that let the script go on (none: any)."""


def _unlocking(
    profile: Profile, plan: Plan, session: Verified, channel: ChannelHandle
) -> Conversation[tuple[Planned, ...]]:
    """The step that unlocks the card, if the plan needs one and the profile's mode has one."""
    if plan.unlocks and profile.lock is Lock.LIFECYCLE:
        return ((Act.UNLOCK, set_status(LifeCycle.SECURED), _ANY),)
    if plan.unlocks and profile.lock is Lock.EXECUTIVE and session.krk is not None:
        return ((Act.UNLOCK, unlock((yield from WrapUnlockKey(channel))), _OK),)
    return ()


def _acts(profile: Profile, plan: Plan, fields: tuple[KeyField, ...]) -> tuple[Planned, ...]:
    """The plan's steps between EXTERNAL AUTHENTICATE and the last greetings, without the unlocking."""
    acts: list[Planned] = [(Act.DELETE, delete_key(KVN(kvn)), _GONE) for kvn in plan.deletes]
    if fields:
        # A card that cannot change a key version number keeps the old set, and one that takes no AES set has none:
        # the key information says so.
        migrates = plan.master is not None and plan.master.kind is not None and profile.response_mac
        renumbers = plan.replaces not in (0, plan.put_kvn)
        accept = _ANY if renumbers or migrates else _OK
        acts.append((Act.PUT, put_key(KVN(plan.put_kvn), fields, plan.replaces), accept))
    locking = lock_command(profile, sealing=plan.seals) if plan.locks else None
    if locking is not None:
        acts.append((Act.LOCK, locking, _ANY))
    reading = state_command(profile) if plan.locks else None
    if reading is not None:
        acts.append((Act.STATE, reading, _OK))
    if plan.read_keys:
        accept = _OK if profile.response_mac else _ANY
        acts.append((Act.READ_KEYS, get_data(KEY_INFORMATION_TAG), accept))
    return tuple(acts)


def _steps(acts: tuple[Planned, ...], wrapped: tuple[CommandAPDU, ...], greetings: list[Greeting]) -> tuple[Step, ...]:
    greets = tuple(initialize_update(KVN(one.kvn), one.host_challenge) for one in greetings)
    accepts = (_OK, *(accept for _, _, accept in acts), *(_OK for _ in greets))
    commands = (*wrapped, *greets)
    return tuple(Step(command.encode(), accept) for command, accept in zip(commands, accepts, strict=True))


def _went_up(report: Report, *, in_doubt: bool) -> None:
    """Ends the tap where the script could not run to an answer of the card."""
    match report.end:
        case End.TORN | End.IN_DOUBT:
            raise TapEnds("card-pulled-in-doubt" if in_doubt else "card-pulled")
        case End.LATE:
            raise TapEnds("too-late")
        case End.REFUSED:
            raise TapEnds("script-refused")
        case End.COMPLETE | End.STOPPED:
            if not report.answers:
                raise TapEnds("bad-message", "a report without answers")


def _left_open(intent: Intent, report: Report) -> Opened | None:
    """The session that the script's last INITIALIZE UPDATE opened, if the script got so far."""
    if report.end is not End.COMPLETE or not intent.greetings or len(report.answers) != len(intent.acts):
        return None
    return Opened(intent.greetings[-1], _decoded(report.answers[-1]).data)


def _decoded(raw: bytes) -> ResponseAPDU:
    try:
        return ResponseAPDU.decode(raw)
    except Malformed as wrong:
        raise TapEnds("unreadable-card", str(wrong)) from wrong


def _read_answer(data: bytes) -> InitializeUpdateAnswer:
    try:
        return InitializeUpdateAnswer.parse(data)
    except Malformed as wrong:
        raise TapEnds("scp-unsupported", str(wrong)) from wrong


def fold_on(state: CardState, record: Intent | Found) -> CardState:
    """The state after one more record, without asking for all of them again."""
    return fold((record,), state)
