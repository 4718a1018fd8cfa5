"""A terminal with its status socket, and a server that welcomes it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.loopback import Door, House, becomes, build_house, linger
from tests.terminal.desk import Desk, open_desk, turn_away


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """An authority, and certificates."""
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def desk(house: House, tmp_path: Path) -> AsyncIterator[Desk]:
    """A terminal that nobody serves."""
    async with open_desk(tmp_path, house, Door(house, linger)) as opened:
        yield opened


@pytest.fixture
async def linked(house: House, tmp_path: Path) -> AsyncIterator[Desk]:
    """A terminal with a link."""
    door = Door(house, turn_away)
    async with door.open(), open_desk(tmp_path, house, door) as opened:
        await becomes(lambda: opened.terminal.uplink.connected)
        yield opened
