"""The full-screen view, driven by textual's own pilot."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Digits, ProgressBar, Static

from kioskd.errors import BadConfiguration, KioskError
from kioskd.station.board import Board, Doing
from kioskd.station.view import ENDING, LOOK_S, StationView
from tests.station.boards import ASIDE, DONE, MID, PICTURES, line, rows
from tests.station.pictures import FOLDER, SIZE, picture, words

pytestmark = pytest.mark.slow


@dataclass(slots=True)
class Work:
    """A station's work that a test steers."""

    board: Board
    wrong: Exception | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Lasts until the test says so."""
        await self.done.wait()
        if self.wrong is not None:
            raise self.wrong


@asynccontextmanager
async def shown(work: Work, size: tuple[int, int] = SIZE) -> AsyncIterator[tuple[StationView, "Pilot[None]"]]:
    """The view at work."""
    view = StationView(lambda: work.board, work.run, work.stop)
    async with view.run_test(size=size) as pilot:
        await pilot.pause()
        yield view, pilot


def next_box(view: StationView) -> str:
    """What the box of the next step says."""
    return str(view.query_one("#next", Static).render())


def cells(view: StationView, name: str) -> list[list[str]]:
    """A table's rows."""
    table: DataTable[str] = view.query_one(f"#{name}", DataTable)
    return [table.get_row_at(at) for at in range(table.row_count)]


async def test_the_view_shows_count_pace_readers_and_the_next_step() -> None:
    async with shown(Work(MID)) as (view, _):
        assert view.query_one("#count", Digits).value == "37"
        bar = view.query_one("#bar", ProgressBar)
        assert (bar.progress, bar.total) == (37, 100)
        assert "7.4 cards a minute, about 9 min left" in str(view.query_one("#pace", Static).render())
        assert [row[2] for row in cells(view, "readers")] == [
            "issues the card",
            "free",
            "reads the card",
            "issues the card",
        ]
        assert "PUT THE NEXT CARD INTO READER 2" in next_box(view)
        assert view.query_one("#next", Static).has_class("go")
        assert cells(view, "aside") == []


async def test_a_card_that_was_set_aside_is_listed_with_its_reason_the_newest_first() -> None:
    async with shown(Work(ASIDE)) as (view, _):
        assert [row[1:3] for row in cells(view, "aside")] == [["K212", "1"], ["K201", "1"]]
        assert [row[3] for row in cells(view, "aside")] == [one.reason for one in ASIDE.aside]
        assert "TAKE THE CARD OUT OF READER 1 AND SET IT ASIDE" in next_box(view)
        assert view.query_one("#next", Static).has_class("look")
        assert "Set aside: 2" in str(view.query_one("#aside-title", Static).render())


async def test_the_view_follows_the_batch_by_itself() -> None:
    work = Work(MID)
    async with shown(work) as (view, pilot):
        work.board = replace(MID, rows=rows(38), readers=(line(1, card=38, name="issued"), *MID.readers[1:]))
        await pilot.pause(2 * LOOK_S)
        assert view.query_one("#count", Digits).value == "38"
        assert "TAKE THE CARD OUT OF READER 1: DONE" in next_box(view)
        work.board = replace(work.board, readers=(line(1, Doing.READING),))
        await pilot.pause(2 * LOOK_S)
        assert len(cells(view, "readers")) == 1
        assert "WAIT: LEAVE THE CARDS IN" in next_box(view)


async def test_a_finished_batch_stays_on_the_screen_until_somebody_leaves_it() -> None:
    work = Work(DONE)
    async with shown(work) as (view, pilot):
        work.done.set()
        await pilot.pause(2 * LOOK_S)
        assert "ALL 100 CARDS ARE ISSUED" in next_box(view)
        assert view.is_running
        await pilot.press("q")
    assert view.wrong is None and not view.is_running


async def test_who_leaves_early_waits_for_the_cards_that_are_under_way() -> None:
    work = Work(MID)
    async with shown(work) as (view, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert work.stop.is_set() and view.is_running
        assert ENDING.upper() in next_box(view)
        work.done.set()
        await pilot.pause(2 * LOOK_S)
        assert not view.is_running


async def test_who_cannot_wait_presses_again() -> None:
    async with shown(Work(MID)) as (view, pilot):
        await pilot.press("q")
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert not view.is_running


@pytest.mark.parametrize("wrong", [BadConfiguration("the socket is taken"), ValueError("a bug")])
async def test_work_that_cannot_go_on_ends_the_view_with_its_reason(wrong: Exception) -> None:
    work = Work(MID, wrong)
    async with shown(work) as (view, pilot):
        work.done.set()
        await pilot.pause(2 * LOOK_S)
        assert not view.is_running
    assert isinstance(view.wrong, KioskError) and str(wrong) in str(view.wrong)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 60)])
async def test_the_next_step_is_on_a_screen_of_any_size(size: tuple[int, int]) -> None:
    async with shown(Work(ASIDE), size) as (view, _):
        said = " ".join(words(view.export_screenshot()))
        assert "TAKE THE CARD OUT OF READER 1" in said


async def test_words_from_outside_are_no_markup() -> None:
    strange = replace(MID, name="[b]bold[/b] [", readers=(replace(MID.readers[0], name="[red]Reader[/] 1"),))
    async with shown(Work(strange)) as (view, _):
        said = " ".join(words(view.export_screenshot()))
        assert "[b]bold[/b] [" in said and "[red]Reader[/] 1" in said


@pytest.mark.parametrize("name", list(PICTURES))
async def test_the_pictures_in_the_docs_say_what_the_view_says(name: str) -> None:
    file: Path = FOLDER / f"station-{name}.svg"
    assert words(file.read_text(encoding="utf-8")) == words(await picture(PICTURES[name])), "say `make docs`"
    assert "url(" not in file.read_text(encoding="utf-8").replace("url(#", ""), "a picture loads nothing"
