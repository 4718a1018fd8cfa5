"""One command and its whole answer: parts are joined within bounds, Le is dropped once, no change is sent twice."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS, MAX_ANSWER_BYTES, CommandAPDU
from kioskd.gp.isd import ISD_AID, get_data, initialize_update, select
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.keys import KVN
from kioskd.rekey.asks import Transmit
from kioskd.rekey.exchange import MAX_PARTS, exchange
from kioskd.rekey.profile import Lock, Profile
from kioskd.rekey.wire import Script
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, tap

READ = get_data(0xE0).encode()
GREET = initialize_update(KVN(0x3E), bytes(8)).encode()
PUT = CommandAPDU(0x84, INS.PUT_KEY, 0x00, 0x81, bytes(100), 256).encode()


def talk(command: bytes, card: Callable[[bytes], bytes | None], bare: bool = False) -> tuple[bytes | None, bool, int]:
    """The answer, whether Le is left out from now on, and how many commands it took."""
    asking, sent = exchange(command, bare), 0
    try:
        ask = next(asking)
        while True:
            assert isinstance(ask, Transmit)
            sent += 1
            ask = asking.send(card(ask.command))
    except StopIteration as end:
        answer, left_out = end.value
        return answer, left_out, sent


def in_parts(answer: bytes, size: int) -> Callable[[bytes], bytes]:
    """A card that gives an answer in parts."""
    left = [answer]

    def card(command: bytes) -> bytes:
        assert command == READ or command[:4] == bytes.fromhex("00C00000")
        part, left[0] = left[0][:size], left[0][size:]
        rest = len(left[0])
        return part + (bytes((0x61, min(rest, 256) % 256)) if rest else b"\x90\x00")

    return card


@pytest.mark.parametrize(("length", "size"), [(300, 256), (512, 256), (1024, 256), (1024, 128), (9, 1), (40, 8)])
def test_an_answer_in_parts_is_one_answer(length: int, size: int) -> None:
    answer = bytes(at % 251 for at in range(length))
    assert talk(READ, in_parts(answer, size)) == (answer + b"\x90\x00", False, -(-length // size))


@pytest.mark.parametrize(("length", "size"), [(1025, 256), (5000, 256), (1025, 125), (10, 1), (1030, 115)])
def test_an_answer_beyond_the_bounds_is_its_status_word_alone(length: int, size: int) -> None:
    answer, _, sent = talk(READ, in_parts(bytes(length), size))
    assert answer is not None and answer[0] in (0x61, 0x90) and len(answer) == 2
    assert sent <= MAX_PARTS + 1


@pytest.mark.parametrize("part", [b"\x61\x00", bytes(200) + b"\x61\x10", bytes(256) + b"\x61\x00"])
def test_a_card_that_goes_on_for_ever_is_asked_no_more_than_the_bound(part: bytes) -> None:
    answer, _, sent = talk(READ, lambda _: part)
    assert (answer, sent <= MAX_PARTS + 1) == (part[-2:], True)


def test_a_card_that_is_pulled_between_two_parts_gave_no_answer() -> None:
    parts = [bytes(256) + b"\x61\x10", None]
    assert talk(READ, lambda _: parts.pop(0)) == (None, False, 2)


REFUSALS = pytest.mark.parametrize("refusal", [b"\x6e\x00", b"\x67\x00"], ids=["6E00", "6700"])


@REFUSALS
@pytest.mark.parametrize("command", [select(ISD_AID).encode(), GREET], ids=["SELECT", "INITIALIZE UPDATE"])
def test_a_command_that_changes_nothing_is_sent_once_more_without_le_and_that_is_remembered(
    command: bytes, refusal: bytes
) -> None:
    sent: list[bytes] = []

    def card(raw: bytes) -> bytes:
        sent.append(raw)
        return refusal if CommandAPDU.decode(raw).le else b"\x01\x90\x00"

    assert talk(command, card)[:2] == (b"\x01\x90\x00", True)
    assert sent == [command, command[:-1]], "the same bytes, without Le"


@REFUSALS
def test_a_command_that_may_change_the_card_is_never_sent_twice(refusal: bytes) -> None:
    secured = CommandAPDU(0x84, INS.GET_DATA, 0x00, 0xE0, bytes(8), 256).encode()
    for command in (PUT, secured, CommandAPDU(0x84, INS.DELETE, 0, 0, bytes(20), 256).encode()):
        assert talk(command, lambda _: refusal) == (refusal, False, 1)


@REFUSALS
def test_a_card_that_refuses_without_le_too_is_not_asked_a_third_time(refusal: bytes) -> None:
    assert talk(GREET, lambda _: refusal) == (refusal, False, 2)
    assert talk(GREET[:-1], lambda _: refusal) == (refusal, False, 1)
    assert talk(GREET, lambda raw: refusal if raw == GREET else b"\x6a\x88") == (b"\x6a\x88", True, 2)


def test_once_le_was_dropped_it_stays_so_and_nothing_is_tried_before() -> None:
    sent: list[bytes] = []

    def card(raw: bytes) -> bytes:
        sent.append(raw)
        return b"\x90\x00"

    assert talk(PUT, card, bare=True) == (b"\x90\x00", True, 1)
    talk(READ, card, bare=True)
    assert sent == [PUT[:-1], READ], "without data, Le is all that says how much is read"


# --- whole cards ------------------------------------------------------------------------------------------------------

MANY = tuple(KeyEntry(kid, kvn, ((0x88, 16),)) for kvn in range(1, 16) for kid in range(1, 8))
T0 = CardOptions(t0=True, refuses_le=0x6E00)
CARDS = {
    "key information of 640 bytes": (Profile(), CardOptions(others=MANY)),
    "key information of 300 bytes, by the part": (Profile(), CardOptions(others=MANY[:48], t0=True, part=100)),
    "response MAC alone": (Profile(level=0x13), CardOptions(scp_i=0x30, others=MANY)),
    "S16": (Profile(challenge_bytes=16), CardOptions(scp_i=0x71, others=MANY)),
    "no response MAC": (Profile(level=0x03), CardOptions(scp_i=0x10, others=MANY)),
    "SCP02 with response MAC": (Profile(**DES | {"level": 0x13}), CardOptions(scp=2, scp_i=0x35, others=MANY)),
    "executive": (Profile(lock=Lock.EXECUTIVE), CardOptions(executive=True, others=MANY)),
    "T=0, no Le (6E00)": (Profile(), T0),
    "T=0, no Le (6700)": (Profile(), replace(T0, refuses_le=0x6700)),
    "T=0, no Le, SCP02": (Profile(**DES), replace(T0, scp=2, scp_i=0x15)),
    "T=0, no Le, key information of 640 bytes": (Profile(), replace(T0, others=MANY)),
}


@pytest.mark.parametrize("kind", CARDS.values(), ids=CARDS)
def test_such_a_card_is_issued_and_replaced(kind: tuple[Profile, CardOptions]) -> None:
    profile, options = kind
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    world.assert_finished(1)
    world = world.fork(armed(2))
    assert tap(Kiosk(world, "k1")) == "done"
    world.assert_finished(2)


def test_one_response_mac_is_over_all_parts() -> None:
    """A part that is left out, or another's, is found out: nothing closes on it."""
    profile, options = CARDS["key information of 640 bytes"]
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"

    class Bending(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            raw = Kiosk.transmit(self, script, command)
            late = script.number and command[1] == INS.GET_RESPONSE and raw is not None and len(raw) > 2
            return bytes((raw[0] ^ 1,)) + raw[1:] if late and raw is not None else raw

    later = world.fork(armed(2))
    assert tap(Bending(later, "liar")) == "not-finished"
    assert later.state.open
    assert tap(Kiosk(later, "k2")) == "done"
    later.assert_finished(2)


def test_such_an_answer_really_is_longer_than_one_part() -> None:
    card = VirtualCard(options=CARDS["key information of 640 bytes"][1])
    first = card.transmit(READ)
    assert len(first) == 258 and first[-2] == 0x61
    whole, _, sent = talk(READ, VirtualCard(options=card.options).transmit)
    assert whole is not None and sent == 3
    assert len(KeyInformation.parse(whole[:-2]).entries) == len(MANY) + 3
    assert len(whole) < MAX_ANSWER_BYTES


def test_what_changes_a_card_of_t0_is_sent_once() -> None:
    """Le was dropped at SELECT; no PUT KEY or DELETE is refused for it, none is repeated."""
    sent: list[bytes] = []

    class Listening(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            sent.append(command)
            return Kiosk.transmit(self, script, command)

    profile, options = CARDS["T=0, no Le (6E00)"]
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Listening(world, "station"), "issue") == "issued"
    assert all(CommandAPDU.decode(one).le is None or not CommandAPDU.decode(one).data for one in sent)
    commands = [one for one in sent if one[1] != INS.GET_RESPONSE]
    assert len(commands) == len(set(commands))
