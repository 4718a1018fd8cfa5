"""The pictures of the view in docs/pictures: `python -m tests.station.pictures`, which `make docs` calls.

A picture loads nothing: textual's line that would fetch a font from the network is left out.
"""

import asyncio
import re
from pathlib import Path

from kioskd.station.board import Board
from kioskd.station.view import StationView
from tests.station.boards import PICTURES

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SIZE = (100, 34)
_NETWORK = re.compile(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)
_TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")


async def picture(board: Board) -> str:
    """The view of a board as SVG."""

    async def idle() -> None:
        await asyncio.Event().wait()

    view = StationView(lambda: board, idle, asyncio.Event())
    async with view.run_test(size=SIZE) as pilot:
        await pilot.pause()
        return _NETWORK.sub("", view.export_screenshot(title="kioskd station"))


def words(svg: str) -> list[str]:
    """What a picture says, piece by piece."""
    return [piece.replace("&#160;", " ").strip() for piece in _TEXT.findall(svg)]


async def paint() -> None:
    """Writes every picture."""
    FOLDER.mkdir(exist_ok=True)
    for name, board in PICTURES.items():
        (FOLDER / f"station-{name}.svg").write_text(await picture(board), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(paint())
