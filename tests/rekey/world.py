"""A whole installation in memory, stepped by hand: for attacks that need thousands of runs.

The engine, the answerer, the relay, the vault and the card are the real ones; store and journal keep their rows in
lists. Nothing waits: a conversation is a coroutine that stops at every ask and every step of the relay, so that a test
can cut it there, or let another one go on. Every record and every change of the card is held to invariants 1, 4 and 5.
"""

import functools
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from kioskd.access.office import Office
from kioskd.access.taps import converse, settle_report
from kioskd.drive import drive
from kioskd.gp.apdu import INS, SW, CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.gp.executive import STATE_TAG
from kioskd.gp.keyinfo import KeyEntry
from kioskd.ports import Vault
from kioskd.rekey.asks import Ask, Elapsed, KeepReport, KeyHandle, NoteInDoubt, Transmit
from kioskd.rekey.evidence import Subject
from kioskd.rekey.exchange import exchange
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.profile import DEFAULT_PROFILE, Lock, Profile, identify_steps
from kioskd.rekey.records import CardState, Closed, Intent, MasterRef, Record, fold
from kioskd.rekey.relay import CardSession, RelayPolicy, relay
from kioskd.rekey.wire import WIRE_VERSION, CardReport, End, Head, Report, Script, Tap
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import CardMemory, StoredSet
from kioskd.virtual.card_options import CardOptions
from tests.rekey.ledger import Ledger, Point
from tests.rekey.stepping import Talk
from tests.rekey.vaults import Keys, armed, everything, issuing

T = TypeVar("T")

TAGS = (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF)
POLICY = RelayPolicy((DEFAULT_PROFILE.aid,), DEFAULT_PROFILE.level, TAGS)
KRK = DEFAULT_PROFILE.krk_kvn
CHANGING = (INS.DELETE, INS.PUT_KEY, INS.SET_STATUS, INS.SEAL)

_taps = itertools.count(1)


# --- what survives ------------------------------------------------------------------------------------------------


class AttackedCard(VirtualCard):
    """The virtual card, able to fail chosen commands: their MAC is checked, nothing else happens."""

    def __post_init__(self) -> None:
        VirtualCard.__post_init__(self)
        self.fails_at: frozenset[int] = frozenset()  # INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, secured ones, from 0
        self.fails_with = 0x6F00
        self.receipts_are_wrong = False
        self.count = 0

    def _fails(self) -> ResponseAPDU | None:
        self.count += 1
        return ResponseAPDU(b"", self.fails_with) if self.count - 1 in self.fails_at else None

    def _done(self, command: CommandAPDU) -> ResponseAPDU:
        failed = self._fails() if self._session.authenticated else None
        response = failed or VirtualCard._done(self, command)
        if self.receipts_are_wrong and command.ins == INS.PUT_KEY and response.ok:
            return ResponseAPDU(response.data[:-1] + bytes((response.data[-1] ^ 1,)), response.sw)
        return response

    def _turned(self, command: CommandAPDU) -> SW:
        return SW.NO_DIAGNOSIS if self._fails() else VirtualCard._turned(self, command)

    def _initialize_update(self, command: CommandAPDU) -> ResponseAPDU:
        return self._fails() or VirtualCard._initialize_update(self, command)

    def _external_authenticate(self, command: CommandAPDU) -> ResponseAPDU:
        return self._fails() or VirtualCard._external_authenticate(self, command)


@dataclass(slots=True)
class World:
    """Everything that survives a power cut of anything, with the card itself."""

    keys: Keys
    card: AttackedCard
    ledger: Ledger = field(default_factory=Ledger)
    notes: dict[str, dict[tuple[int, bytes], CardReport]] = field(default_factory=dict)
    cryptograms: list[Cryptogram] = field(default_factory=list)
    guarded: bool = True  # whether every change of the card is held to invariant 1
    rotates: bool = False  # whether the access server rotates the KRK of a replaced card
    profile: Profile = DEFAULT_PROFILE

    def __post_init__(self) -> None:
        self.ledger.witness = self._witness

    def _witness(self, record: Record) -> None:
        if isinstance(record, Closed) and not self.state.open:
            self.assert_closed_truly()

    @property
    def log(self) -> list[Record]:
        """The card's records."""
        return self.ledger.log

    @property
    def lease(self) -> tuple[int, str]:
        """The firm lease: its fence number and its terminal."""
        return self.ledger.lease

    @property
    def charged(self) -> dict[str, int]:
        """Wrong cryptograms by terminal."""
        return self.ledger.charged

    def fork(self, keys: Keys | None = None, **options: Any) -> "World":
        """A copy that goes its own way."""
        card = AttackedCard(options=replace(self.card.options, **options))
        card.memory = self.card.memory
        notes = {name: dict(rows) for name, rows in self.notes.items()}
        return World(
            keys or self.keys,
            card,
            self.ledger.copy(),
            notes,
            list(self.cryptograms),
            rotates=self.rotates,
            profile=self.profile,
        )

    @property
    def policy(self) -> RelayPolicy:
        """What a terminal for this card lets through."""
        executive = self.profile.lock is Lock.EXECUTIVE
        tags = (*TAGS, STATE_TAG) if executive else TAGS
        return RelayPolicy((self.profile.aid,), self.profile.level, tags, executive)

    # --- what is true ---

    @property
    def state(self) -> CardState:
        """The card's records, folded."""
        return fold(tuple(self.log))

    @property
    def subject(self) -> Subject:
        """The card, as its labels name it."""
        registered = self.state.registered
        if registered is not None:
            return Subject(registered.card, self.profile)
        raw = self.card.options.cplc_data()
        return Subject(CardId("cplc", raw[0:2] + raw[2:4] + raw[16:18] + raw[12:16]), self.profile)

    def holds(self, kvn: int, handle: KeyHandle, keys: Keys) -> bool:
        """Whether the card has exactly that key set at that version number, its data encryption key included."""
        found = self.card.memory.at(kvn)
        return found is not None and (found.enc, found.mac, found.dek) == keys.values(handle)

    def holds_master(self, master: MasterRef) -> bool:
        """Whether the card has that installation of a master set."""
        stored = self.card.memory.at(master.kvn)
        if stored is None or set(stored.entries()) != self.profile.entries(master.kvn, master.kind):
            return False
        if not master.generation:
            return self.holds(master.kvn, self.keys.factory_set(self.profile.adopts), self.keys)
        keys = armed(max(master.generation, 2))
        return self.holds(master.kvn, keys.derive_master(self.subject.master_label(master)), keys)

    def holds_krk(self, krk: Cryptogram) -> bool:
        """Whether the card has the replacement set of a cryptogram."""
        keys = everything()
        return self.holds(krk.kvn, keys.recover_krk(krk, self.subject.krk_label(krk.epoch, krk.install, krk.kvn)), keys)

    def assert_something_opens_the_card(self) -> None:
        """Invariant 1, with every key set that the records let the server compute."""
        factory = self.card.memory.at(self.profile.factory_kvn)
        if self.profile.adopts:
            factory = factory or self.card.memory.at(self.profile.adopts_kvn)
        intents = [one for one in self.log if isinstance(one, Intent)]
        masters = [one.master for one in intents if one.master is not None]
        krks = self.state.krks
        assert factory or any(map(self.holds_krk, krks)) or any(map(self.holds_master, masters)), "nothing opens it"

    def assert_closed_truly(self) -> None:
        """Invariant 5: the card holds the proven sets and the bystanders, with these keys, and nothing else."""
        state = self.state
        assert state.closed is not None and state.registered is not None
        assert self.card.kvns == {state.closed.krk.kvn, state.closed.master.kvn}, "false closing: other key sets"
        assert self.holds_master(state.closed.master), "false closing: another master set"
        assert self.holds_krk(state.closed.krk), "false closing: another KRK"
        assert set(self.card.memory.others) == set(state.registered.bystanders), "a bystander is gone"
        self.assert_locked()

    def assert_locked(self) -> None:
        """The card is locked as its profile says, and its executive sealed."""
        if self.profile.lock is Lock.LIFECYCLE:
            assert self.card.memory.life_cycle is self.profile.rests, "false closing: not locked"
        assert self.card.memory.sealed is (self.profile.lock is Lock.EXECUTIVE), "false closing: not sealed"

    def assert_finished(self, generation: int, context: object = "") -> None:
        """The case is closed, truly, with that generation."""
        state = self.state
        assert state.closed is not None and not state.open, context
        assert state.closed.master.generation == generation, context
        self.assert_closed_truly()

    def plant(self, *sets: StoredSet) -> None:
        """Somebody who holds a key set of the card puts key sets of their own on it."""
        for one in sets:
            self.card.memory = self.card.memory.having(one)


def stranger(kvn: int) -> StoredSet:
    """A key set that only a thief knows."""
    return StoredSet(kvn, b"e" * 16, b"m" * 16, b"d" * 16)


# --- who answers --------------------------------------------------------------------------------------------------


class SteppedOffice(Office):
    """An access server that stops at every call of its vault."""

    async def in_vault(self, job: Callable[..., T], *args: Any) -> T:
        """Calls a vault verb here and now."""
        await Point(getattr(job, "__name__", "vault"))
        return job(*args)


@dataclass
class Kiosk:
    """A terminal with the card in its reader; an attacker replaces its methods."""

    world: World
    name: str = "k1"
    session: CardSession = field(default_factory=CardSession)
    obeys: bool = True  # stops where a step says so
    hearsay: bytes | None = None  # instead of the card's key information
    bend: Callable[[Script, Report], Report] | None = None
    seen: list[tuple[Script, Report]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Where an attacker's own notes begin."""

    @property
    def journal(self) -> dict[tuple[int, bytes], CardReport]:
        """What waits here, by script."""
        return self.world.notes.setdefault(self.name, {})

    def identify(self) -> tuple[bytes, ...]:
        """The answers to the identify script."""
        self.world.card.reset()
        self.session = CardSession()
        answers = tuple(self.whole(step.command) for step in identify_steps(self.world.profile))
        return answers if self.hearsay is None else (*answers[:3], self.hearsay)

    def whole(self, command: bytes) -> bytes:
        """One command's whole answer, as the terminal reads it before there is a script."""
        asking, raw = exchange(command, self.session.bare), None
        try:
            ask = next(asking)
            while True:
                assert isinstance(ask, Transmit)
                raw = self.read(ask.command)
                ask = asking.send(raw)
        except StopIteration as end:
            answer, bare = end.value
            self.session = replace(self.session, bare=bare)
            assert isinstance(answer, bytes)
            return answer

    def read(self, command: bytes) -> bytes:
        """One plain command to the card."""
        return self.world.card.transmit(command)

    async def run(self, script: Script, fence: int) -> Report:
        """Runs a script in the relay, and perhaps lies about it."""
        if not self.obeys:
            lenient = replace(script, steps=tuple(replace(step, accept=()) for step in script.steps))
            report, self.session = await drive(relay(lenient, self.world.policy, self.session), self.answer(script))
            report = replace(report, digest=script.digest)
        else:
            report, self.session = await drive(relay(script, self.world.policy, self.session), self.answer(script))
        await Point("report")
        self.seen.append((script, report))
        return report if self.bend is None else self.bend(script, report)

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """The server has it."""
        await Point("ack")
        self.journal.pop((number, digest), None)

    def answer(self, script: Script) -> Callable[[Ask[Any]], Coroutine[Any, Any, Any]]:
        """Answers the relay's asks of one script."""

        async def reply(ask: Ask[Any]) -> Any:
            match ask:
                case Transmit(command):
                    await Point("transmit")
                    return self.transmit(script, command)
                case NoteInDoubt():
                    await Point("note")
                    key = (script.number, script.digest)
                    self.journal[key] = CardReport(script.card, Report(*key, End.IN_DOUBT, ()))
                    if script.cryptogram is not None:
                        self.world.cryptograms.append(script.cryptogram)
                case KeepReport(report):
                    await Point("keep")
                    whole = replace(report, digest=script.digest)
                    self.journal[whole.number, whole.digest] = CardReport(script.card, whole)
                case Elapsed():
                    return 0
            return None

        return reply

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        """One command to the card, which must be written down if it changes anything."""
        world = self.world
        if world.guarded and command[1] in CHANGING:
            intents = {(one.number, one.digest): one for one in world.log if isinstance(one, Intent)}
            intent = intents.get((script.number, script.digest))
            assert intent is not None, "a card-changing command without an intent"
            assert (script.number, script.digest) in self.journal, "a card-changing command without a note"
            assert intent.cryptogram is None or intent.cryptogram in world.cryptograms
        raw = world.card.transmit(command)
        if world.guarded and command[1] in CHANGING:
            world.assert_something_opens_the_card()
        return raw


def talk(kiosk: Kiosk, purpose: str = "replace", answers: tuple[bytes, ...] | None = None) -> Talk:
    """One tap, not begun."""
    world = kiosk.world
    head = Head(WIRE_VERSION, kiosk.name, 1, f"tap-{next(_taps)}", 2, 0, "")
    tap = Tap(head, purpose, answers or kiosk.identify(), ())
    role = "station" if purpose == "issue" else "kiosk"
    return Talk(converse(office(world), kiosk.name, role, tap, kiosk))


def office(world: World) -> SteppedOffice:
    """An access server over that world."""
    return SteppedOffice(cast(Vault, world.keys), world.ledger, (world.profile,), world.rotates)


def late(world: World, report: CardReport, terminal: str = "k1") -> Talk:
    """A report that comes without its conversation."""
    return Talk(settle_report(office(world), terminal, report))


def deliver(kiosk: Kiosk) -> None:
    """Everything that waits in a journal goes up."""
    for key, report in list(kiosk.journal.items()):
        if late(kiosk.world, report, kiosk.name).finish() is True:
            kiosk.journal.pop(key, None)


def tap(kiosk: Kiosk, purpose: str = "replace") -> str:
    """One whole tap, after what waits here; the outcome's name."""
    deliver(kiosk)
    outcome: str = talk(kiosk, purpose).finish()
    return outcome


def honest_tap(world: World, purpose: str = "replace", name: str = "honest") -> str:
    """A tap at a good terminal, with a card that does what it is told."""
    world.card.fails_at = frozenset()
    return tap(Kiosk(world, name), purpose)


def blank(**options: Any) -> World:
    """A card that only has its factory set, and a server that issues generation 1."""
    return World(issuing(), AttackedCard(options=CardOptions(**options)))


@functools.cache
def _issued(bystanders: tuple[KeyEntry, ...]) -> World:
    world = blank(others=bystanders)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    world.assert_finished(1)
    return world


def issued(generation: int = 2, bystanders: tuple[KeyEntry, ...] = (), **options: Any) -> World:
    """A card of generation 1 and a server that is armed to replace it by another."""
    return _issued(bystanders).fork(armed(generation), **options)


def memory_of(world: World) -> CardMemory:
    """The card's memory without the counters that a mere look changes."""
    sets = tuple(replace(one, sequence=0, tries=0) for one in world.card.memory.sets)
    return replace(world.card.memory, sets=sets)
