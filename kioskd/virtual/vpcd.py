"""The virtual card in a reader of the real PC/SC daemon: vpcd's wire, spoken as its card.

Every message is a 16-bit length and a body. One byte is an order of the reader: 00 off, 01 on, 02 reset, 04 the ATR is
wanted. Anything else is a command, and its answer goes back.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kioskd.gp.apdu import INS
from kioskd.virtual.card import Torn, VirtualCard

_OFF, _ON, _RESET, _ATR = 0x00, 0x01, 0x02, 0x04
_NOISE = b"\x3b" * 40  # longer than any answer to reset: a reader takes it for none
GAP_S = 0.6
"""How long a reader must stay empty for the daemon to notice."""

_WRITING = frozenset({INS.DELETE, INS.PUT_KEY, INS.SET_STATUS})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a card takes to answer, in milliseconds: to a read, and to a command that writes its memory."""

    read_ms: float = 0
    write_ms: float = 0

    def milliseconds(self, command: bytes) -> float:
        """The card's time for one command."""
        return self.write_ms if command[1:2] and command[1] in _WRITING else self.read_ms

    def wait(self, command: bytes) -> None:
        """Takes the card's time for one command."""
        pause_ms = self.milliseconds(command)
        if pause_ms:
            time.sleep(pause_ms / 1000)


@dataclass(slots=True)
class Mouth:
    """Where cards go into one reader: whichever hand was there last, the next one waits until it was seen empty."""

    empty_since: float = 0.0

    def wait(self) -> None:
        """Returns when the reader has been empty long enough to be noticed."""
        time.sleep(max(0.0, self.empty_since + GAP_S - time.monotonic()))

    def emptied(self) -> None:
        """A card has just left."""
        self.empty_since = time.monotonic()


@dataclass(slots=True)
class CardInReader:
    """Holds a card in a virtual reader from a thread of its own, until it is pulled or torn."""

    card: VirtualCard
    connect: Callable[[], socket.socket]
    pace: Pace = field(default_factory=Pace)
    before_answer: Callable[[bytes], None] | None = None  # a test's look at each command, before its answer leaves
    mouth: Mouth = field(default_factory=Mouth)  # hands at the same reader share one
    bounces: int = 0  # how many times its contacts fail as it is powered up
    _noisy: bool = field(init=False, default=False)
    _line: socket.socket | None = field(init=False, default=None)
    _thread: threading.Thread | None = field(init=False, default=None)

    @property
    def inserted(self) -> bool:
        """Whether the card is in the reader."""
        return self._thread is not None and self._thread.is_alive()

    def insert(self) -> None:
        """Puts the card in; waits first until the reader has been empty long enough to be noticed."""
        self.mouth.wait()
        self._line = self.connect()
        self._thread = threading.Thread(target=self._serve, args=(self._line,), name="virtual-card", daemon=True)
        self._thread.start()

    def pull(self) -> None:
        """Takes the card out, whatever it is doing."""
        if self._line is not None:
            _shut(self._line)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5)
        self.mouth.emptied()

    def _serve(self, line: socket.socket) -> None:
        try:
            while (message := _receive(line)) is not None:
                self._obey(line, message)
        except (OSError, Torn):
            pass  # the reader went away, or the card was torn: both are an empty reader
        finally:
            self.card.reset()
            _shut(line)
            self.mouth.emptied()

    def _obey(self, line: socket.socket, message: bytes) -> None:
        if len(message) == 1 and message[0] in (_OFF, _ON, _RESET):
            self.card.reset()
            if message[0] == _ON:
                self._noisy = self.bounces > 0
                self.bounces -= self._noisy
        elif len(message) == 1 and message[0] == _ATR:
            _send(line, _NOISE if self._noisy else self.card.atr)
        else:
            answer = self.card.transmit(message)
            self.pace.wait(message)
            if self.before_answer is not None:
                self.before_answer(message)
            _send(line, answer)


def _receive(line: socket.socket) -> bytes | None:
    """The next message, or None at the end."""
    head = _exactly(line, 2)
    if head is None:
        return None
    # vpcd sends length and body apart, with Nagle: without a quick acknowledgement each command takes 44 ms.
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    return _exactly(line, int.from_bytes(head))


def _exactly(line: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = line.recv(count - len(data))
        if not part:
            return None
        data += part
    return data


def _send(line: socket.socket, body: bytes) -> None:
    line.sendall(len(body).to_bytes(2) + body)


def _shut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be gone already
        line.shutdown(socket.SHUT_RDWR)
    line.close()
