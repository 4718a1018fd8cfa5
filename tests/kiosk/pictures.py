"""The pictures of `kioskctl status` and `watch` in docs/pictures: `python -m tests.kiosk.pictures`, by `make docs`.

The real code draws them from answers as a kiosk gives them. A picture loads nothing.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

from rich.console import Console

from kioskd.kiosk.status_cli import show
from kioskd.kiosk.status_words import lines
from kioskd.kiosk.watch_view import WatchView
from tests.kiosk.statuses import STATUSES
from tests.station.pictures import _NETWORK, FOLDER

WIDTH = 100
SIZE = (100, 34)


class Recorded:
    """A kiosk that always answers the same."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told

    async def ask(self, method: str, path: str) -> Any:
        """The status."""
        assert (method, path) == ("GET", "/status")
        return self.told

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Nothing happens."""
        yield {}
        await asyncio.Event().wait()


def status_picture(name: str) -> str:
    """The screen after `kioskctl status`, as SVG."""
    console = Console(
        record=True, width=WIDTH, file=StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print("$ kioskctl status", style="dim")
    show(lines(STATUSES[name]), console)
    return _NETWORK.sub("", console.export_svg(title=f"kioskctl status: {name}", unique_id=f"status-{name}"))


async def watch_picture(name: str) -> str:
    """The view of `kioskctl watch`, as SVG."""
    view = WatchView(Recorded(STATUSES[name]))
    async with view.run_test(size=SIZE) as pilot:
        await pilot.pause()
        return _NETWORK.sub("", view.export_screenshot(title=f"kioskctl watch: {name}"))


def in_utc() -> None:
    """The pictures' times are the same everywhere."""
    os.environ["TZ"] = "UTC"
    time.tzset()


def paint() -> None:
    """Writes every picture."""
    in_utc()
    FOLDER.mkdir(exist_ok=True)
    for name in STATUSES:
        (FOLDER / f"kioskctl-status-{name}.svg").write_text(status_picture(name), encoding="utf-8")
        (FOLDER / f"kioskctl-watch-{name}.svg").write_text(asyncio.run(watch_picture(name)), encoding="utf-8")


if __name__ == "__main__":
    paint()
