"""What the schedules run over: an operation, a kind of card, and everything that survives a power cut of anything."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from kioskd.gp.cplc import CardId
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.profile import Operation, Profile, identify_steps
from kioskd.rekey.records import CardState, Record, fold
from kioskd.rekey.tries import budget
from kioskd.rekey.wire import CardReport
from kioskd.virtual.card_memory import CardMemory
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import RUNNING
from tests.cards.test_habits import ELSEWHERE, HABITS
from tests.faults.oracle import Oracle
from tests.faults.remembered import AllKeys, RememberedCard, RememberedVault
from tests.rekey.kinds import AES256_FROM_128, AES256_S16, Kind
from tests.rekey.migrating import MACED, PLAIN, REFUSING, RENUMBER, THREE
from tests.rekey.vaults import Keys, armed, both, issuing, rotating


@dataclass(frozen=True, slots=True)
class Notes:
    """One terminal's journal."""

    reports: tuple[CardReport, ...] = ()
    cryptograms: tuple[Cryptogram, ...] = ()


EMPTY = Notes()


@dataclass(slots=True)
class World:
    """All that survives: the card's memory, the store, and each journal twice, as written and as synced to the disk."""

    memory: CardMemory
    records: tuple[Record, ...] = ()
    fence: int = 0
    charges: dict[str, int] = field(default_factory=dict)
    written: dict[str, Notes] = field(default_factory=dict)
    synced: dict[str, Notes] = field(default_factory=dict)
    drawn: int = 0  # challenges and RNDs so far
    over: bool = False  # the campaign's window
    here: str = "k1"  # where the card was last
    unsynced: frozenset[str] = frozenset()  # the terminals that wrote what a power cut would lose
    _folded: tuple[tuple[Record, ...], CardState] | None = None

    def fork(self) -> "World":
        """A copy that goes its own way."""
        return World(
            self.memory,
            self.records,
            self.fence,
            dict(self.charges),
            dict(self.written),
            dict(self.synced),
            self.drawn,
            self.over,
            self.here,
            self.unsynced,
            self._folded,
        )

    def lose_power(self, terminal: str) -> None:
        """What the terminal wrote and did not sync is gone."""
        self.written[terminal] = self.synced.get(terminal, EMPTY)
        self.unsynced -= {terminal}

    def note(self, terminal: str, notes: Notes) -> None:
        """Written, not yet on the disk."""
        self.written[terminal] = notes
        self.unsynced |= {terminal}

    def sync(self, terminal: str) -> None:
        """All that was written is on the disk."""
        self.synced[terminal] = self.written.get(terminal, EMPTY)
        self.unsynced -= {terminal}

    @property
    def state(self) -> CardState:
        """The card's records, folded."""
        if self._folded is None or self._folded[0] is not self.records:
            self._folded = (self.records, fold(self.records))
        return self._folded[1]


@dataclass(frozen=True, eq=False)
class Scenario:
    """One operation on one kind of card."""

    name: str
    profile: Profile
    options: CardOptions
    operation: Operation
    rearmed: bool = False  # the newer epoch, too, after a store forgot a rotation

    @property
    def purpose(self) -> str:
        """What the terminal asks for."""
        return "issue" if self.operation is Operation.ISSUE else "replace"

    @property
    def role(self) -> str:
        """The terminal's."""
        return "station" if self.operation is Operation.ISSUE else "kiosk"

    @property
    def rotates(self) -> bool:
        """Whether the access server rotates the KRK of a replaced card."""
        return self.operation is Operation.ROTATE

    @property
    def generation(self) -> int:
        """Of the master set in the end."""
        return {Operation.ISSUE: 1, Operation.ADOPT: 0}.get(self.operation, 2)

    @property
    def fewest_tries(self) -> int:
        """That a key set may have left, whatever befell the card."""
        return self.options.tries - (budget(self.profile) if self.profile.greeting_tries else 0)

    @functools.cached_property
    def card(self) -> RememberedCard:
        """The card's histories."""
        return RememberedCard(self.options)

    @functools.cached_property
    def vault(self) -> RememberedVault:
        """The access server's vault while this goes on."""
        match self.operation:
            case Operation.REPLACE if self.rearmed:
                return remembered(_both, 3)
            case Operation.REPLACE:
                return remembered(armed, 2)
            case Operation.ROTATE:
                return remembered(rotating, 1)
        return remembered(issuing, 1)

    @functools.cached_property
    def subject(self) -> Subject:
        """The card, as its labels name it."""
        raw = self.options.cplc_data()
        return Subject(CardId("cplc", raw[0:2] + raw[2:4] + raw[16:18] + raw[12:16]), self.profile)

    @functools.cached_property
    def oracle(self) -> Oracle:
        """Who judges."""
        return Oracle(AllKeys(self.vault), self.subject)

    @functools.cached_property
    def identify(self) -> tuple[bytes, ...]:
        """The plain reads."""
        return tuple(step.command for step in identify_steps(self.profile))

    def begin(self) -> World:
        """Everything as it is before the first tap."""
        if self.operation in (Operation.ISSUE, Operation.ADOPT):
            return World(self.card.fresh)
        return self._issued.fork()

    @functools.cached_property
    def _issued(self) -> World:
        from tests.faults.joined import clean_tap

        issuing_it = replace_operation(self, Operation.ISSUE)
        world = issuing_it.begin()
        assert clean_tap(issuing_it, world, "station") == "issued", self.name
        issued = World(world.memory, world.records)
        assert not self.oracle.false_closing(issued.memory, issued.state)
        return issued


@functools.cache
def remembered(make: Callable[[int], Keys], number: int) -> RememberedVault:
    """One memory for each vault."""
    return RememberedVault(make(number))


def _both(_: int) -> Keys:
    return both()


@functools.cache
def rearmed(scenario: Scenario) -> Scenario:
    """The same card when both epochs are armed with generation 3."""
    name = f"{scenario.name}, both epochs armed"
    return Scenario(name, scenario.profile, scenario.options, Operation.REPLACE, rearmed=True)


@functools.cache
def replace_operation(scenario: Scenario, operation: Operation) -> Scenario:
    """The same card, another operation."""
    return Scenario(f"{operation.value} for {scenario.name}", scenario.profile, scenario.options, operation)


# --- their names --------------------------------------------------------------------------------------------------

MAIN = "scp03-aes128"


def _slug(words: str) -> str:
    kept = "".join(one if one.isalnum() else "-" for one in words.lower())
    return "-".join(filter(None, kept.split("-")))


@functools.cache
def scenarios() -> dict[str, Scenario]:
    """Every scenario by its name, such as replace/scp03-aes128 or rotate/scp03-aes256/executive/krk-first."""
    found = [*_cells(), *_habits(), *_sizes(), *_migrations()]
    found.append(Scenario(f"adopt/{MAIN}", ELSEWHERE, _elsewhere(CardOptions()), Operation.ADOPT))
    return {one.name: one for one in found}


def _elsewhere(options: CardOptions) -> CardOptions:
    return replace(options, factory_kvn=0x01, factory_fills=True)


def _cells() -> list[Scenario]:
    found = []
    for cell in RUNNING:
        parts = [cell.operation.value, _slug(str(cell.channel).replace("AES-", "AES"))]
        parts += [cell.lock.value] if cell.lock.value != "session" else []
        parts += ["krk-first"] if cell.krk_first else []
        parts += [cell.order.value] if cell.order.value != "delete-first" else []
        found.append(Scenario("/".join(parts), cell.profile, cell.options, cell.operation))
    return found


def _habits() -> list[Scenario]:
    found = []
    for name, (profile, options) in HABITS.items():
        for operation in (Operation.ISSUE, Operation.REPLACE):
            if not profile.refuses(operation):
                found.append(Scenario(f"{operation.value}/{_slug(name)}", profile, options, operation))
    return found


def _migrations() -> list[Scenario]:
    """Cards whose 3DES master set is replaced by an AES set, and those that refuse it."""
    chosen = (("plain", PLAIN), ("maced", MACED), ("install-first", THREE), ("renumber", RENUMBER))
    found = [
        Scenario(f"replace/migrates-{name}", kind.profile, kind.options, Operation.REPLACE) for name, kind in chosen
    ]
    found.append(Scenario("rotate/migrates-maced", MACED.profile, MACED.options, Operation.ROTATE))
    for name, kind in zip(("plain", "maced"), REFUSING, strict=False):
        found.append(Scenario(f"replace/refuses-aes-{name}", kind.profile, kind.options, Operation.REPLACE))
    return found


def _sizes() -> list[Scenario]:
    kinds: tuple[Kind, ...] = (AES256_S16, AES256_FROM_128)
    names = ("scp03-aes256-s16", "scp03-aes256-after-aes128")
    operations = (Operation.ISSUE, Operation.REPLACE, Operation.ROTATE)
    return [
        Scenario(f"{operation.value}/{name}", kind.profile, replace(kind.options, factory_key_bytes=16), operation)
        for name, kind in zip(names, kinds, strict=True)
        for operation in operations
    ]
