"""The PC/SC edge on a real daemon: what the contract of all readers does not cover, for only pcscd can do it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator

import pytest
from smartcard import scard

from kioskd.edges.pcsc import PcscReaders
from kioskd.errors import MuteCard, NoCard, PcscdDown, ReaderHung
from kioskd.gp.isd import get_data
from kioskd.ports import ReaderEvent, ReaderState
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader, Pace
from tests.loopback import wakings

pytestmark = [pytest.mark.pcscd]

READ = get_data(0xE0).encode()
SLOW = Pace(read_ms=1000)


@pytest.fixture
async def readers(private_pcscd: PrivatePcscd) -> AsyncIterator[PcscReaders]:
    made = PcscReaders(wanted=private_pcscd.readers[0].name)
    yield made
    await made.close()


def hand(pcscd: PrivatePcscd, pace: Pace | None = None, slot: int = 0) -> CardInReader:
    """A hand with a card of its own, at one slot."""
    return CardInReader(VirtualCard(), lambda: pcscd.connect_card(pcscd.slots[slot]), pace or Pace())


async def insert(holder: CardInReader) -> None:
    """Puts the card in."""
    await asyncio.to_thread(holder.insert)


async def until(events: AsyncGenerator[ReaderEvent, None], state: ReaderState, patience_s: float = 5) -> ReaderEvent:
    """The next event of that state."""
    async with asyncio.timeout(patience_s):
        async for event in events:
            if event.state is state:
                return event
    raise AssertionError("the events ended")


async def test_a_card_is_noticed_with_the_readers_name_and_so_is_its_leaving(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    events, holder, name = readers.events(), hand(private_pcscd), private_pcscd.readers[0].name
    assert await anext(events) == ReaderEvent(name, ReaderState.EMPTY)
    await insert(holder)
    assert await until(events, ReaderState.CARD) == ReaderEvent(name, ReaderState.CARD)
    holder.pull()
    assert await anext(events) == ReaderEvent(name, ReaderState.EMPTY)


async def test_a_reader_that_is_not_wanted_is_not_heard_of(private_pcscd: PrivatePcscd, readers: PcscReaders) -> None:
    events, other = readers.events(), hand(private_pcscd, slot=1)
    assert (await anext(events)).state is ReaderState.EMPTY
    await insert(other)
    with pytest.raises(TimeoutError):
        await until(events, ReaderState.CARD, patience_s=1)
    other.pull()


async def test_a_daemon_without_a_wanted_reader_has_no_reader(private_pcscd: PrivatePcscd) -> None:
    readers = PcscReaders(wanted="a reader that nobody has")
    assert await anext(readers.events()) == ReaderEvent("", ReaderState.GONE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(readers.events()), 0.3)
    await readers.close()


async def test_a_card_that_was_swapped_unseen_is_two_events(readers: PcscReaders) -> None:
    events = readers.events()
    await anext(events)
    present = scard.SCARD_STATE_PRESENT
    readers._report("r", 5 << 16 | present, 7 << 16 | present)
    readers._report("r", 7 << 16 | present, 7 << 16 | present | scard.SCARD_STATE_INUSE)  # no news
    readers._report("r", 7 << 16 | present, 8 << 16 | scard.SCARD_STATE_EMPTY)
    told = [(await anext(events)).state for _ in range(3)]
    assert told == [ReaderState.EMPTY, ReaderState.CARD, ReaderState.EMPTY]


async def test_a_daemon_that_is_killed_and_started_again_is_found_again(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    events, name = readers.events(), private_pcscd.readers[0].name
    assert (await anext(events)).state is ReaderState.EMPTY
    for _ in range(2):
        private_pcscd.kill()
        assert await anext(events) == ReaderEvent("", ReaderState.DOWN)
        with pytest.raises(PcscdDown):
            await readers.connect(name)
        await asyncio.to_thread(private_pcscd.start)
        assert await until(events, ReaderState.EMPTY) == ReaderEvent(name, ReaderState.EMPTY)
    holder = hand(private_pcscd)
    await insert(holder)
    await until(events, ReaderState.CARD)
    card = await readers.connect(name)
    assert (await card.transmit(READ) or b"")[-2:] == b"\x90\x00"
    await card.close()
    holder.pull()


async def test_a_daemon_that_is_down_from_the_start_is_said_once_and_waited_for(private_pcscd: PrivatePcscd) -> None:
    private_pcscd.kill()
    readers = PcscReaders()
    events = readers.events()
    assert await anext(events) == ReaderEvent("", ReaderState.DOWN)
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await asyncio.to_thread(private_pcscd.start)
    assert (await asyncio.wait_for(waiting, 5)).state is ReaderState.EMPTY
    await readers.close()


async def test_a_daemon_that_is_killed_during_a_command_is_what_ends_it(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    holder, name = hand(private_pcscd, SLOW), private_pcscd.readers[0].name
    await insert(holder)
    await until(readers.events(), ReaderState.CARD)
    card = await readers.connect(name)
    answer = asyncio.create_task(card.transmit(READ))
    await asyncio.sleep(0.3)
    private_pcscd.kill()
    with pytest.raises(PcscdDown):
        await asyncio.wait_for(answer, 5)
    assert await card.transmit(READ) is None, "nothing more goes out on it"
    await card.close()


async def test_a_command_that_never_returns_is_a_hung_reader_and_the_loop_goes_on(private_pcscd: PrivatePcscd) -> None:
    readers, holder = PcscReaders(transmit_timeout_s=0.3), hand(private_pcscd, SLOW)
    await insert(holder)
    await until(readers.events(), ReaderState.CARD)
    card = await readers.connect(private_pcscd.readers[0].name)
    began = time.monotonic()
    with pytest.raises(ReaderHung, match=r"no answer for 0\.3 s"):
        await card.transmit(READ)
    assert time.monotonic() - began >= 0.3
    assert await card.transmit(READ) is None
    await card.close()
    await asyncio.sleep(1.2)  # the answer comes after all, nobody waits for it, and the reader is let go
    again = await readers.connect(private_pcscd.readers[0].name)
    await again.close()
    holder.pull()
    await readers.close()


async def test_a_card_whose_contacts_bounce_is_powered_up_until_it_answers(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    holder, name = hand(private_pcscd), private_pcscd.readers[0].name
    holder.bounces = 4
    await insert(holder)
    await until(readers.events(), ReaderState.MUTE)
    card = await readers.connect(name)
    assert (await card.transmit(READ) or b"").endswith(b"\x90\x00")
    await card.close()
    holder.pull()


async def test_a_card_that_never_answers_to_reset_is_mute_and_one_that_left_is_none(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    holder, name = hand(private_pcscd), private_pcscd.readers[0].name
    holder.bounces = 10_000
    await insert(holder)
    await until(readers.events(), ReaderState.MUTE)
    with pytest.raises(MuteCard):
        await readers.connect(name)
    holder.pull()
    with pytest.raises(NoCard) as gone:
        await readers.connect(name)
    assert not isinstance(gone.value, MuteCard), "the daemon notices within the time that a mute card is tried"


async def test_a_card_that_another_program_holds_for_a_moment_is_waited_for(
    private_pcscd: PrivatePcscd, readers: PcscReaders
) -> None:
    holder, name = hand(private_pcscd), private_pcscd.readers[0].name
    await insert(holder)
    await until(readers.events(), ReaderState.CARD)
    first = await readers.connect(name)
    second = asyncio.create_task(readers.connect(name))
    await asyncio.sleep(0.2)
    assert not second.done()
    await first.close()
    await (await second).close()
    third = await readers.connect(name)
    with pytest.raises(NoCard, match="8010000B"):
        await readers.connect(name)
    await third.close()
    holder.pull()


HANGS = """
import asyncio, sys
from kioskd.edges.pcsc import PcscReaders
from kioskd.errors import ReaderHung

async def main() -> None:
    readers = PcscReaders(transmit_timeout_s=0.3)
    async for event in readers.events():
        if event.state == "card":
            card = await readers.connect(event.reader)
            try:
                await card.transmit(bytes.fromhex("80CA00E000"))
            except ReaderHung as wrong:
                print("hung", flush=True)
            await card.close()
            break
    await readers.close()

asyncio.run(main())
"""


async def test_a_hung_reader_does_not_hold_up_the_end_of_the_process(private_pcscd: PrivatePcscd) -> None:
    holder = hand(private_pcscd, Pace(read_ms=8000))
    await insert(holder)
    environment = {**os.environ, **private_pcscd.environment}
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", HANGS], env=environment, capture_output=True, text=True, timeout=6
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "hung\n", "")
    holder.pull()


WAITS = """
import asyncio
from kioskd.edges.pcsc import PcscReaders

async def main() -> None:
    readers = PcscReaders()
    async for event in readers.events():
        print(event.state, flush=True)

asyncio.run(main())
"""


def test_an_idle_reader_wakes_nobody_up(private_pcscd: PrivatePcscd) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        env={**os.environ, **private_pcscd.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["empty\n", "empty\n"]
        time.sleep(0.3)
        before = wakings(process.pid)
        time.sleep(2)
        assert wakings(process.pid) == before
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(5)
        if process.stdout is not None:
            process.stdout.close()
