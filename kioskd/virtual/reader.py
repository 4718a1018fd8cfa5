"""Readers without a PC/SC daemon: the `Readers` port in process, with a hand that inserts and pulls cards.

A card sees and says the same as behind pcscd: whoever pulls it during a command leaves its outcome unknown, an old
connection never reaches the next card, and it holds the reader until it is closed.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from kioskd.errors import MuteCard, NoCard, PcscdDown
from kioskd.ports import ReaderEvent, ReaderState
from kioskd.virtual.card import Torn, VirtualCard
from kioskd.virtual.vpcd import Pace


@dataclass(slots=True)
class _Slot:
    """One reader: what is in it, and who talks to it."""

    state: ReaderState = ReaderState.EMPTY
    card: VirtualCard | None = None
    contact: "Contact | None" = None


@dataclass(slots=True)
class VirtualReaders:
    """Readers by name, all empty at first. Every method is for the one event loop that uses them."""

    names: tuple[str, ...] = ("Virtual reader",)
    pace: Pace = field(default_factory=Pace)
    _slots: dict[str, _Slot] = field(init=False)
    _down: bool = field(init=False, default=False)
    _closed: bool = field(init=False, default=False)
    _watchers: list["asyncio.Queue[ReaderEvent | None]"] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self._slots = {name: _Slot() for name in self.names}

    # --- the hand -------------------------------------------------------------------------------------------------

    def insert(self, reader: str, card: VirtualCard | None) -> None:
        """Puts a card in; None is a card that does not answer to reset."""
        slot = self._slots[reader]
        if slot.state is not ReaderState.EMPTY:
            raise ValueError(f"{reader} is {slot.state}")
        if card is not None:
            card.reset()
        slot.card = card
        self._set(reader, ReaderState.MUTE if card is None else ReaderState.CARD)

    def pull(self, reader: str) -> None:
        """Takes the card out, whatever it is doing; an empty reader stays as it is."""
        if self._empty(reader):
            self._set(reader, ReaderState.EMPTY)

    def unplug(self, reader: str) -> None:
        """Takes the reader away, with its card."""
        self._empty(reader)
        self._slots[reader].contact = None
        self._set(reader, ReaderState.GONE)

    def plug(self, reader: str) -> None:
        """Brings a reader back, empty."""
        if self._slots[reader].state is ReaderState.GONE:
            self._set(reader, ReaderState.EMPTY)

    def go_down(self) -> None:
        """The daemon dies: connections end, cards stay where they are."""
        self._down = True
        for slot in self._slots.values():
            _part(slot)
            slot.contact = None  # the daemon's end of it died with the daemon
        self._tell(ReaderEvent("", ReaderState.DOWN))

    def come_up(self) -> None:
        """The daemon is back, and says what it finds."""
        self._down = False
        for event in self._present():
            self._tell(event)

    # --- the port -------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[ReaderEvent, None]:
        """Changes as they happen, starting with the present states; ends with `close`."""
        queue: asyncio.Queue[ReaderEvent | None] = asyncio.Queue()
        for event in self._present():
            queue.put_nowait(event)
        if self._closed:
            queue.put_nowait(None)
        self._watchers.append(queue)
        try:
            while (told := await queue.get()) is not None:
                yield told
        finally:
            self._watchers.remove(queue)

    async def connect(self, reader: str) -> "Contact":
        """The card, for one at a time; `NoCard` or `PcscdDown` otherwise."""
        if self._down:
            raise PcscdDown("the virtual daemon is down")
        slot = self._slots.get(reader)
        if slot is not None and slot.state is ReaderState.MUTE:
            raise MuteCard(f"{reader}: no connection to a card")
        if slot is None or slot.card is None or slot.contact is not None:
            raise NoCard(f"{reader}: no connection to a card")
        slot.card.reset()
        slot.contact = Contact(self, reader, slot.card)
        return slot.contact

    async def close(self) -> None:
        """Ends the watching."""
        self._closed = True
        for queue in self._watchers:
            queue.put_nowait(None)

    def release(self, reader: str, contact: "Contact") -> None:
        """A connection is over: the card is powered down, and free for the next."""
        slot = self._slots[reader]
        if slot.contact is contact:
            _part(slot)
            slot.contact = None

    # --- inside -----------------------------------------------------------------------------------------------------

    def _empty(self, reader: str) -> bool:
        slot = self._slots[reader]
        was_there = slot.state in (ReaderState.CARD, ReaderState.MUTE)
        _part(slot)
        slot.card = None
        return was_there

    def _set(self, reader: str, state: ReaderState) -> None:
        self._slots[reader].state = state
        if not self._down:
            self._tell(ReaderEvent(reader, state))

    def _present(self) -> list[ReaderEvent]:
        if self._down:
            return [ReaderEvent("", ReaderState.DOWN)]
        there = ((name, slot.state) for name, slot in self._slots.items())
        return [ReaderEvent(name, state) for name, state in there if state is not ReaderState.GONE]

    def _tell(self, event: ReaderEvent) -> None:
        for queue in self._watchers:
            queue.put_nowait(event)


@dataclass(slots=True)
class Contact:
    """One connection to one insertion of a card; after a torn command it is dead for good."""

    readers: VirtualReaders
    reader: str
    card: VirtualCard
    live: bool = True

    @property
    def atr(self) -> bytes:
        """The card's answer to reset."""
        return self.card.atr

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer; None if it was pulled or torn, executed or not."""
        if not self.live:
            return None
        try:
            answer = self.card.transmit(command)
        except Torn:
            self.readers.pull(self.reader)
            return None
        await asyncio.sleep(self.readers.pace.milliseconds(command) / 1000)  # a hand may pull meanwhile
        return answer if self._still_there() else None

    def _still_there(self) -> bool:
        return self.live

    async def close(self) -> None:
        """Powers the card down."""
        self.readers.release(self.reader, self)


def _part(slot: _Slot) -> None:
    if slot.contact is not None:
        slot.contact.live = False
    if slot.card is not None:
        slot.card.reset()
