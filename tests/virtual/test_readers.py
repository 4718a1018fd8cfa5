"""One contract for every way to a card: the readers in process, and pcscd with vpcd behind PC/SC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges.pcsc import PcscReaders
from kioskd.errors import NoCard, PcscdDown
from kioskd.gp.apdu import INS
from kioskd.gp.isd import delete_key, get_data
from kioskd.gp.keys import KVN
from kioskd.ports import Card, ReaderEvent, Readers, ReaderState
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.reader import VirtualReaders
from kioskd.virtual.vpcd import CardInReader, Pace
from tests.virtual.host import CHALLENGE, KRK, KRK_KVN, NEW, NEW_KVN, OLD_KVN, Host, issue

READ = get_data(0xE0).encode()
WAIT_S = 5.0
SLOW = Pace(read_ms=300)


@dataclass(slots=True)
class InProcess:
    """A hand at a virtual reader."""

    readers: VirtualReaders
    name: str = "Virtual reader"

    async def insert(self, card: VirtualCard, pace: Pace | None = None) -> None:
        """Puts a card in."""
        self.readers.pace = pace or Pace()
        self.readers.insert(self.name, card)

    async def pull(self) -> None:
        """Takes it out."""
        self.readers.pull(self.name)


@dataclass(slots=True)
class Pcscd:
    """A hand at a reader of pcscd."""

    pcscd: PrivatePcscd
    readers: PcscReaders
    held: list[CardInReader] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The reader."""
        return self.pcscd.readers[0].name

    async def insert(self, card: VirtualCard, pace: Pace | None = None) -> None:
        """Puts a card in."""
        if self.held:
            await asyncio.sleep(0.6)  # or pcscd may not see the gap
        hand = CardInReader(card, self.pcscd.connect_card, pace or Pace())
        await asyncio.to_thread(hand.insert)
        self.held.append(hand)

    async def pull(self) -> None:
        """Takes it out."""
        await asyncio.to_thread(self.held[-1].pull)


Place = InProcess | Pcscd


@pytest.fixture(params=["in process", pytest.param("pcscd", marks=[pytest.mark.pcscd, pytest.mark.slow])])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """An empty reader, and a hand."""
    if request.param == "in process":
        inside = InProcess(VirtualReaders())
        yield inside
        await inside.readers.close()
    else:
        pcscd = request.getfixturevalue("private_pcscd")
        behind = Pcscd(pcscd, PcscReaders())
        yield behind
        for hand in behind.held:
            hand.pull()
        await behind.readers.close()


async def until(readers: Readers, wanted: ReaderEvent) -> list[ReaderEvent]:
    """What happened up to the wanted event."""
    told = []
    async with asyncio.timeout(WAIT_S), aclosing(readers.events()) as events:
        async for event in events:
            told.append(event)
            if event == wanted:
                return told
    raise AssertionError(f"no {wanted} in {told}")


async def ready(place: Place, card: VirtualCard, pace: Pace | None = None) -> Card:
    """A connection to a card that was put in."""
    await place.insert(card, pace)
    await until(place.readers, ReaderEvent(place.name, ReaderState.CARD))
    return await place.readers.connect(place.name)


async def torn(contact: Card, command: bytes) -> None:
    """A command that gets no answer, and no other does after it."""
    assert await contact.transmit(command) is None
    assert await contact.transmit(READ) is None
    await contact.close()


async def test_an_empty_reader_says_so_and_gives_no_connection(place: Place) -> None:
    await until(place.readers, ReaderEvent(place.name, ReaderState.EMPTY))
    with pytest.raises(NoCard):
        await place.readers.connect(place.name)


async def test_a_reader_that_is_not_there_gives_no_connection(place: Place) -> None:
    with pytest.raises(NoCard):
        await place.readers.connect("no such reader")


async def test_every_answer_is_the_same_as_in_process(place: Place) -> None:
    card, twin = VirtualCard(), VirtualCard()
    issue(card.transmit)
    issue(twin.transmit)
    contact = await ready(place, card)
    greeting = bytes((0x80, 0x50, KRK_KVN, 0x00, 0x08)) + CHALLENGE + b"\x00"
    for command in (
        bytes.fromhex("00A4040008A00000015100000000"),
        *(get_data(tag).encode() for tag in (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF, 0xC1, 0x9F7E)),
        greeting,
        bytes.fromhex("84823300100000000000000000000000000000000000"),
        bytes.fromhex("84823300100000000000000000000000000000000000"),
        bytes.fromhex("80E4000003D2013000"),
        bytes.fromhex("80F0800F"),
        bytes.fromhex("80E60C0000"),
    ):
        assert await contact.transmit(command) == twin.transmit(command), command.hex()
    await contact.close()
    assert card.memory == twin.memory


async def test_a_master_set_is_replaced(place: Place) -> None:
    card = VirtualCard()
    issue(card.transmit)
    contact = await ready(place, card)
    loop = asyncio.get_running_loop()

    def transmit(command: bytes) -> bytes:
        answer = asyncio.run_coroutine_threadsafe(contact.transmit(command), loop).result(WAIT_S)
        assert answer is not None
        return answer

    def replaced() -> Any:
        host = Host.open(transmit, KRK_KVN, KRK)
        assert host.send(delete_key(KVN(OLD_KVN))).ok
        assert host.put(NEW_KVN, NEW).ok
        return Host.open(transmit, NEW_KVN, NEW).key_information().kvns

    assert await asyncio.to_thread(replaced) == {NEW_KVN, KRK_KVN}
    await contact.close()


async def test_a_closed_connection_leaves_the_card_without_a_session(place: Place) -> None:
    card = VirtualCard()
    issue(card.transmit)
    first = await ready(place, card)
    greeting = bytes((0x80, 0x50, KRK_KVN, 0x00, 0x08)) + CHALLENGE + b"\x00"
    assert (await first.transmit(greeting) or b"").endswith(b"\x90\x00")
    await first.close()
    assert await first.transmit(READ) is None
    async with asyncio.timeout(WAIT_S):
        second = await reconnected(place)
    answer = await second.transmit(bytes.fromhex("84823300100000000000000000000000000000000000"))
    assert answer == b"\x69\x85"
    await second.close()


async def reconnected(place: Place) -> Card:
    """A connection as soon as the last one is gone."""
    while True:
        try:
            return await place.readers.connect(place.name)
        except NoCard:
            await asyncio.sleep(0.01)


async def test_a_card_is_for_one_at_a_time(place: Place) -> None:
    contact = await ready(place, VirtualCard())
    with pytest.raises(NoCard):
        await place.readers.connect(place.name)
    assert (await contact.transmit(READ) or b"").endswith(b"\x90\x00")
    await contact.close()


@pytest.mark.parametrize("when", list(Tear))
async def test_a_torn_command_has_no_answer_and_the_reader_is_empty(place: Place, when: Tear) -> None:
    card = VirtualCard()
    contact = await ready(place, card)
    card.tear(when, INS.GET_DATA)
    await torn(contact, READ)
    await until(place.readers, ReaderEvent(place.name, ReaderState.EMPTY))
    again = await ready(place, card)
    assert (await again.transmit(READ) or b"").endswith(b"\x90\x00")
    await again.close()


async def test_a_card_pulled_during_a_command_leaves_it_unanswered(place: Place) -> None:
    contact = await ready(place, VirtualCard(), SLOW)
    answer = asyncio.create_task(contact.transmit(READ))
    await asyncio.sleep(0.1)
    await place.pull()
    assert await answer is None
    await torn(contact, READ)
    await until(place.readers, ReaderEvent(place.name, ReaderState.EMPTY))


async def test_an_old_connection_never_reaches_the_next_card(place: Place) -> None:
    first, second = VirtualCard(), VirtualCard()
    contact = await ready(place, first)
    await place.pull()
    assert await contact.transmit(READ) is None
    await place.insert(second)
    await until(place.readers, ReaderEvent(place.name, ReaderState.CARD))
    assert await contact.transmit(READ) is None
    with pytest.raises(NoCard):
        await place.readers.connect(place.name)  # the old connection holds the reader
    await contact.close()
    next_contact = await reconnected(place)
    assert await contact.transmit(READ) is None
    assert (await next_contact.transmit(READ) or b"").endswith(b"\x90\x00")
    await next_contact.close()


# --- only in process: what a hand cannot do to vpcd -----------------------------------------------------------------


async def test_a_mute_card_is_seen_and_gives_no_connection() -> None:
    readers = VirtualReaders(("r",))
    readers.insert("r", None)
    await until(readers, ReaderEvent("r", ReaderState.MUTE))
    with pytest.raises(NoCard):
        await readers.connect("r")


async def test_a_reader_can_be_unplugged_with_its_card_and_comes_back_empty() -> None:
    readers = VirtualReaders(("r", "s"))
    readers.insert("r", VirtualCard())
    contact = await readers.connect("r")
    async with aclosing(readers.events()) as events:
        assert [await anext(events) for _ in "rs"] == [
            ReaderEvent("r", ReaderState.CARD),
            ReaderEvent("s", ReaderState.EMPTY),
        ]
        readers.unplug("r")
        readers.plug("r")
        assert [(await anext(events)).state for _ in range(2)] == [ReaderState.GONE, ReaderState.EMPTY]
    assert await contact.transmit(READ) is None


async def test_a_daemon_that_goes_down_ends_connections_and_finds_the_card_again() -> None:
    readers = VirtualReaders(("r",))
    card = VirtualCard()
    readers.insert("r", card)
    contact = await readers.connect("r")
    async with aclosing(readers.events()) as events:
        await anext(events)
        readers.go_down()
        assert await anext(events) == ReaderEvent("", ReaderState.DOWN)
        assert await contact.transmit(READ) is None
        with pytest.raises(PcscdDown):
            await readers.connect("r")
        readers.come_up()
        assert await anext(events) == ReaderEvent("r", ReaderState.CARD)
    assert await (await readers.connect("r")).transmit(READ) == card.transmit(READ)


async def test_the_watching_ends_with_the_readers() -> None:
    readers = VirtualReaders(("r",))
    told = []

    async def watch() -> None:
        told.extend([event async for event in readers.events()])

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    readers.insert("r", VirtualCard())
    await readers.close()
    await asyncio.wait_for(watching, WAIT_S)
    assert [event.state for event in told] == [ReaderState.EMPTY, ReaderState.CARD]


async def test_two_cards_do_not_fit_into_one_reader(tmp_path: Path) -> None:
    readers = VirtualReaders(("r",))
    readers.insert("r", VirtualCard())
    with pytest.raises(ValueError, match="card"):
        readers.insert("r", VirtualCard())
