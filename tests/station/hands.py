"""A station at work on real readers: people who put cards in, pull some too early, and do as the screen says."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.demo.stage import Stage
from kioskd.edges.batch_file import BatchContent, read_batch
from kioskd.gp.apdu import INS
from kioskd.rekey.records import CardState, fold
from kioskd.station.board import Doing
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.vpcd import CardInReader, Mouth
from tests.path.scene import BEFORE, open_store
from tests.rig import Rig

STEPS = 17
"""How many commands an issuance sends to a card."""

PATIENCE_S = 30.0
LOOK_S = 0.03
COUNTS = ("issued", "already-issued")


@dataclass(slots=True)
class Tally:
    """What the people saw."""

    taps: list[dict[str, Any]] = field(default_factory=list)
    put_in: int = 0

    def outcomes(self) -> dict[str, int]:
        """How the taps ended."""
        names = [tap["outcome"] for tap in self.taps]
        return {name: names.count(name) for name in sorted(set(names))}


@dataclass(slots=True)
class Room:
    """The station, its readers, and the cards that are still to be issued."""

    stage: Stage
    name: str  # of the batch
    waiting: deque[VirtualCard] = field(default_factory=deque)
    tally: Tally = field(default_factory=Tally)
    twice: set[int] = field(default_factory=set)  # cards (by id()) that are put in again after they were issued
    look: Callable[[bytes], None] | None = None  # at each command, before the card's answer leaves
    status: dict[str, Any] = field(default_factory=dict)
    wrong: list[BaseException] = field(default_factory=list)
    _mouths: list[Mouth] = field(init=False)

    def __post_init__(self) -> None:
        self._mouths = [Mouth() for _ in self.stage.pcscd.readers]

    def start(self, *args: str) -> None:
        """Starts the station on the batch."""
        config = str(self.stage.folder / "station.yaml")
        self.stage.roles.start("station", "station", "--config", config, "--batch", self.name, *args)
        self.until_linked()

    def until_linked(self) -> None:
        """Waits for the station's link."""

        def linked() -> bool:
            told = self.stage.roles.status("station")
            return told is not None and bool(told["link"]["connected"])

        self.stage.roles.until(linked, "the station has no link", PATIENCE_S)

    def ended(self) -> bool:
        """Whether the station's process has ended, by itself or not."""
        return self.stage.roles._processes["station"].poll() is not None

    def exit_code(self) -> int:
        """How the station's process ends."""
        return self.stage.roles._processes["station"].wait(PATIENCE_S)

    def kill(self) -> None:
        """Ends the station as a power cut does."""
        self.stage.roles._processes["station"].kill()
        self.exit_code()

    def work_and_kill(self, issued: int, ins: INS) -> None:
        """Works until that many are issued; then the station is killed as a card has executed such a command."""

        def look(command: bytes) -> None:
            if self.status.get("batch", {}).get("issued", 0) >= issued and command[1:2] == bytes((ins,)):
                self.kill()

        self.look = look
        self.work()
        self.look, self.status = None, {}

    def work(self) -> None:
        """A person at each reader, until no card waits or the station has ended."""
        stop = threading.Event()
        people = [threading.Thread(target=self._person, args=(at,)) for at in range(len(self._mouths))]
        look = threading.Thread(target=self._look, args=(stop,))
        for thread in (look, *people):
            thread.start()
        for person in people:
            person.join()
        stop.set()
        look.join()
        if self.wrong:
            raise self.wrong[0]

    def batch(self) -> BatchContent:
        """The batch as it is on disk."""
        return read_batch(self.stage.folder / f"{self.name}.batch")

    def _look(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_S):
            self.status = self.stage.roles.status("station") or self.status

    def _person(self, at: int) -> None:
        try:
            while not self.ended():
                try:
                    card = self.waiting.popleft()
                except IndexError:
                    return
                self._put_in(at, card)
        except BaseException as wrong:  # noqa: BLE001 - it is raised where the work was asked for
            self.wrong.append(wrong)

    def _put_in(self, at: int, card: VirtualCard) -> None:
        slot = self.stage.pcscd.readers[at]
        mouth = self._mouths[at]
        hand = CardInReader(card, lambda: self.stage.pcscd.connect_card(slot), before_answer=self.look, mouth=mouth)
        before = {tap["tap"] for tap in self._taps(slot.name)}
        hand.insert()
        self.tally.put_in += 1
        try:
            tap = self._next_tap(slot.name, before)
        finally:
            hand.pull()
        if tap is None:  # not taken: the station has ended, was killed, or asks for it later
            self.waiting.append(card)
            return
        self.tally.taps.append(tap)
        if tap["outcome"] not in COUNTS:
            self.waiting.append(card)
        elif id(card) in self.twice:
            self.twice.discard(id(card))
            self.waiting.append(card)

    def _taps(self, reader: str) -> list[dict[str, Any]]:
        return [tap for tap in self.status.get("taps", []) if tap["reader"] == reader]

    def _next_tap(self, reader: str, before: set[str]) -> dict[str, Any] | None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            new = [tap for tap in self._taps(reader) if tap["tap"] not in before]
            if new:
                return new[-1]
            if self.ended() or self._not_needed(reader):
                return None
            time.sleep(LOOK_S)
        raise AssertionError(f"no tap ended in {reader}: {self.status.get('batch')}")

    def _not_needed(self, reader: str) -> bool:
        """Whether the screen asks for the card back: others that are under way may fill the batch."""
        said: str = self.status.get("batch", {}).get("readers", {}).get(reader, "")
        return said == Doing.SURPLUS.value


@contextmanager
def open_stage(folder: Path, readers: int = 4) -> Iterator[Stage]:
    """An installation whose station has that many readers, its access server running."""
    with Stage(folder, rsa_bits=2048, readers=readers) as stage:
        config = folder / "station.yaml"
        slot = stage.pcscd.slots[1].name
        text = config.read_text()
        assert slot in text
        config.write_text(text.replace(slot, " 00 00"))  # the first slot of each reader
        stage.make_keys()
        stage.start_access()
        yield stage


def tear_some(cards: list[VirtualCard]) -> int:
    """Has every fifth card pulled at one of its commands, each command in turn, before it or behind it; how many."""
    torn = cards[::5]
    for number, card in enumerate(torn):
        card.tear(list(Tear)[number % len(Tear)], None, number * 7 % STEPS)
    return len(torn)


def unissued(stage: Stage, cards: list[VirtualCard]) -> list[int]:
    """The numbers of the cards that are not issued and verified.

    By the server's records and the card's own key information: an issued card holds the master set and the
    replacement set, and the factory set is gone.
    """

    async def work() -> list[int]:
        store = open_store(stage)
        bad = []
        for number, card in enumerate(cards):
            rig = Rig(card, None, store, None)  # type: ignore[arg-type]
            state: CardState = fold(await store.records(rig.card_id()))
            if not state.issued or frozenset(rig.key_information().kvns) != BEFORE:
                bad.append(number)
        store.close()
        return bad

    return asyncio.run(work())
