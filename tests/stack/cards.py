"""The cards of the house: made for the operation that is under way, held to the records and to every key."""

import asyncio
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from kioskd.demo.stage import Stage
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import SqlStore
from kioskd.gp.cplc import CardId
from kioskd.rekey.profile import DEFAULT_PROFILE, Profile
from kioskd.rekey.records import CardState, Record, fold
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.vault import SoftVault
from kioskd.virtual.vpcd import CardInReader
from tests.rig import Rig
from tests.stack.judge import KmsKeys, complaints, finished

ADOPTING = replace(DEFAULT_PROFILE, adopts="factory", adopts_kvn=0x01)
ELSEWHERE = CardOptions(factory_kvn=0x01, factory_fills=True)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a tap is for: at which terminal, how the server is configured, what the records say afterwards."""

    name: str
    terminal: str
    generation: int
    epoch: int
    profile: Profile = DEFAULT_PROFILE
    configuration: str = ""  # more lines for the access server


OPERATIONS = {
    one.name: one
    for one in (
        Operation("replace", "kiosk", 2, 1),
        Operation("rotate", "kiosk", 2, 2, configuration="rotate_krk: true\n"),
        Operation("issue", "station", 2, 2),
        Operation("adopt", "kiosk", 0, 2, ADOPTING, "profiles: {folder}/profiles\n"),
    )
}


@dataclass(slots=True)
class Cards:
    """Every card of the house, and what the server knows of them."""

    stage: Stage
    store: SqlStore
    keys: KmsKeys
    issuer: SoftVault  # as it was before the campaign: it makes the cards that the campaign is for
    journal: SqliteJournal
    operation: Operation = OPERATIONS["replace"]
    _made: int = field(init=False, default=0)

    def new(self) -> VirtualCard:
        """A card that the operation is for."""
        self._made += 1
        if self.operation.name in ("replace", "rotate"):
            return self._issued()
        options = ELSEWHERE if self.operation.name == "adopt" else CardOptions()
        path = self.stage.folder / f"card-{self.operation.name}-{self._made}.json"
        return VirtualCard(path, replace(options, serial=secrets.token_bytes(4)))

    def _issued(self) -> VirtualCard:
        """A card that was issued before the campaign: without a station and a reader."""
        card = self.stage.new_card(f"card-issued-{self._made}")
        outcome = asyncio.run(Rig(card, self.issuer, self.store, self.journal).tap("issue"))
        assert outcome == "issued", outcome
        return card

    def hand(self, card: VirtualCard) -> CardInReader:
        """A hand with the card at the operation's terminal."""
        return self.stage.holder(card, self.operation.terminal)

    def records(self, card: VirtualCard) -> tuple[Record, ...]:
        """What the server has on record of a card."""
        number = card.options.cplc_data()
        canonical = CardId("cplc", number[0:2] + number[2:4] + number[16:18] + number[12:16])
        return asyncio.run(self.store.records(canonical))

    def state(self, card: VirtualCard) -> CardState:
        """The records, folded."""
        return fold(self.records(card))

    def done(self, card: VirtualCard) -> bool:
        """Whether the case is closed as it must be, and no report waits at the terminal."""
        state = self.state(card)
        return finished(state, self.operation.generation, self.operation.epoch) and not self.waiting()

    def waiting(self) -> int:
        """How many reports wait in the terminal's journal."""
        return pending(disk_of(self.stage, "terminal") / f"{self.operation.terminal}.journal")

    def complaints(self, card: VirtualCard) -> list[str]:
        """What is wrong with a card after its last tap."""
        one, records = self.operation, self.records(card)
        return complaints(self.keys, one.profile, card, records, one.generation, one.epoch)


def disk_of(stage: Stage, role: str) -> Path:
    """Where an end keeps its journal or store: a small disk of its own."""
    return stage.folder / "disks" / role


def pending(journal: Path) -> int:
    """How many reports wait in a journal."""
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
        count: int = reader.execute("SELECT COUNT(*) FROM scripts").fetchone()[0]
        return count
