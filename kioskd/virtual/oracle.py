"""What must be true of a card, asked of the card's own memory and of the records, with every key of the installation.

While cards are being changed: something that the server can compute opens the card. Whenever a case is closed: the card
holds exactly the sets of that closing, and the bystanders. At the end, after clean taps: the server's belief is what is
on the card, the case is closed at the generation that is due, every script that changed the card is on record and
settled, at most half of a set's attempts are spent, and every waiting report has been taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kioskd.gp.isd import DES_TYPE
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import Cryptogram, agreed_rnd
from kioskd.rekey.profile import Lock
from kioskd.rekey.records import CardState, Closed, Intent, MasterRef, Record, fold
from kioskd.secret import Secret
from kioskd.virtual.card_memory import FACTORY_KEY, CardMemory
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.derivation import KeyValues, krk_values, master_values
from kioskd.virtual.seeded_vault import KeyServer

_PARITY = bytes(0xFE for _ in range(32))


class Violation(BaseException):
    """A promise that was broken. Not an Exception: nothing that is under test may catch it."""

    def __init__(self, rule: str, card: str, detail: str = "") -> None:
        super().__init__(f"{rule}: card {card}{': ' if detail else ''}{detail}")
        self.rule = rule
        self.card = card


@dataclass(frozen=True, slots=True)
class Watched:
    """A card as the oracle sees it: its memory behind all channels, and the subject of its labels."""

    subject: Subject
    options: CardOptions
    memory: CardMemory

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.subject.card)


class Oracle:
    """Holds cards against records with every key of an installation."""

    def __init__(self, keys: KeyServer) -> None:
        self._keys = keys
        self._krks: dict[bytes, KeyValues] = {}  # each point is of one set
        self._opener: dict[str, tuple[int, bytes]] = {}  # what was last seen to open each card

    def something_opens(self, card: Watched, records: Iterable[Record], cryptograms: Iterable[Cryptogram]) -> None:
        """Invariant 1: the factory set, a master set with an intent, or a KRK whose cryptogram is durable somewhere."""
        opener = self._opener.get(card.name)
        if opener is not None and any((one.kvn, one.enc) == opener for one in card.memory.sets):
            return
        rows = tuple(records)
        candidates = [(card.options.factory_kvn, factory_values(card.options.factory_key_bytes))]
        krks = {*cryptograms, *(one.cryptogram for one in rows if isinstance(one, Intent) and one.cryptogram)}
        candidates += [(one.kvn, self._krk(card.subject, one)) for one in sorted(krks, key=lambda one: one.install)]
        masters = (one.master for one in rows if isinstance(one, Intent) and one.master is not None)
        candidates += [(one.kvn, self._master(card.subject, one)) for one in masters]
        found = next((kvn for kvn, values in candidates if _holds(card.memory, kvn, values)), None)
        if found is None:
            raise Violation("nothing opens the card", card.name, _sets(card.memory))
        stored = card.memory.at(found)
        assert stored is not None
        self._opener[card.name] = (found, stored.enc)

    def closed_truly(self, card: Watched, state: CardState) -> None:
        """Invariant 5: the card holds the proven sets and the bystanders, with these keys, and nothing else."""
        closed, registered = state.closed, state.registered
        if closed is None or registered is None:
            raise Violation("not closed", card.name)
        kvns = {one.kvn for one in card.memory.sets}
        if kvns != {closed.krk.kvn, closed.master.kvn}:
            raise Violation("a foreign set behind a closed case", card.name, f"{_sets(card.memory)}, {_said(closed)}")
        master = card.memory.at(closed.master.kvn)
        expected = card.subject.profile.entries(closed.master.kvn, closed.master.kind)
        if master is None or set(master.entries()) != expected:
            raise Violation("the card's master set is of another kind", card.name, _said(closed))
        if not _holds(card.memory, closed.master.kvn, self._master(card.subject, closed.master)):
            raise Violation("the card has another master set", card.name, _said(closed))
        if not _holds(card.memory, closed.krk.kvn, self._krk(card.subject, closed.krk)):
            raise Violation("the card has another replacement set", card.name, _said(closed))
        if set(card.memory.others) != set(registered.bystanders):
            raise Violation("a bystander is gone", card.name)
        profile = card.subject.profile
        if profile.lock is Lock.LIFECYCLE and card.memory.life_cycle is not profile.rests:
            raise Violation("a closed case's card is not locked", card.name)
        if card.memory.sealed is not (profile.lock is Lock.EXECUTIVE):
            raise Violation("a closed case's card is not sealed", card.name)

    def finished(self, card: Watched, records: tuple[Record, ...], generation: int) -> CardState:
        """What must be true after clean taps; the card's state."""
        state = fold(records)
        if state.open or state.closed is None:
            raise Violation("the case does not close by itself", card.name, _sets(card.memory))
        if state.closed.master.generation != generation:
            raise Violation("the belief is of another generation", card.name, _said(state.closed))
        self.closed_truly(card, state)
        for one in card.memory.sets:
            # A card in two readers at once takes one conversation's cryptogram for the other's: that costs an attempt.
            if 2 * one.tries < card.options.tries:
                raise Violation("attempts are spent", card.name, f"KVN {one.kvn:02X} has {one.tries} left")
        unsettled = [one.number for one in state.intents if one.number > state.settled]
        unproven = [one.number for one in records if isinstance(one, Closed) and one.number not in state.found]
        if unsettled or unproven:
            raise Violation("the audit is not complete", card.name, f"unsettled {unsettled}, unproven {unproven}")
        return state

    def audited(self, card: str, scripts: Iterable[tuple[int, bytes]], state: CardState) -> None:
        """Every script that sent a card-changing command is on record, unless a store was lost since."""
        for number, digest in scripts:
            if number > state.floor and state.intent(number, digest) is None:
                raise Violation("a script that changed the card is not on record", card, f"script {number}")

    def _master(self, subject: Subject, master: MasterRef) -> KeyValues:
        if not master.generation:  # of a card that was issued elsewhere
            return factory_values(subject.profile.key_bytes)
        return master_values(self._keys.block(master.generation), subject.master_label(master))

    def _krk(self, subject: Subject, krk: Cryptogram) -> KeyValues:
        known = self._krks.get(krk.value)
        if known is None:
            known = self._krks[krk.value] = self._recovered(subject, krk)
        return known

    def _recovered(self, subject: Subject, krk: Cryptogram) -> KeyValues:
        label = agreed_rnd(subject.krk_label(krk.epoch, krk.install, krk.kvn), krk.value)[1]
        return krk_values(self._keys.epochs[krk.epoch].krkdb, self._keys.shared(krk.epoch, krk.value), label)


def _holds(memory: CardMemory, kvn: int, values: KeyValues) -> bool:
    """Whether the card has exactly that key set at that number, its data encryption key included."""
    found = memory.at(kvn) if kvn else None
    if found is None:
        return False
    there, wanted = (found.enc, found.mac, found.dek), tuple(one.reveal() for one in values)
    if found.kind == DES_TYPE:  # bit 0 of each byte means nothing
        return [_even(one) for one in there] == [_even(one) for one in wanted]
    return there == wanted


def _even(key: bytes) -> bytes:
    return bytes(byte & mask for byte, mask in zip(key, _PARITY, strict=False))


def _sets(memory: CardMemory) -> str:
    return "on the card " + " ".join(f"{one.kvn:02X}" for one in memory.sets)


def _said(closed: Closed) -> str:
    return f"closed by script {closed.number} with master {closed.master.kvn:02X} and KRK {closed.krk.kvn:02X}"


def factory_values(size: int) -> KeyValues:
    """The factory set of cards with factory keys of so many bytes."""
    value = Secret(FACTORY_KEY[:size])
    return KeyValues(value, value, value)
