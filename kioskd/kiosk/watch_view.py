"""The full-screen view of a terminal, by textual; only `kioskctl watch` loads it.

It asks for the status when an event comes, and now and then: the screen is right even if an event was lost.
"""

import asyncio
import time
from typing import Any, ClassVar, Protocol

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Resize
from textual.widgets import DataTable, Footer, Static

from kioskd.errors import KioskError
from kioskd.kiosk.status_cli import STYLES
from kioskd.kiosk.status_words import NOTHING, Line, lines, next_step, state_words
from kioskd.outcomes import outcome

LOOK_S = 2.0
FIXED_WIDTH, LEAST_WIDTH = 68, 30
"""What the narrow columns of the taps need, and what the wide one gets at least."""
FIXED_HEIGHT, LEAST_FACTS, MOST_FACTS = 17, 4, 16
"""What all but the facts need, six lines of taps among it, and what the facts get: they can be scrolled."""

_MOODS = {"ready": "go", "busy": "go", "drained": "look"}


class Source(Protocol):
    """Where the status comes from."""

    async def ask(self, method: str, path: str) -> Any:
        """An answer."""
        ...

    def events(self) -> Any:
        """What happens, as it happens."""
        ...


class WatchView(App[None]):
    """State, next step, the facts, the taps as they come."""

    TITLE = "kioskctl watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #state { height: 4; margin: 0 1; padding: 0 1; content-align: center middle; text-align: center; }
    #state.go { background: $success 40%; }
    #state.look { background: $warning 40%; }
    #state.bad { background: $error 50%; }
    #next { height: 5; margin: 0 1; border: heavy $primary; content-align: center middle; text-align: center; }
    #next.go { border: heavy $success; }
    #next.look { border: heavy $warning; }
    #next.bad { border: heavy $error; }
    #facts { height: auto; margin: 0 1; }
    #taps { height: 1fr; margin: 1 1 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "End"),
        Binding("ctrl+c", "quit", "End", show=False, priority=True),
    ]

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def compose(self) -> ComposeResult:
        """The parts, from top to bottom."""
        yield Static(id="state", markup=False)
        yield Static(id="next", markup=False)
        with VerticalScroll(id="facts"):
            yield Static(id="words", markup=False)
        yield DataTable[str](id="taps", cursor_type="none", show_cursor=False)
        yield Footer()

    def on_mount(self) -> None:
        """Draws, and begins to look and to listen."""
        table: DataTable[str] = self.query_one("#taps", DataTable)
        table.add_columns("time", "code", "outcome", "ms", "card")
        table.add_column("what it means", width=max(self.size.width - FIXED_WIDTH, LEAST_WIDTH))
        self._tasks = [asyncio.create_task(work) for work in (self._look(), self._listen())]

    def on_resize(self, event: Resize) -> None:
        """The taps keep their lines on a small screen."""
        height = min(max(event.size.height - FIXED_HEIGHT, LEAST_FACTS), MOST_FACTS)
        self.query_one("#facts").styles.max_height = height

    def on_unmount(self) -> None:
        """Leaves nothing running."""
        for task in self._tasks:
            task.cancel()

    async def _look(self) -> None:
        while True:
            self._hurry.clear()
            try:
                self._draw(await self._source.ask("GET", "/status"))
            except KioskError as wrong:
                self._draw_gone(str(wrong))
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in self._source.events():
                    self._hurry.set()
            except KioskError:
                pass  # the look says so
            await asyncio.sleep(LOOK_S)

    def _draw(self, told: dict[str, Any]) -> None:
        shown = lines(told)
        mood, step = _MOODS.get(told["state"], "bad"), next_step(told)
        self._box("state", f"{state_words(told).upper()}\n{shown[0][0].words.rstrip(': ')}", mood)
        self._box("next", step.rstrip("."), "go" if step == NOTHING else "bad" if mood == "bad" else "look")
        facts = shown[1 : next((number for number, line in enumerate(shown) if not line), len(shown))]
        self.query_one("#words", Static).update(Text("\n").join(map(_text, facts)))
        table: DataTable[str] = self.query_one("#taps", DataTable)
        table.clear()
        for tap in reversed(told["taps"]):
            table.add_row(*_row(tap), height=None)  # as high as its words need

    def _draw_gone(self, sentence: str) -> None:
        self._box("state", "It does not answer", "bad")
        self._box("next", f"{sentence}\nsystemctl status kioskd-kiosk", "bad")

    def _box(self, name: str, words: str, mood: str) -> None:
        box = self.query_one(f"#{name}", Static)
        box.update(words)
        box.set_classes(mood)


def _text(line: Line) -> Text:
    return Text.assemble(*((piece.words, STYLES[piece.mood]) for piece in line))


def _row(tap: dict[str, Any]) -> tuple[Any, ...]:
    began = time.strftime("%H:%M:%S", time.localtime(tap["began"]))
    return (
        began,
        tap["code"],
        tap["outcome"],
        f"{tap['ms']:.0f}",
        Text(tap["card"]),
        outcome(tap["outcome"]).technician,
    )
