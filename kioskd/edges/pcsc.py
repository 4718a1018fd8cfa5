"""Readers and cards through the PC/SC daemon, by pyscard's plain calls: no monitor threads of its own, no polling.

One thread waits for changes; each card connection has a thread and a context of its own. A transmit cannot be
cancelled: if it never returns, its thread is abandoned and the reader is reported as hung.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from smartcard import scard

from kioskd.errors import KioskError, MuteCard, NoCard, PcscdDown, ReaderHung
from kioskd.ports import ReaderEvent, ReaderState

T = TypeVar("T")
log = logging.getLogger(__name__)

_PLUG_AND_PLAY = r"\\?PnP?\Notification"
_WAIT_MS = 60_000
_RETRY_S = (0.1, 2.0)
_CLOSE_S = 2.0
_SHARED_S = 1.0  # how long the one who was here before may take to let go of the card
_CONTACT_S = 2.0  # how long a card that is there may take to answer to reset: contacts bounce, a daemon powers down
_AGAIN_S = 0.02
_PROTOCOLS = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1

_OK = 0
_SHARED = 0x8010000B
_CANCELLED = 0x80100002
_TIMEOUT = 0x8010000A
_NO_READERS = 0x8010002E
_UNKNOWN_READER = 0x80100009
_DOWN = frozenset({0x80100013, 0x8010001D, 0x8010001E, 0x80100006, 0x8010006A})
_NO_PROTOCOL = 0x8010000F  # none that both speak


def _code(result: int) -> int:
    return result & 0xFFFFFFFF


def present_readers(wanted: str) -> tuple[str, ...]:
    """The readers whose name contains `wanted`, at this moment; `PcscdDown` if the daemon does not answer. Blocks."""
    result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    if _code(result) != _OK:
        raise PcscdDown(f"pcscd does not answer ({_code(result):08X})")
    result, names = scard.SCardListReaders(context, [])
    scard.SCardReleaseContext(context)
    if _code(result) not in (_OK, _NO_READERS):
        raise PcscdDown(f"pcscd does not list its readers ({_code(result):08X})")
    return tuple(name for name in names if wanted in name) if _code(result) == _OK else ()


class PcscReaders:
    """The readers of this machine whose name contains `wanted`. Make it inside the running event loop."""

    def __init__(self, transmit_timeout_s: float = 30.0, wanted: str = "") -> None:
        self._timeout_s = transmit_timeout_s
        self._wanted = wanted
        self._none_told = False
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[ReaderEvent] = asyncio.Queue()
        self._stop = threading.Event()
        self._context: Any = None
        self._thread = threading.Thread(target=self._watch, name="pcsc-watch", daemon=True)
        self._thread.start()

    async def events(self) -> AsyncGenerator[ReaderEvent, None]:
        """Changes as they happen, starting with the present states; `GONE` of no name: there is no reader at all."""
        while True:
            yield await self._events.get()

    async def connect(self, reader: str) -> "PcscCard":
        """An exclusive connection to the card; `NoCard`, `PcscdDown` or `ReaderHung` otherwise."""
        card = PcscCard(reader, self._timeout_s)
        await card.open()
        return card

    async def close(self) -> None:
        """Ends the watching. A cancel that comes before the wait is lost, so it is repeated, for a bounded time."""
        self._stop.set()
        end = time.monotonic() + _CLOSE_S
        while self._thread.is_alive() and time.monotonic() < end:
            if self._context is not None:
                scard.SCardCancel(self._context)
            await asyncio.sleep(0.005)

    def _emit(self, reader: str, state: ReaderState) -> None:
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, ReaderEvent(reader, state))
        except RuntimeError:
            self._stop.set()  # the loop is closed: nobody listens any more

    def _watch(self) -> None:
        pause_s, said_down = _RETRY_S[0], False
        while not self._stop.is_set():
            result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
            if _code(result) == _OK:
                pause_s, said_down, self._context = _RETRY_S[0], False, context
                self._watch_context(context)
                self._context = None
                scard.SCardReleaseContext(context)
            if self._stop.is_set():
                return
            if not said_down:
                self._emit("", ReaderState.DOWN)
                said_down = True
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _RETRY_S[1])

    def _watch_context(self, context: Any) -> None:
        """Reports changes until the daemon goes or the watching ends."""
        known = {_PLUG_AND_PLAY: 0}
        self._none_told = False
        while not self._stop.is_set():
            if not self._update_readers(context, known):
                return
            result, changed = scard.SCardGetStatusChange(context, _WAIT_MS, list(known.items()))
            if _code(result) in (_TIMEOUT, _CANCELLED, _UNKNOWN_READER):
                continue
            if _code(result) != _OK:
                return
            for name, state, _ in changed:
                if name != _PLUG_AND_PLAY and state & scard.SCARD_STATE_CHANGED:
                    self._report(name, known[name], state)
                known[name] = state & ~scard.SCARD_STATE_CHANGED

    def _update_readers(self, context: Any, known: dict[str, int]) -> bool:
        """Brings the list of readers up to date; False if the daemon is gone."""
        result, names = scard.SCardListReaders(context, [])
        if _code(result) not in (_OK, _NO_READERS):
            return False
        names = [name for name in names if self._wanted in name] if _code(result) == _OK else []
        for gone in set(known) - set(names) - {_PLUG_AND_PLAY}:
            del known[gone]
            self._emit(gone, ReaderState.GONE)
        for name in names:
            known.setdefault(name, scard.SCARD_STATE_UNAWARE)
        if not names and not self._none_told:
            self._emit("", ReaderState.GONE)
        self._none_told = not names
        return True

    def _report(self, name: str, before: int, now: int) -> None:
        """One change. The upper 16 bits count events: they betray a card that was swapped unseen."""
        if now & scard.SCARD_STATE_PRESENT:
            if before & scard.SCARD_STATE_PRESENT:
                if now >> 16 == before >> 16:
                    return
                self._emit(name, ReaderState.EMPTY)
            self._emit(name, ReaderState.MUTE if now & scard.SCARD_STATE_MUTE else ReaderState.CARD)
        elif now & (scard.SCARD_STATE_UNAVAILABLE | scard.SCARD_STATE_UNKNOWN):
            self._emit(name, ReaderState.GONE)
        else:
            self._emit(name, ReaderState.EMPTY)


@dataclass(slots=True)
class _Job:
    """One call for the card's thread, and where its result goes."""

    call: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"

    def run(self) -> None:
        """Calls, and hands the result over to the loop."""
        try:
            result, error = self.call(), None
        except Exception as wrong:  # noqa: BLE001 - it is raised again where it was asked for
            result, error = None, wrong
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            log.debug("the loop ended before the reader answered")

    def _settle(self, result: Any, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class PcscCard:
    """One exclusive connection, served by one thread. After a torn or hung command it is dead for good."""

    def __init__(self, reader: str, transmit_timeout_s: float) -> None:
        self._reader = reader
        self._timeout_s = transmit_timeout_s
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._dead = False
        self._context: Any = None
        self._handle: Any = None
        self._protocol = 0
        self.atr = b""
        threading.Thread(target=self._serve, name=f"pcsc-{reader}", daemon=True).start()

    async def open(self) -> None:
        """Connects; the thread ends if that fails."""
        try:
            await self._call(self._connect)
        except BaseException:
            await self.close()  # a connection that comes too late is given up again
            raise

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer; None if the card was torn away. `ReaderHung`, `PcscdDown` if no answer ever comes."""
        if self._dead:
            return None
        answer: bytes | None = None
        try:
            answer = await self._call(lambda: self._transmit(command))
        finally:
            self._dead = answer is None  # an old handle may reach a new card: nothing more goes out on it
        return answer

    async def close(self) -> None:
        """Powers the card down and ends the thread; a hung thread is left behind."""
        self._dead = True
        self._jobs.put(_Job(self._disconnect, asyncio.get_running_loop(), asyncio.get_running_loop().create_future()))
        self._jobs.put(None)

    async def _call(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        job = _Job(call, loop, loop.create_future())
        self._jobs.put(job)
        try:
            async with asyncio.timeout(self._timeout_s):
                result: T = await job.future
        except TimeoutError as wrong:
            raise ReaderHung(f"{self._reader}: no answer for {self._timeout_s:g} s") from wrong
        return result

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()

    def _connect(self) -> None:
        result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        if _code(result) != _OK:
            raise PcscdDown(f"pcscd does not answer ({_code(result):08X})")
        began = time.monotonic()
        while True:
            wanted = (context, self._reader, scard.SCARD_SHARE_EXCLUSIVE, _PROTOCOLS)
            result, handle, protocol = scard.SCardConnect(*wanted)
            if _code(result) == _OK or not self._may_come(_code(result), context, time.monotonic() - began):
                break
            time.sleep(_AGAIN_S)
        if _code(result) != _OK:
            wrong = self._no_connection(_code(result), context)
            scard.SCardReleaseContext(context)
            raise wrong
        self._context, self._handle, self._protocol = context, handle, protocol
        result, _, _, _, atr = scard.SCardStatus(handle)
        self.atr = bytes(atr) if _code(result) == _OK else b""

    def _may_come(self, code: int, context: Any, waited_s: float) -> bool:
        """Whether the same call may succeed in a moment: the daemon powers the card up again at each."""
        if code == _SHARED:
            return waited_s < _SHARED_S
        return code not in _DOWN and code != _NO_PROTOCOL and waited_s < _CONTACT_S and self._present(context)

    def _present(self, context: Any) -> bool:
        """Whether the daemon says that a card is in the reader."""
        result, states = scard.SCardGetStatusChange(context, 0, [(self._reader, scard.SCARD_STATE_UNAWARE)])
        return _code(result) == _OK and bool(states[0][1] & scard.SCARD_STATE_PRESENT)

    def _no_connection(self, code: int, context: Any) -> KioskError:
        words = f"{self._reader}: no connection to a card ({code:08X})"
        if code in _DOWN:
            return PcscdDown(words)
        return MuteCard(words) if code != _SHARED and self._present(context) else NoCard(words)

    def _transmit(self, command: bytes) -> bytes | None:
        result, answer = scard.SCardTransmit(self._handle, self._protocol, list(command))
        # On an error the buffer is junk; a torn card can also look like success without data.
        if _code(result) != _OK or len(answer) < 2:
            log.info("%s: %s ended with %08X", self._reader, command[:4].hex().upper(), _code(result))
            if _code(result) in _DOWN:
                raise PcscdDown(f"pcscd went away in the midst of a command ({_code(result):08X})")
            return None
        return bytes(answer)

    def _disconnect(self) -> None:
        if self._handle is not None:
            scard.SCardDisconnect(self._handle, scard.SCARD_UNPOWER_CARD)
            scard.SCardReleaseContext(self._context)
            self._handle = None
