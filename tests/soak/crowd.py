"""People at every reader of one kiosk, with cards that are due, cards that are done, and hands that pull too early."""

import asyncio
import random
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from kioskd.demo.stage import Stage
from kioskd.edges.status_client import StatusClient
from kioskd.rekey.records import fold
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.vpcd import CardInReader, Mouth
from tests.path.scene import issue, open_store
from tests.rig import Rig
from tests.soak.samples import Flat, Sample, process, size_kb

PATIENCE_S = 120.0
STEPS = 10
"""How many commands a replacement sends to a card."""

DONE = frozenset({"done", "already-done"})
PULLED = frozenset({"card-pulled", "card-pulled-in-doubt"})
LOG_KB = 4500
"""SQLite writes its log back at 1000 pages of 4 kB, and begins again at its start."""

PROCESSES = ("kiosk", "access", "pcscd")


@dataclass(slots=True)
class Ear:
    """Hears the kiosk's events: at which reader a tap has ended, and how."""

    socket: Path
    ended: "dict[str, SimpleQueue[str]]" = field(default_factory=lambda: defaultdict(SimpleQueue))
    wrong: list[BaseException] = field(default_factory=list)
    _listens: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Listens from now on, until the kiosk ends."""
        threading.Thread(target=self._run, name="ear", daemon=True).start()
        assert self._listens.wait(PATIENCE_S), "the kiosk tells no events"

    def _run(self) -> None:
        try:
            asyncio.run(self._listen())
        except BaseException as wrong:  # noqa: BLE001 - it is raised where somebody waits for a tap
            self.wrong.append(wrong)

    async def _listen(self) -> None:
        readers: dict[str, str] = {}
        async for event in StatusClient(self.socket).events():
            self._listens.set()
            if event.get("kind") == "tap-began":
                readers[event["about"]] = event["result"]
            elif event.get("kind") == "tap-ended":
                self.ended[readers.pop(event["about"])].put(event["result"])

    def next_end(self, reader: str) -> str:
        """How the next tap at a reader ends."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and not self.wrong:
            try:
                return self.ended[reader].get(timeout=1)
            except Empty:
                continue
        raise AssertionError(f"no tap ended in {reader}: {self.wrong}")


@dataclass(slots=True)
class Deck:
    """One person's cards: which are due a replacement, and which are done already."""

    due: list[VirtualCard]
    done: list[VirtualCard] = field(default_factory=list)

    def is_done(self, card: VirtualCard) -> None:
        """A tap has said so."""
        if any(one is card for one in self.due):
            self.due = [one for one in self.due if one is not card]
            self.done.append(card)

    def renew(self) -> None:
        """A campaign has begun: every card is due."""
        self.due, self.done = self.due + self.done, []


@dataclass(slots=True)
class Ration:
    """So many replacements in a minute, for everybody together: the access server grants one terminal no more."""

    most: int = 50
    span_s: float = 60.0
    _times: "deque[float]" = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> bool:
        """One of them, if there is one left."""
        with self._lock:
            now = time.monotonic()
            while self._times and self._times[0] < now - self.span_s:
                self._times.popleft()
            granted = len(self._times) < self.most
            if granted:
                self._times.append(now)
            return granted


@dataclass(slots=True)
class Crowd:
    """The people, each at one reader with cards of their own; most tap a card that is done already."""

    stage: Stage
    cards: list[VirtualCard]
    due: float = 0.2  # how many taps are of a card that is due, as long as there are any
    pulled: float = 0.05  # how many of the cards are pulled before their tap has ended
    seed: int = 1
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[BaseException] = field(default_factory=list)
    generation: int = 2
    decks: list[Deck] = field(init=False)
    _ear: Ear = field(init=False)
    _ration: Ration = field(init=False, default_factory=Ration)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _mouths: list[Mouth] = field(init=False)
    _begun: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        places = len(self.stage.pcscd.slots)
        self._mouths = [Mouth() for _ in range(places)]
        self.decks = [Deck(self.cards[at::places]) for at in range(places)]
        self._ear = Ear(self.stage.folder / "kiosk.sock")
        self._ear.start()

    @property
    def taps(self) -> int:
        """How many taps have ended."""
        return self.outcomes.total()

    def work(self, taps: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Taps until so many have ended, with cards taken at random; `meanwhile` is called again and again."""
        self._begun = self.taps
        self._together(lambda at: self._at_random(at, taps), meanwhile)

    def finish(self) -> None:
        """Everybody taps each card of theirs that is due, until it is done."""
        self._together(self._each, lambda: None)

    def release(self) -> None:
        """A campaign for the next generation: every card is due again."""
        self.stage.kms("generate")
        self.stage.release("replace", self.generation + 1)
        with self._lock:
            self.generation += 1
            for deck in self.decks:
                deck.renew()

    def unfinished(self) -> list[int]:
        """The numbers of the cards that are not proven to hold the newest generation, by card and by records."""

        async def look() -> list[int]:
            store, bad = open_store(self.stage), []
            for number, card in enumerate(self.cards):
                card._tear = None
                rig = Rig(card, None, store, None)  # type: ignore[arg-type]
                closed = fold(await store.records(rig.card_id())).closed
                if closed is None or closed.master.generation != self.generation or closed.master.kvn not in card.kvns:
                    bad.append(number)
            store.close()
            return bad

        return asyncio.run(look())

    def _together(self, work: Callable[[int], None], meanwhile: Callable[[], None]) -> None:
        places = range(len(self._mouths))
        people = [threading.Thread(target=self._watched, args=(work, at), daemon=True) for at in places]
        for person in people:
            person.start()
        while any(person.is_alive() for person in people):
            meanwhile()
            time.sleep(0.02)
        if self.wrong:
            raise self.wrong[0]

    def _watched(self, work: Callable[[int], None], at: int) -> None:
        try:
            work(at)
        except BaseException as wrong:  # noqa: BLE001 - it is raised where the work was asked for
            self.wrong.append(wrong)

    def _at_random(self, at: int, taps: int) -> None:
        deck, chance = self.decks[at], random.Random(f"{self.seed} {at} {taps}")
        while self._one_more(taps):
            card = self._choose(deck, chance)
            if chance.random() < self.pulled:
                card.tear(chance.choice(list(Tear)), None, chance.randrange(STEPS))
            self._tap(at, card)

    def _one_more(self, taps: int) -> bool:
        with self._lock:
            self._begun += 1
            return self._begun <= taps and not self.wrong

    def _choose(self, deck: Deck, chance: random.Random) -> VirtualCard:
        while True:
            due, done = deck.due, deck.done
            if due and (not done or chance.random() < self.due) and self._ration.take():
                return chance.choice(due)
            if done:
                return chance.choice(done)
            time.sleep(0.1)

    def _each(self, at: int) -> None:
        deck = self.decks[at]
        while deck.due:
            deck.due[0]._tear = None
            while not self._ration.take():
                time.sleep(0.1)
            self._tap(at, deck.due[0])

    def _tap(self, at: int, card: VirtualCard) -> None:
        slot, deck = self.stage.pcscd.slots[at], self.decks[at]
        generation = self.generation
        hand = CardInReader(card, lambda: self.stage.pcscd.connect_card(slot), mouth=self._mouths[at])
        hand.insert()
        try:
            outcome = self._ear.next_end(slot.name)
        finally:
            hand.pull()
        with self._lock:
            self.outcomes[outcome] += 1
            if outcome in DONE and generation == self.generation:
                deck.is_done(card)


@dataclass(slots=True)
class Watch:
    """Samples the processes and files of a stage every so many taps, and says when a campaign is due."""

    crowd: Crowd
    every: int
    samples: list[Sample] = field(default_factory=list)

    def look(self) -> None:
        """A sample, if one is due."""
        if not self.samples or self.crowd.taps >= self.samples[-1].taps + self.every:
            self.sample()

    def sample(self) -> None:
        """A sample now."""
        stage, taps = self.crowd.stage, self.crowd.taps
        pids = (stage.roles.pid("kiosk"), stage.roles.pid("access"), stage.pcscd.pid)
        figures: dict[str, float] = {}
        for name, pid in zip(PROCESSES, pids, strict=True):
            figures |= process(name, pid)
        for name, file in (("journal", "kiosk.journal"), ("store", "access.db")):
            figures[name] = size_kb(stage.folder / file)
            figures[f"{name}'s log"] = size_kb(stage.folder / f"{file}-wal")
        figures["outbox"] = (stage.roles.status("kiosk") or {})["pending_reports"]
        figures["replaced"] = self.crowd.outcomes["done"]
        self.samples.append(Sample(taps, figures))


def figures(kb: float) -> tuple[Flat, ...]:
    """What must be flat: no descriptor, thread or waiting report more in a thousand taps, `kb` of memory at most.

    Pss is only told: it moves with whoever else runs Python and shares its pages.
    """
    of_processes = (
        Flat(f"{name}: {what}", unit, most)
        for name in PROCESSES
        for what, unit, most in (("descriptors", "", 1), ("threads", "", 1), ("VmRSS", "kB", kb), ("Pss", "kB", None))
    )
    of_files = (Flat("journal", "kB", 4), Flat("journal's log", "kB", ceiling=LOG_KB), Flat("outbox", "", 1))
    growing = (Flat("store", "kB"), Flat("store's log", "kB", ceiling=LOG_KB), Flat("replaced", ""))
    return (*of_processes, *of_files, *growing)


@contextmanager
def open_crowd(folder: Path, cards: int, readers: int) -> Iterator[Crowd]:
    """Cards that are due at a kiosk with that many readers of two slots, its access server running."""
    with Stage(folder, rsa_bits=2048, readers=readers) as stage:
        config = folder / "kiosk.yaml"
        text = config.read_text()
        assert stage.pcscd.slots[0].name in text
        config.write_text(text.replace(stage.pcscd.slots[0].name, "Virtual PCD"))
        stage.make_keys()
        issued = issue(stage, cards)
        for card in issued:
            card.path = None  # it remembers without a file: the hands are not what is measured
        stage.kms("generate")
        stage.release("replace", generation=2)
        stage.start_access()
        stage.start_terminal("kiosk")
        yield Crowd(stage, issued)
