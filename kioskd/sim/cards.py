"""A card of a simulation: the shipped virtual card, and the oracle that looks at it before and after every change."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.records import Intent, Record, fold
from kioskd.rekey.wire import Script
from kioskd.sim.kinds import Kind
from kioskd.sim.store import MemoryJournal
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import StoredSet
from kioskd.virtual.oracle import Oracle, Violation, Watched

_NO_DIAGNOSIS = 0x6F00


class RefusingCard(VirtualCard):
    """The virtual card, able to fail one command of a secure channel and to go on."""

    refuses = False

    def _done(self, command: CommandAPDU) -> ResponseAPDU:
        if self.refuses and self._session.authenticated:
            self.refuses = False
            return ResponseAPDU(b"", _NO_DIAGNOSIS)
        return super()._done(command)


class HeldCard:
    """One card in somebody's hand."""

    def __init__(self, kind: Kind, serial: bytes, some: random.Random, oracle: Oracle) -> None:
        self.kind = kind
        options = replace(kind.options, serial=serial)
        self.card = RefusingCard(options=options, random=some.randbytes)
        raw = options.cplc_data()
        self.subject = Subject(CardId("cplc", raw[0:2] + raw[2:4] + raw[16:18] + raw[12:16]), kind.profile)
        self.name = serial.hex()
        self.key = str(self.subject.card)  # as the store has it
        self.records: Callable[[], tuple[Record, ...]] = lambda: ()
        self.cryptograms: Callable[[], Iterator[Cryptogram]] = lambda: iter(())
        self.scripts: list[tuple[int, bytes]] = []  # those that sent a card-changing command
        self._oracle = oracle

    @property
    def watched(self) -> Watched:
        """What the oracle looks at."""
        return Watched(self.subject, self.card.options, self.card.memory)

    def reset(self) -> None:
        """Power off and on."""
        self.card.refuses = False
        self.card.reset()

    def transmit(self, command: bytes) -> bytes:
        """One command."""
        return self.card.transmit(command)

    def changing(self, script: Script, journal: MemoryJournal) -> None:
        """Invariant 4: the intent is in the store, the note in the journal, a new KRK's cryptogram in both."""
        key = (script.number, script.digest)
        if key not in journal.rows:
            raise Violation("a card-changing command without a note", self.key, f"script {script.number}")
        if not self._has_intent(key) and script.number > fold(self.records()).floor:
            raise Violation("a card-changing command without an intent", self.key, f"script {script.number}")
        if not self.scripts or self.scripts[-1] != key:
            self.scripts.append(key)
        if script.cryptogram is not None and (self.key, script.cryptogram) not in journal.kept:
            raise Violation("a replacement set whose cryptogram is in one place only", self.key)

    def changed(self) -> None:
        """Invariant 1, after every card-changing command."""
        self._oracle.something_opens(self.watched, self.records(), self.cryptograms())

    def _has_intent(self, key: tuple[int, bytes]) -> bool:
        return any(isinstance(one, Intent) and (one.number, one.digest) == key for one in reversed(self.records()))

    def plant(self, kvn: int, instead_of: int, some: random.Random) -> None:
        """Somebody who has the master set puts one of their own in its place."""
        old = self.card.memory.at(instead_of)
        assert old is not None
        enc, mac, dek = (some.randbytes(len(old.enc)) for _ in range(3))
        self.card.memory = self.card.memory.having(StoredSet(kvn, enc, mac, dek, old.tries, kind=old.kind), instead_of)
