"""A link that comes back while a tap is still under way."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import KioskError, LinkLost
from kioskd.rekey.profile import DEFAULT_PROFILE, identify_steps
from kioskd.rekey.wire import End, Hello, Report, ReportMessage, Tap, Welcome
from kioskd.terminal.uplink import Uplink
from tests.loopback import EPOCH, Conversation, Door, becomes, build_house


async def test_a_tap_says_nothing_on_a_link_that_is_not_welcomed_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kioskd.terminal.uplink.RETRY_S", (0.02, 0.1))
    tried = asyncio.Event()

    async def talk(conversation: Conversation) -> None:
        assert isinstance(await conversation.hear(), Hello)
        if len(door.conversations) == 2:
            await asyncio.wait_for(tried.wait(), 5)
        await conversation.say(lambda head: Welcome(head, identify_steps(DEFAULT_PROFILE)))
        if len(door.conversations) == 1:
            await conversation.hear()
            return
        with contextlib.suppress(KioskError):
            while True:
                await conversation.hear()

    door = Door(build_house(tmp_path / "house"), talk)
    journal = SqliteJournal(tmp_path / "journal")
    uplink = Uplink("k1", "test", door.connect, journal)
    running = asyncio.create_task(uplink.run())
    async with door.open():
        await uplink.wait(5)
        async with uplink.tap("t1") as line:
            await line.send(lambda head: Tap(head, "replace", ()))
            await becomes(lambda: len(door.conversations) == 2 and len(door.conversations[1].heard) == 1)
            with pytest.raises(LinkLost):
                await line.send(lambda head: ReportMessage(head, Report(1, bytes(32), End.COMPLETE, ())))
            tried.set()
            await uplink.wait(5)
            await line.send(lambda head: ReportMessage(head, Report(1, bytes(32), End.COMPLETE, ())))
            heard = door.conversations[1].heard
            await becomes(lambda: len(heard) == 2)
        assert [(one.head.epoch, one.head.sequence) for one in heard] == [(0, 1), (EPOCH, 2)]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await journal.close()
