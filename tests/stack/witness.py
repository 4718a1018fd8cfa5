"""Looks at both disks whenever a card has executed a command that changes it: what must be written before is there.

The files are read from outside, as another process sees them: what is not committed is not there.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from kioskd.gp.apdu import INS
from kioskd.virtual.card import VirtualCard
from tests.stack.cases import SERVER, TERMINAL, Recording
from tests.stack.house import House

CHANGING = frozenset({INS.DELETE, INS.PUT_KEY, INS.SET_STATUS})
DURABLE = ("journal.note_in_doubt", "journal.keep_report", "store.")
"""The writes that wait for the disk; an acknowledgement need not, for a lost one comes again."""


@dataclass(slots=True)
class Witness:
    """Looks at one card's commands; `wrong` is what was not written down."""

    house: House
    card: VirtualCard
    seen: int = 0
    wrong: list[str] = field(default_factory=list)

    def __call__(self, command: bytes) -> None:
        """At each command, when the card has executed it and before it answers."""
        if command[1] not in CHANGING:
            return
        self.seen += 1
        name = f"{INS(command[1]).name}: "
        intent = self.house.cards.state(self.card).last
        if intent is None:
            self.wrong.append(name + "the store has no intent")
            return
        notes, cryptograms = self._journal(intent.number, intent.digest)
        if not notes:
            self.wrong.append(name + f"the journal has no note of script {intent.number}")
        if intent.cryptogram is not None and not cryptograms:
            self.wrong.append(name + "the journal has no cryptogram of the card")

    def _journal(self, number: int, digest: bytes) -> tuple[int, int]:
        """How many notes of a script, and how many cryptograms of its card, are in the terminal's journal."""
        file = self.house.disk(TERMINAL) / f"{self.house.operation.terminal}.journal"
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
            row = reader.execute(
                "SELECT card FROM scripts WHERE number = ? AND digest = ?", (number, digest)
            ).fetchone()
            if row is None:
                return 0, 0
            return 1, reader.execute("SELECT COUNT(*) FROM cryptograms WHERE card = ?", row).fetchone()[0]


def both(first: Callable[[bytes], None], then: Callable[[bytes], None] | None) -> Callable[[bytes], None]:
    """Two looks at a command, one after the other."""

    def look(command: bytes) -> None:
        first(command)
        if then is not None:
            then(command)

    return look


def unsynced(made: Recording) -> list[str]:
    """The ends that write more often than they wait for the disk: what a power cut would take."""
    wrong = []
    for role in (TERMINAL, SERVER):
        met = [at.partition(" ")[2] for at in made.met[role] if at.startswith("uncommitted ")]
        writes = sum(one.startswith(DURABLE) and ".charge " not in one for one in met)
        waits = made.calls[role]["fdatasync"] + made.calls[role]["fsync"]
        if not writes or waits < writes:
            wrong.append(f"{made.operation}: the {role} writes {writes} times and waits for the disk {waits} times")
    return wrong
