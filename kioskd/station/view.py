"""The full-screen view of a batch, by textual; no other file imports it, and only a station with a screen loads it.

It asks for the board a few times a second and draws what has changed; the work runs beside it in the same loop.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.markup import escape
from textual.widgets import DataTable, Digits, Footer, ProgressBar, Static

from kioskd.errors import KioskError
from kioskd.station.board import Board, ReaderLine

LOOK_S = 0.25
FIXED_WIDTH, LEAST_WIDTH = 42, 40
"""What the narrow columns of the set-aside cards need, and what the two wide ones get at least."""

ENDING = "Ending: the cards that are under way are being finished"
_MARKS = {True: "●", False: "○"}

log = logging.getLogger(__name__)

Row = tuple[str, ...]


class StationView(App[None]):
    """Progress, pace, readers, set-aside cards, and the one next step."""

    TITLE = "kioskd station"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: 5; padding: 0 1; }
    #count { width: auto; min-width: 10; }
    #facts { padding: 0 2; height: 5; }
    #facts Static { width: 1fr; }
    #bar { width: 1fr; }
    #bar Bar { width: 1fr; }
    #next { height: 7; margin: 0 1; border: heavy $primary; content-align: center middle; text-align: center; }
    #next.go { border: heavy $success; background: $success 25%; }
    #next.wait { border: heavy $primary; background: $primary 20%; }
    #next.look { border: heavy $warning; background: $warning 25%; }
    #next.done { border: heavy $success; background: $success 50%; }
    .title { margin: 1 1 0 1; text-style: bold; }
    #readers { height: auto; max-height: 10; margin: 0 1; }
    #aside { height: 1fr; margin: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "end", "End; the batch goes on where it stopped"),
        Binding("ctrl+c", "end", "End", show=False, priority=True),
        Binding("ctrl+q", "end", "End", show=False, priority=True),
    ]

    def __init__(
        self, board: Callable[[], Board], work: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event
    ) -> None:
        """Shows `board` while `work` runs; `stop` asks the work to end."""
        super().__init__()
        self.wrong: KioskError | None = None  # why the work could not go on
        self._board, self._work, self._stop = board, work, stop
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._shown: dict[str, object] = {}

    def compose(self) -> ComposeResult:
        """The parts, from top to bottom."""
        with Horizontal(id="head"):
            yield Digits("0", id="count")
            with Vertical(id="facts"):
                yield Static(id="name", markup=False)
                yield ProgressBar(id="bar", show_eta=False)
                yield Static(id="pace", markup=False)
        yield Static(id="next", markup=False)
        yield Static("Readers", classes="title")
        yield DataTable[str](id="readers", cursor_type="none", show_cursor=False)
        yield Static("Set aside", classes="title", id="aside-title")
        yield DataTable[str](id="aside", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Draws, and sets the work going."""
        self._table("readers").add_columns("no.", "reader", "what it does", "card")
        aside, room = self._table("aside"), max(self.size.width - FIXED_WIDTH, LEAST_WIDTH)
        for title, width in (("card", None), ("code", None), ("tries", None), ("why", 3 * room // 5)):
            aside.add_column(title, width=width)
        aside.add_column("what to do", width=2 * room // 5)
        self._draw()
        self.set_interval(LOOK_S, self._draw)
        self._task = asyncio.create_task(self._run_work())

    def action_end(self) -> None:
        """Asks the work to end; a second time, or without work, leaves at once."""
        if self._task is None or self._task.done() or self._ending:
            self.exit()
            return
        self._ending = True
        self._stop.set()
        self._draw()

    def on_unmount(self) -> None:
        """Leaves no work behind."""
        if self._task is not None:
            self._task.cancel()

    async def _run_work(self) -> None:
        try:
            await self._work()
        except KioskError as wrong:
            self.wrong = wrong
        except Exception as wrong:
            log.exception("the work ended")
            self.wrong = KioskError(f"the station's work ended by an error of ours: {wrong}")
        board = self._board()
        if self.wrong is not None or board.issued < board.wanted:
            self.exit()
            return
        for number in (signal.SIGTERM, signal.SIGINT):  # the finished board stays until somebody has seen it
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._draw()

    def _draw(self) -> None:
        board = self._board()
        step = board.next_step
        words, why, mood = (ENDING, "", "wait") if self._ending else (step.words, step.why, step.mood.value)
        self._draw_head(board)
        if self._changed("next", (words, why, mood)):
            box = self.query_one("#next", Static)
            box.update(f"{words.upper()}\n\n{why}")
            box.set_classes(mood)
        self._fill("readers", [_reader(line) for line in sorted(board.readers, key=lambda line: line.number)])
        rows: list[Row] = [(row.card, row.code, str(row.tries), row.reason, row.advice) for row in board.aside]
        self._fill("aside", rows)
        if self._changed("aside-title", len(rows)):
            self.query_one("#aside-title", Static).update(f"Set aside: {len(rows)}" if rows else "Set aside: none")

    def _draw_head(self, board: Board) -> None:
        if self._changed("count", (board.issued, board.wanted)):
            self.query_one("#count", Digits).update(str(board.issued))
            self.query_one("#name", Static).update(f"of {board.wanted} cards issued and verified: batch {board.name}")
            self.query_one("#bar", ProgressBar).update(total=board.wanted, progress=board.issued)
        if self._changed("pace", _pace(board)):
            self.query_one("#pace", Static).update(_pace(board))

    def _fill(self, name: str, rows: list[Row]) -> None:
        if self._changed(name, rows):
            table = self._table(name)
            table.clear()
            for row in rows:
                table.add_row(*map(escape, row), height=None)  # as high as its words need

    def _changed(self, name: str, value: object) -> bool:
        """Whether a part shows something else than it should, which it shows from now on."""
        if name in self._shown and self._shown[name] == value:
            return False
        self._shown[name] = value
        return True

    def _table(self, name: str) -> "DataTable[str]":
        table: DataTable[str] = self.query_one(f"#{name}", DataTable)
        return table


def _reader(line: ReaderLine) -> Row:
    return (f"{line.number} {_MARKS[line.present]}", line.name, line.words, line.card)


def _pace(board: Board) -> str:
    left = board.minutes_left
    if left is None:
        return "no card in the last minutes"
    words = f"{board.pace:.1f} cards a minute"
    return words if not left else f"{words}, about {max(1, round(left))} min left"
