"""A daemon's one line in `systemctl status`: in words, when they have changed, and not more often than that."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.edges.systemd import Standing, watchdog


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where the lines go."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield made


def heard(manager: socket.socket) -> list[str]:
    """What was told since the last time."""
    told = []
    while True:
        try:
            told.append(manager.recv(4096).decode())
        except BlockingIOError:
            return told


async def test_a_change_is_told_at_once_and_the_same_words_never_twice(manager: socket.socket) -> None:
    words = ["ready"]
    standing = Standing(lambda: words[0])
    standing.changed()
    standing.changed()
    assert heard(manager) == ["STATUS=ready"]
    await asyncio.sleep(0.5)
    assert heard(manager) == []
    words[0] = "draining"
    standing.changed()
    assert heard(manager) == ["STATUS=draining"]


async def test_of_many_changes_in_a_moment_the_last_is_told(manager: socket.socket) -> None:
    count = [0]
    standing = Standing(lambda: f"taps under way: {count[0]}")
    standing.changed()
    for number in range(1, 100):
        count[0] = number
        standing.changed()
    await asyncio.sleep(0.5)
    assert heard(manager) == ["STATUS=taps under way: 0", "STATUS=taps under way: 99"]


async def test_a_part_that_does_not_answer_is_named_until_it_does(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    standing, well = Standing(lambda: "ready"), asyncio.Event()

    async def answers() -> bool:
        return True

    async def hangs() -> bool:
        return await well.wait()

    feeding = asyncio.create_task(watchdog({"the store": answers, "the vault": hangs}, standing))
    await asyncio.sleep(1)
    assert heard(manager) == ["STATUS=no answer from the vault; the watchdog is not fed"]
    well.set()
    async with asyncio.timeout(10):
        while "STATUS=ready" not in (told := heard(manager)):
            assert set(told) <= {"WATCHDOG=1"}
            await asyncio.sleep(0.05)
    feeding.cancel()
