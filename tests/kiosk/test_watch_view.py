"""The live view of a kiosk, and the pictures of it and of the status, by the code that draws both."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from textual.widgets import DataTable, Static

from kioskd.errors import ServerDown
from kioskd.kiosk.status_words import next_step, table
from kioskd.kiosk.watch_view import WatchView
from kioskd.outcomes import outcome
from tests.kiosk.pictures import SIZE, Recorded, status_picture, watch_picture
from tests.kiosk.statuses import HEALTHY, STATUSES
from tests.loopback import becomes
from tests.station.pictures import FOLDER, words

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Steered(Recorded):
    """A kiosk that a test steers: its answer, whether it is there, and when something happens."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(told)
        self.gone, self.asked, self.happens = False, 0, asyncio.Event()

    async def ask(self, method: str, path: str) -> Any:
        """The status, if it is there."""
        self.asked += 1
        if self.gone:
            raise ServerDown("nobody answers")
        return await super().ask(method, path)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """One event each time that the test says so."""
        while True:
            await self.happens.wait()
            self.happens.clear()
            yield {"kind": "tap-ended"}


def box(view: WatchView, name: str) -> str:
    """What a part of the screen says."""
    return str(view.query_one(f"#{name}", Static).render())


async def test_the_view_shows_state_next_step_facts_and_taps() -> None:
    view = WatchView(Recorded(STATUSES["no-network"]))
    async with view.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert box(view, "state").startswith("NO LINK TO THE ACCESS SERVER\n")
        assert box(view, "next") == outcome("server-down").advice.rstrip(".")
        assert "link to the server   The access server does not answer." in box(view, "words")
        taps: DataTable[str] = view.query_one("#taps", DataTable)
        assert taps.row_count == 5
        assert taps.get_row_at(0)[1] == "K400", "the newest is on top"


@pytest.mark.parametrize("name", STATUSES)
async def test_the_newest_taps_are_seen_on_the_smallest_screen(name: str) -> None:
    view = WatchView(Recorded(STATUSES[name]))
    async with view.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        taps = view.query_one("#taps", DataTable)
        assert taps.size.height >= 5, "room for the heading and the words of a tap"
        assert taps.region.bottom <= 23, "the last line is the footer's"
        for part in ("state", "next"):
            assert view.query_one(f"#{part}").size.height >= 2


async def test_the_view_follows_what_happens_without_waiting_for_its_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kioskd.kiosk.watch_view.LOOK_S", 60.0)
    kiosk = Steered(HEALTHY)
    view = WatchView(kiosk)
    async with view.run_test(size=SIZE) as pilot:
        await becomes(lambda: "READY" in box(view, "state"), 20)
        kiosk.told = STATUSES["no-reader"]
        kiosk.happens.set()
        await becomes(lambda: "OUT OF SERVICE" in box(view, "state"), 20)
        await pilot.press("q")


async def test_the_view_says_when_the_kiosk_does_not_answer_and_when_it_does_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kioskd.kiosk.watch_view.LOOK_S", 0.05)
    kiosk = Steered(HEALTHY)
    view = WatchView(kiosk)
    async with view.run_test(size=SIZE):
        kiosk.gone = True
        await becomes(lambda: box(view, "state") == "It does not answer", 20)
        assert "systemctl status kioskd-kiosk" in box(view, "next")
        kiosk.gone = False
        await becomes(lambda: "READY" in box(view, "state"), 20)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("healthy", "nothing; the terminal is ready for cards."),
        ("no-reader", outcome("no-reader").advice),
        ("no-network", outcome("server-down").advice),
        ("certificate-expiring", "Renew this terminal's certificate within 11 days."),
        ("wrong-clock", "Set the clock: timedatectl set-ntp true. A wrong clock makes certificates look wrong."),
        ("case-open", outcome("server-down").advice),
    ],
)
def test_each_fault_has_the_step_that_helps(name: str, step: str) -> None:
    assert next_step(STATUSES[name]) == step
    assert table(STATUSES[name])[-1] == f"Next: {step}"


def test_a_case_that_waits_while_the_link_is_up_is_looked_at() -> None:
    assert next_step({**HEALTHY, "open_cases": 1}) == "Look at the waiting cases: kioskctl cases."


def test_a_certificate_that_has_ended_comes_before_the_link_that_it_costs() -> None:
    ended = {"not_before": 0.0, "not_after": 1.0, "days_left": -3.0}
    told = {**STATUSES["no-network"], "certificate": ended}
    assert next_step(told) == "Renew this terminal's certificate: it has ended."


@pytest.mark.parametrize("name", list(STATUSES))
async def test_the_pictures_in_the_docs_say_what_the_code_says(name: str) -> None:
    drawn = {
        f"kioskctl-status-{name}.svg": status_picture(name),
        f"kioskctl-watch-{name}.svg": await watch_picture(name),
    }
    for file, svg in drawn.items():
        kept = (FOLDER / file).read_text(encoding="utf-8")
        assert words(kept) == words(svg), "say `make docs`"
        assert "url(" not in kept.replace("url(#", ""), "a picture loads nothing"
