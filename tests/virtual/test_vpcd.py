"""The card's end of vpcd's wire, spoken to by a test in vpcd's place, and once by the real one from another process."""

import socket
import statistics
import time
from collections.abc import Iterator

import pytest
from smartcard import scard

from kioskd.gp.isd import get_data
from kioskd.virtual import vpcd
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader, Pace
from tests.virtual.host import CHALLENGE, FACTORY_KVN

READ = get_data(0xE0).encode()
WAIT_S = 5.0
GREETING = bytes((0x80, 0x50, FACTORY_KVN, 0x00, 0x08)) + CHALLENGE
AUTHENTICATE = bytes.fromhex("84823300100000000000000000000000000000000000")


class Reader:
    """vpcd's end: one listening port."""

    def __init__(self) -> None:
        self.door = socket.create_server(("127.0.0.1", 0))
        self.door.settimeout(WAIT_S)
        self.port: int = self.door.getsockname()[1]
        self.line: socket.socket | None = None

    def connect(self) -> socket.socket:
        """What a card connects with."""
        return socket.create_connection(("127.0.0.1", self.port))

    def accept(self) -> None:
        """Waits for a card."""
        self.line, _ = self.door.accept()
        self.line.settimeout(WAIT_S)

    def send(self, body: bytes, cut: int = 0) -> None:
        """One message: length and body apart, as vpcd does; without the last `cut` bytes."""
        assert self.line is not None
        self.line.sendall(len(body).to_bytes(2))
        self.line.sendall(body[: len(body) - cut])

    def ask(self, body: bytes) -> bytes:
        """One message that is answered; empty if the card is gone."""
        assert self.line is not None
        self.send(body)
        head = self.line.recv(2, socket.MSG_WAITALL)
        return self.line.recv(int.from_bytes(head), socket.MSG_WAITALL) if head else b""

    def close(self) -> None:
        """Ends both sockets."""
        self.door.close()
        if self.line is not None:
            self.line.close()


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A reader without a card."""
    made = Reader()
    yield made
    made.close()


@pytest.fixture
def inserted(reader: Reader, card: VirtualCard) -> Iterator[CardInReader]:
    """A card in the reader."""
    hand = CardInReader(card, reader.connect)
    hand.insert()
    reader.accept()
    yield hand
    hand.pull()


def becomes_empty(hand: CardInReader) -> bool:
    """Whether the card's thread ends."""
    deadline = time.monotonic() + WAIT_S
    while hand.inserted and time.monotonic() < deadline:
        time.sleep(0.005)
    return not hand.inserted


def test_the_atr_is_given_whenever_it_is_asked_for(reader: Reader, inserted: CardInReader) -> None:
    assert [reader.ask(b"\x04") for _ in range(3)] == [inserted.card.atr] * 3
    reader.send(b"\x01")
    assert reader.ask(b"\x04") == inserted.card.atr


def test_the_atr_can_be_asked_for_in_the_midst_of_a_session(reader: Reader, inserted: CardInReader) -> None:
    assert reader.ask(GREETING).endswith(b"\x90\x00")
    assert reader.ask(b"\x04") == inserted.card.atr
    assert reader.ask(AUTHENTICATE) == b"\x63\x00"  # the greeting still stood


@pytest.mark.parametrize("order", [b"\x00", b"\x01", b"\x02"], ids=["off", "on", "reset"])
def test_power_off_power_on_and_reset_clear_the_session_without_an_answer(
    reader: Reader, inserted: CardInReader, order: bytes
) -> None:
    assert reader.ask(GREETING).endswith(b"\x90\x00")
    reader.send(order)
    assert reader.ask(AUTHENTICATE) == b"\x69\x85"


@pytest.mark.parametrize("body", [b"", b"\x03", b"\xff", bytes(3), bytes(300), b"\x00\xa4\x04\x00\x08\xa0"])
def test_every_other_message_is_answered_with_a_status_word(
    reader: Reader, inserted: CardInReader, body: bytes
) -> None:
    assert reader.ask(body) == b"\x67\x00"
    assert reader.ask(READ).endswith(b"\x90\x00")


def test_a_reader_that_goes_in_the_midst_of_a_message_leaves_the_card_out(
    reader: Reader, inserted: CardInReader
) -> None:
    reader.send(READ, cut=2)
    reader.close()
    assert becomes_empty(inserted)


@pytest.mark.parametrize("when", list(Tear))
def test_a_torn_card_closes_the_line_without_an_answer(reader: Reader, inserted: CardInReader, when: Tear) -> None:
    inserted.card.tear(when)
    before = inserted.card.memory
    assert reader.ask(GREETING) == b""
    assert becomes_empty(inserted)
    assert (inserted.card.memory != before) is (when is Tear.AFTER)


@pytest.mark.slow
def test_a_pulled_card_closes_the_line_and_comes_back_after_the_gap(reader: Reader, inserted: CardInReader) -> None:
    inserted.pull()
    assert not inserted.inserted
    pulled = time.monotonic()
    inserted.insert()
    assert time.monotonic() - pulled >= vpcd.GAP_S - 0.05
    reader.accept()
    assert reader.ask(READ).endswith(b"\x90\x00")


def test_a_slow_card_takes_its_time_for_reading_and_for_writing(reader: Reader, card: VirtualCard) -> None:
    pace = Pace(read_ms=1, write_ms=80)
    assert [pace.milliseconds(one) for one in (READ, b"\x84\xd8", b"\x84\xe4", b"\x84\xf0", b"")] == [1, 80, 80, 80, 1]
    hand = CardInReader(card, reader.connect, pace)
    hand.insert()
    reader.accept()
    began = time.monotonic()
    assert reader.ask(bytes.fromhex("80E4000003D2013000")) == b"\x69\x82"
    assert time.monotonic() - began >= 0.08
    hand.pull()


# --- a process of its own -------------------------------------------------------------------------------------------


@pytest.mark.pcscd
@pytest.mark.slow
def test_many_commands_go_through_the_real_daemon(
    private_pcscd: PrivatePcscd, card: VirtualCard, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = CardInReader(card, private_pcscd.connect_card)
    hand.insert()
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    name, deadline = private_pcscd.readers[0].name, time.monotonic() + WAIT_S
    result = -1
    while result != 0 and time.monotonic() < deadline:
        result, handle, protocol = scard.SCardConnect(
            context, name, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        )
        time.sleep(0.02)
    assert result == 0
    took, wanted = [], list(card.transmit(READ))
    for _ in range(200):
        began = time.perf_counter()
        assert scard.SCardTransmit(handle, protocol, list(READ)) == [0, wanted]
        took.append(1000 * (time.perf_counter() - began))
    scard.SCardDisconnect(handle, scard.SCARD_UNPOWER_CARD)
    scard.SCardReleaseContext(context)
    hand.pull()
    with capsys.disabled():
        print(f"\nthrough pcscd: {statistics.median(took):.2f} ms a command, median of {len(took)}")


@pytest.mark.slow
def test_the_next_hand_at_a_reader_leaves_the_gap_after_the_one_before_it(reader: Reader) -> None:
    mouth = vpcd.Mouth()
    first, second = (CardInReader(VirtualCard(), reader.connect, mouth=mouth) for _ in range(2))
    first.insert()
    first.pull()
    pulled = time.monotonic()
    second.insert()
    second.pull()
    assert time.monotonic() - pulled >= vpcd.GAP_S - 0.05
