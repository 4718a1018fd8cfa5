"""One installation that lives over many cases: real processes, and cards enough for all of them.

pcscd, key management server, access server, kiosk and station are those of `kioskd.demo.stage`; the roles are started
from the nursery. Between two cases everything is up, linked and idle.
"""

import asyncio
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kioskd.demo.stage import SERVER_NAME, Stage
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.local_http import ask_local
from kioskd.edges.store import SqlStore
from kioskd.errors import KioskError
from kioskd.rekey.bundle import BundlePurpose
from tests.stack.cards import OPERATIONS, Cards, Operation, disk_of
from tests.stack.cutter import DOWN, UP, Cutter
from tests.stack.judge import KmsKeys
from tests.stack.keys import KeyRoom
from tests.stack.lossy import SERVER_ADDRESS, LossyLine
from tests.stack.roles import Nursery, Role, until

MOST_CARDS = 9_000
DISK_BYTES = 96 << 20
TAPS_OF_A_SERVER = 8


@dataclass(slots=True)
class House:
    """The installation at work on one operation."""

    stage: Stage
    nursery: Nursery
    cutter: Cutter
    cards: Cards
    stack: ExitStack
    lossy: bool = field(init=False, default=False)
    _taps_since: int = field(init=False, default=0)
    _line: LossyLine | None = field(init=False, default=None)

    # --- the processes ----------------------------------------------------------------------------------------------

    def work_on(self, name: str) -> None:
        """Starts the processes of an operation, over the plain link; those of another one end first."""
        self.cards.operation = OPERATIONS[name]
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
    def operation(self) -> Operation:
        """What is under way."""
        return self.cards.operation

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
        return disk_of(self.stage, role)

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


def look(house: House) -> None:
    """Asks the terminal for its status, its open cases, and the one of the card that it has in hand."""
    socket = house.stage.folder / f"{house.operation.terminal}.sock"

    async def ask() -> None:
        told = await ask_local(socket, "GET", "/status")
        await ask_local(socket, "GET", "/cases")
        for tap in told["current"]:
            await ask_local(socket, "GET", f"/case/{tap['tap']}")

    with suppress(KioskError):  # it may die of it
        asyncio.run(ask())


def checkpoint(disk: Path) -> None:
    """Empties the log of every database of an end: a write that follows makes it grow."""
    for file in (file for end in ("journal", "db", "batch") for file in disk.glob(f"*.{end}")):
        with closing(sqlite3.connect(file, timeout=5)) as writer:
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


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
            yield House(stage, nursery, cutter, Cards(stage, store, KmsKeys(folder), issuer, journal), stack)


def _lay_out(stage: Stage, port: int, stack: ExitStack) -> None:
    """Each end has a small disk; the terminals reach the server through the cutter, or over the slow link."""
    folder = stage.folder
    disks = [disk_of(stage, role) for role in ("terminal", "server")]
    _put_away_at_the_end(disks, stack)
    for disk in disks:
        disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "kioskd", str(disk)], check=True)
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


def _put_away_at_the_end(disks: list[Path], stack: ExitStack) -> None:
    """Unmounts the disks when this process ends, whatever ends it: its end of a pipe is closed then."""
    command = ["sh", "-c", 'cat; umount --lazy "$@"', "disks", *map(str, disks)]
    keeper = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))
    assert keeper.stdin is not None
    stack.callback(keeper.stdin.close)


def _with(file: Path, changes: dict[str, str]) -> str:
    """A configuration with some words changed."""
    text = file.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text)
    return text
