"""One installation that lives over many cases: real processes, and cards enough for all of them.

pcscd, key management server, access server, kiosk and station are those of `kioskd.demo.stage`; the roles are started
from the nursery. Between two cases everything is up, linked and idle.
"""

import asyncio
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from kioskd.demo.stage import SERVER_NAME, Stage
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.local_http import ask_local
from kioskd.edges.store import SqlStore
from kioskd.errors import KioskError
from kioskd.gp.cplc import CardId
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.profile import DEFAULT_PROFILE, Profile
from kioskd.rekey.records import CardState, Record, fold
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.vault import SoftVault
from kioskd.virtual.vpcd import CardInReader
from tests.rig import Rig
from tests.stack.cutter import DOWN, UP, Cutter
from tests.stack.judge import KmsKeys, complaints, finished
from tests.stack.keys import KeyRoom
from tests.stack.lossy import SERVER_ADDRESS, LossyLine
from tests.stack.roles import Nursery, Role, until

ADOPTING = replace(DEFAULT_PROFILE, adopts="factory", adopts_kvn=0x01)
ELSEWHERE = CardOptions(factory_kvn=0x01, factory_fills=True)
MOST_CARDS = 9_000
DISK_BYTES = 96 << 20
TAPS_OF_A_SERVER = 8


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
class House:
    """The installation at work on one operation."""

    stage: Stage
    nursery: Nursery
    cutter: Cutter
    store: SqlStore
    keys: KmsKeys
    issuer: SoftVault  # as it was before the campaign: it makes the cards that the campaign is for
    journal: SqliteJournal
    stack: ExitStack
    operation: Operation = field(init=False)
    lossy: bool = field(init=False, default=False)
    _taps_since: int = field(init=False, default=0)
    _line: LossyLine | None = field(init=False, default=None)
    made: int = field(init=False, default=0)

    # --- the processes ----------------------------------------------------------------------------------------------

    def work_on(self, name: str) -> None:
        """Starts the processes of an operation, over the plain link; those of another one end first."""
        self.operation = OPERATIONS[name]
        self._begin(lossy=False)

    def use_line(self, *, lossy: bool) -> None:
        """Whether the terminal and the server are on the slow link; both are started anew if they are not."""
        if lossy != self.lossy:
            self._begin(lossy=lossy)

    def _begin(self, *, lossy: bool) -> None:
        for role in ("kiosk", "station", "access"):
            self.nursery.stop(role)
        self.lossy = lossy
        more = self.operation.configuration.format(folder=self.stage.folder)
        usual = (self.stage.folder / "access.usual.yaml").read_text()
        host = SERVER_ADDRESS if lossy else "127.0.0.1"
        (self.stage.folder / "access.yaml").write_text(usual.replace("127.0.0.1", host) + more)
        self.start("access")
        self.start(self.operation.terminal)

    @property
    def lossy_line(self) -> LossyLine:
        """The slow link, made when it is first needed."""
        if self._line is None:
            self._line = self.stack.enter_context(LossyLine())
        return self._line

    def name_of(self, role: str) -> str:
        """The process at an end: "terminal" or "server"."""
        return self.operation.terminal if role == "terminal" else "access"

    def disk(self, role: str) -> Path:
        """Where an end keeps its journal or store: a small disk of its own."""
        return self.stage.folder / "disks" / role

    @property
    def terminal(self) -> Role:
        """The operation's terminal."""
        return self.nursery.present[self.operation.terminal]

    @property
    def access(self) -> Role:
        """The access server."""
        return self.nursery.present["access"]

    def start(self, name: str) -> None:
        """Starts a role that is not there, as its service manager does; a terminal waits for its link."""
        dead = self.nursery.present.pop(name, None)
        if dead is not None:
            dead.end(signal.SIGKILL)
        network = self.lossy_line.networks[DOWN if name == "access" else UP] if self.lossy else ""
        config = str(self.stage.folder / f"{name}{'.lossy' if self.lossy and name != 'access' else ''}.yaml")
        if name == "access":
            self._taps_since = 0
            self.nursery.start(name, "access", "serve", "--config", config, network=network)
            return
        self.stage.mouths[0 if name == "kiosk" else 1].wait()  # a card that has just left is not seen any more
        batch = ("--batch", "all", "--count", str(MOST_CARDS), "--plain") if name == "station" else ()
        seen = self._welcomes()
        self.nursery.start(name, name, "--config", config, *batch, network=network)
        self.until_linked(seen)

    def until_linked(self, seen: int = 0) -> None:
        """Waits until the server that runs now has welcomed the terminal more often than that, if both live on."""
        until(
            lambda: not (self.terminal.alive and self.access.alive) or self._welcomes() > seen,
            "the terminal has no link",
            self.terminal,
        )

    def rest(self) -> None:
        """A fresh server now and then: it lets a terminal recover a set number of replacement sets in a minute."""
        self._taps_since += 1
        if self._taps_since > TAPS_OF_A_SERVER:
            self.start("access")
            self.until_linked()

    def _welcomes(self) -> int:
        """How often the server that runs now has welcomed the terminal."""
        return self.access.said().count(f"{self.operation.terminal} connected, software")

    # --- cards ------------------------------------------------------------------------------------------------------

    def card(self) -> VirtualCard:
        """A card that the operation is for."""
        self.made += 1
        if self.operation.name in ("replace", "rotate"):
            return self._issued()
        options = ELSEWHERE if self.operation.name == "adopt" else CardOptions()
        path = self.stage.folder / f"card-{self.operation.name}-{self.made}.json"
        return VirtualCard(path, replace(options, serial=secrets.token_bytes(4)))

    def _issued(self) -> VirtualCard:
        """A card that was issued before the campaign: without a station and a reader."""
        card = self.stage.new_card(f"card-issued-{self.made}")
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

    def look(self) -> None:
        """Asks the terminal for its status, its open cases, and the one of the card that it has in hand."""
        socket = self.stage.folder / f"{self.operation.terminal}.sock"

        async def ask() -> None:
            told = await ask_local(socket, "GET", "/status")
            await ask_local(socket, "GET", "/cases")
            for tap in told["current"]:
                await ask_local(socket, "GET", f"/case/{tap['tap']}")

        with suppress(KioskError):  # it may die of it
            asyncio.run(ask())

    def waiting(self) -> int:
        """How many reports wait in the terminal's journal."""
        return pending(self.disk("terminal") / f"{self.operation.terminal}.journal")

    def checkpoint(self, role: str) -> None:
        """Empties the log of every database of an end: a write that follows makes it grow."""
        for file in (
            *self.disk(role).glob("*.journal"),
            *self.disk(role).glob("*.db"),
            *self.disk(role).glob("*.batch"),
        ):
            with closing(sqlite3.connect(file, timeout=5)) as writer:
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def complaints(self, card: VirtualCard) -> list[str]:
        """What is wrong with a card after its last tap."""
        one, records = self.operation, self.records(card)
        return complaints(self.keys, one.profile, card, records, one.generation, one.epoch)


def pending(journal: Path) -> int:
    """How many reports wait in a journal."""
    with closing(sqlite3.connect(f"{journal.as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
        count: int = reader.execute("SELECT COUNT(*) FROM scripts").fetchone()[0]
        return count


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """An installation, armed; no role runs yet."""
    with Stage(folder) as stage, Cutter(stage.port) as cutter, ExitStack() as stack:
        _lay_out(stage, cutter.port, stack)
        room = KeyRoom(folder)
        room.new_keys()
        room.bring(BundlePurpose.ISSUE, 1, 1)
        issuer = room.copy()
        room.new_keys()
        room.bring(BundlePurpose.ISSUE, 2, 2)
        room.bring(BundlePurpose.REPLACE, 2, 1)
        with Nursery(folder, stage.pcscd.environment) as nursery:
            store = SqlStore(f"sqlite:///{folder}/disks/server/access.db")
            stack.callback(store.close)
            journal = SqliteJournal(folder / "issuer.journal")
            stack.callback(lambda: asyncio.run(journal.close()))
            yield House(stage, nursery, cutter, store, KmsKeys(folder), issuer, journal, stack)


def _lay_out(stage: Stage, port: int, stack: ExitStack) -> None:
    """Each end has a small disk; the terminals reach the server through the cutter, or over the slow link."""
    folder = stage.folder
    for role in ("terminal", "server"):
        disk = folder / "disks" / role
        disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "kioskd", str(disk)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
    (folder / "profiles").mkdir()
    (folder / "profiles" / "adopting.yaml").write_text("adopts: factory\nadopts_kvn: 0x01\n")
    usual = _with(folder / "access.yaml", {f"{folder}/access.db": f"{folder}/disks/server/access.db"})
    (folder / "access.usual.yaml").write_text(usual)
    for name in ("kiosk", "station"):
        config = folder / f"{name}.yaml"
        _with(config, {f"{folder}/{name}.journal": f"{folder}/disks/terminal/{name}.journal"})
        lossy = config.read_text().replace("host: 127.0.0.1", f"host: {SERVER_ADDRESS}")
        (folder / f"{name}.lossy.yaml").write_text(lossy)
        _with(config, {f"port: {stage.port}, name: {SERVER_NAME}": f"port: {port}, name: {SERVER_NAME}"})


def _with(file: Path, changes: dict[str, str]) -> str:
    """A configuration with some words changed."""
    text = file.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return text
