"""A whole installation of real processes, with cards that were issued before it opened; the test's hand taps them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.demo.stage import Stage
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import SqlStore
from kioskd.kiosk.status_words import table
from kioskd.outcomes import outcome
from kioskd.rekey.records import CardState, fold
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import CardInReader, Pace
from tests.rig import Rig

OLD, NEW, KRK = 0x31, 0x32, 0x3E
BEFORE, AFTER = frozenset({OLD, KRK}), frozenset({NEW, KRK})
"""The key sets of a card before and after its replacement."""

PATIENCE_S = 20.0


@dataclass(slots=True)
class Scene:
    """The installation, and the cards that nobody has tapped yet."""

    stage: Stage
    issued: list[VirtualCard] = field(default_factory=list)

    def card(self) -> VirtualCard:
        """A card that was issued and has the old master set."""
        card = self.issued.pop()
        assert card.kvns == BEFORE
        return card

    def hand(self, card: VirtualCard, terminal: str = "kiosk", pace: Pace | None = None) -> CardInReader:
        """A hand with the card at the terminal's reader."""
        return self.stage.holder(card, terminal, pace)

    def tap(self, hand: CardInReader, name: str = "kiosk") -> dict[str, Any]:
        """One tap, which ends in exactly one outcome while the same process lives on."""
        with self.one_outcome(name) as told:
            hand.insert()
            try:
                self.until_tapped(name, told["before"])
            finally:
                hand.pull()
        last: dict[str, Any] = told["tap"]
        return last

    @contextmanager
    def one_outcome(self, name: str = "kiosk") -> Iterator[dict[str, Any]]:
        """What happens in here counts as one tap at a terminal; its record is left under `tap`."""
        before = self.status(name)
        told: dict[str, Any] = {"before": count(before)}
        yield told
        after = self.status(name)
        assert after["pid"] == before["pid"], "the daemon died"
        assert count(after) == count(before) + 1, after["outcomes"]
        assert after["under_way"] == 0
        told["tap"] = after["taps"][-1]
        assert told["tap"]["code"] == outcome(told["tap"]["outcome"]).code
        shown = [line for line in table(after) if told["tap"]["code"] in line]
        assert shown and told["tap"]["outcome"] in shown[0]

    def until_tapped(self, name: str, before: int) -> None:
        """Waits for the end of a tap."""
        self.until(lambda: count(self.status(name)) > before, "no tap ended")

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Waits for something, for a bounded time."""
        self.stage.roles.until(true, otherwise, PATIENCE_S)

    def status(self, name: str = "kiosk") -> dict[str, Any]:
        """What a role says of itself."""
        told = self.stage.roles.status(name)
        assert told is not None, f"{name} does not answer"
        return told

    def until_linked(self, name: str = "kiosk") -> None:
        """Waits for the terminal's link."""
        self.until(lambda: bool(self.status(name)["link"]["connected"]), f"{name} has no link")

    def until_settled(self, name: str = "kiosk") -> None:
        """Waits until the terminal has no report left to give."""
        self.until(lambda: self.status(name)["pending_reports"] == 0, f"{name} keeps reports")

    def _state(self, card: VirtualCard) -> CardState:
        """The card's records, folded."""

        async def work() -> CardState:
            store = open_store(self.stage)
            canonical = await store.find((Rig(card, None, store, None).card_id(),))  # type: ignore[arg-type]
            state = fold(await store.records(canonical)) if canonical is not None else CardState()
            store.close()
            return state

        return asyncio.run(work())

    def finished(self, card: VirtualCard) -> bool:
        """Whether the card has the new master set and the server knows it proven."""
        state = self._state(card)
        return card.kvns == AFTER and state.closed is not None and state.closed.master.generation == 2


def open_store(stage: Stage) -> SqlStore:
    """The access server's store, beside the server."""
    return SqlStore(f"sqlite:///{stage.folder}/access.db")


def issue(stage: Stage, count: int) -> list[VirtualCard]:
    """Cards that are issued into the access server's store and vault without a station and a reader."""

    async def work() -> list[VirtualCard]:
        vault, store = stage.vault(), open_store(stage)
        journal = SqliteJournal(stage.folder / "issue.journal")
        cards = [stage.new_card(f"card-{number}") for number in range(count)]
        for card in cards:
            assert await Rig(card, vault, store, journal).tap("issue") == "issued"
        await journal.close()
        store.close()
        return cards

    return asyncio.run(work())


def count(status: dict[str, Any]) -> int:
    """How many taps have ended."""
    return sum(status["outcomes"].values())


@contextmanager
def open_scene(folder: Path, cards: int) -> Iterator[Scene]:
    """A scene with that many cards, armed, its access server and kiosk running."""
    with Stage(folder, rsa_bits=2048) as stage:
        stage.make_keys()
        scene = Scene(stage, issue(stage, cards))
        stage.kms("generate")
        stage.release("replace", generation=2)
        stage.start_access()
        stage.start_terminal("kiosk")
        yield scene


@contextmanager
def configured(scene: Scene, words: str, instead: str) -> Iterator[None]:
    """The scene with a kiosk that was started with other words in its configuration; the usual one afterwards."""
    config = scene.stage.folder / "kiosk.yaml"
    usual = config.read_text()
    assert words in usual

    def start(text: str) -> None:
        scene.stage.roles.stop("kiosk")
        config.write_text(text)
        scene.stage.start_terminal("kiosk")

    start(usual.replace(words, instead))
    try:
        yield
    finally:
        start(usual)


def when_the_card_gets(ins: int, act: Callable[[], None]) -> Callable[[bytes], None]:
    """Does something once, after the card has executed a command and before it answers."""
    done: list[float] = []

    def look(command: bytes) -> None:
        if command[1:2] == bytes((ins,)) and not done:
            done.append(time.monotonic())
            act()

    return look
