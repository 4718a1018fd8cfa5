"""What must be true of a card and its records, asked of the card's own memory: for simulated runs.

A stand-in's privilege: it looks at the key values that a real card never shows and compares them with what the records
let a server compute. It finds no fault or says in one sentence each what is wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.rekey.profile import FactoryHabit, Lock
from kioskd.rekey.records import CardState, Closed, Found, Intent, MasterRef, Record, Registered, fold
from kioskd.virtual.card_memory import CardMemory, StoredSet

KeyBytes = tuple[bytes, ...]
"""ENC, MAC and DEK in the clear."""


class KnownKeys(Protocol):
    """Every key that the records can lead to, in the clear: only a simulation has that."""

    def master(self, label: KeyLabel) -> KeyBytes:
        """The master set of a label."""
        ...

    def krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyBytes:
        """The replacement set of a cryptogram."""
        ...

    def factory(self, name: str) -> KeyBytes:
        """The known set of that name."""
        ...


@dataclass(frozen=True, slots=True)
class Oracle:
    """Judges one card against its records."""

    keys: KnownKeys
    subject: Subject

    def is_master(self, stored: StoredSet | None, master: MasterRef) -> bool:
        """Whether a set of the card is that installation of a master set, its data encryption key included."""
        profile = self.subject.profile
        if stored is None or set(stored.entries()) != profile.entries(master.kvn, master.kind):
            return False
        if not master.generation:
            return _values(stored) == self.keys.factory(profile.adopts)
        return _values(stored) == self.keys.master(self.subject.master_label(master))

    def is_krk(self, stored: StoredSet | None, krk: Cryptogram) -> bool:
        """Whether a set of the card is the replacement set of that cryptogram."""
        if stored is None or stored.kvn != krk.kvn:
            return False
        return _values(stored) == self.keys.krk(krk, self.subject.krk_label(krk.epoch, krk.install, krk.kvn))

    def opens(self, memory: CardMemory, state: CardState) -> bool:
        """Whether at least one set on the card is one that the server can compute or hold (invariant 1)."""
        profile = self.subject.profile
        known = memory.at(profile.factory_kvn)
        if known is not None and not state.issued and _values(known) == self.keys.factory(profile.factory_set):
            return True
        if any(self.is_krk(memory.at(one.kvn), one) for one in state.krks):
            return True
        sent = (one.master for one in state.intents if one.master is not None)
        return any(self.is_master(memory.at(one.kvn), one) for one in (*state.masters, *sent))

    def false_closing(self, memory: CardMemory, state: CardState) -> str:
        """Why a case that the records call closed is not; empty if the card is as they say (invariant 5)."""
        closed, registered = state.closed, state.registered
        if closed is None or registered is None or state.open:
            return ""
        kvns = {one.kvn for one in memory.sets}
        if kvns != {closed.krk.kvn, closed.master.kvn}:
            return f"closed, but the card's key sets are {_hex(kvns)}"
        if not self.is_master(memory.at(closed.master.kvn), closed.master):
            return f"closed, but the set at {closed.master.kvn:02X} is not the master set on record"
        if not self.is_krk(memory.at(closed.krk.kvn), closed.krk):
            return f"closed, but the set at {closed.krk.kvn:02X} is not the KRK on record"
        if set(memory.others) != set(registered.bystanders):
            return "closed, but a bystander is gone"
        return self._unlocked(memory)

    def _unlocked(self, memory: CardMemory) -> str:
        profile, adopted = self.subject.profile, bool(self.subject.profile.adopts)
        if profile.lock is Lock.LIFECYCLE and memory.life_cycle is not profile.rests:
            return f"closed, but the card is {memory.life_cycle.name}"
        if memory.sealed is not (profile.lock is Lock.EXECUTIVE and not adopted):
            return "closed, but its executive is not as the profile says"
        return ""

    def complaints(self, memory: CardMemory, records: tuple[Record, ...], *, tries: int) -> list[str]:
        """All that is wrong with a card at rest; `tries`: the fewest that a key set must have left."""
        state = fold(records)
        wrong = [] if self.opens(memory, state) else [f"nothing opens the card: {_hex(one.kvn for one in memory.sets)}"]
        wrong += [said for said in (self.false_closing(memory, state), audit_gap(records)) if said]
        spent = sorted(one.kvn for one in memory.sets if one.tries < tries)
        return wrong + ([f"attempts were spent at {_hex(spent)}"] if spent else [])

    def untouched(self, memory: CardMemory) -> bool:
        """Whether the card is as it came: its factory set, and none of ours."""
        kvns = {one.kvn for one in memory.sets}
        return kvns == {self.subject.profile.factory_kvn}

    @property
    def factory_stays(self) -> bool:
        """Whether the card's factory set outlives the first PUT KEY."""
        return self.subject.profile.factory is not FactoryHabit.DROPS


def audit_gap(records: tuple[Record, ...]) -> str:
    """What the records leave out; empty if each finding and each closing stands on a script that is on record."""
    sent: dict[int, Intent] = {}
    judged: set[int] = set()
    registered = False
    for record in records:
        match record:
            case Registered():
                registered = True
            case Intent():
                if record.number in sent:
                    return f"two scripts have the number {record.number}"
                if not registered:
                    return f"script {record.number} is older than its card's registration"
                sent[record.number] = record
            case Found():
                if record.number not in sent:
                    return f"evidence about script {record.number}, which was never sent"
                judged.add(record.number)
            case Closed():
                if record.number not in judged:
                    return f"closed by script {record.number}, of which there is no evidence"
    installs = [one.cryptogram.install for one in sent.values() if one.cryptogram is not None]
    installs += [one.master.install for one in sent.values() if one.master is not None]
    return "an install number was used twice" if len(installs) != len(set(installs)) else ""


def _values(stored: StoredSet) -> KeyBytes:
    return (stored.enc, stored.mac, stored.dek)


def _hex(kvns: Iterable[int]) -> str:
    return ", ".join(f"{kvn:02X}" for kvn in sorted(kvns)) or "none"
