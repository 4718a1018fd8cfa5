"""Both ends of the secure channel against each other, at every level, and against a wire that lies."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.errors import ChannelBroken, Malformed
from kioskd.gp.aes import derive_session_keys
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.scp03 import CardChannel, HostChannel, Mark, unwrap
from tests.gp import strategies as some
from tests.gp.channels import CARD_CHALLENGE, HOST_CHALLENGE, KEYS, STATIC, WAYS, Way, opened

calm = settings(deadline=None)
every_way = pytest.mark.parametrize("way", WAYS, ids=str)
with_response_mac = pytest.mark.parametrize("way", [way for way in WAYS if way.level & 0x10], ids=str)

# Largest data that still has room for padding and MAC, at every level.
MOST = 255 - 16 - 16
exchanges = st.tuples(
    st.builds(CommandAPDU, st.just(0x80), some.byte, some.byte, some.byte, st.binary(max_size=MOST), some.les),
    st.builds(
        ResponseAPDU,
        st.binary(max_size=MOST),
        st.sampled_from([0x9000, 0x6283, 0x6310, 0x63C1, 0x6A88, 0x6985, 0x6581]),
    ),
)
COMMANDS = (
    CommandAPDU(0x80, 0xE4, 0, 0, bytes.fromhex("D20130"), 256),
    CommandAPDU(0x80, 0xCA, 0, 0xE0, le=256),
    CommandAPDU(0x80, 0xF0, 0x80, 0x0F),
    CommandAPDU(0x80, 0xD8, 0, 0x81, bytes(range(16)), 256),
)
MACED = (0x9000, 0x6283, 0x6310, 0x63C1)


def carries_mac(sw: int) -> bool:
    """Whether a response with this status word is authenticated at all."""
    return sw == 0x9000 or sw >> 8 in (0x62, 0x63)


def received(way: Way, mark: Mark, response: ResponseAPDU) -> ResponseAPDU:
    """What the host makes of a response."""
    return unwrap(way.keys.enc, way.keys.rmac, way.level, mark, response, way.mac_bytes)


def flipped(raw: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def from_parts(head_and_data: bytes, le: int | None = None) -> CommandAPDU:
    """The command of a header and data without their length between them."""
    cla, ins, p1, p2 = head_and_data[:4]
    return CommandAPDU(cla, ins, p1, p2, head_and_data[4:], le)


@pytest.mark.slow
@every_way
@calm
@given(st.lists(exchanges, max_size=6))
def test_both_ends_agree_on_every_sequence(way: Way, sequence: list[tuple[CommandAPDU, ResponseAPDU]]) -> None:
    host, card = opened(way)
    for command, response in sequence:
        wrapped, mark, host = host.wrap(command)
        plain, card = card.unwrap(CommandAPDU.decode(wrapped.encode()))
        assert replace(plain, cla=0x80) == command
        assert plain.cla == 0x84
        wire = ResponseAPDU.decode(card.wrap(response).encode())
        data = response.data if carries_mac(response.sw) else b""
        assert received(way, mark, wire) == ResponseAPDU(data, response.sw)


@every_way
def test_what_is_encrypted_cannot_be_read_on_the_wire(way: Way) -> None:
    host, card = opened(way)
    told = b"a sentence that is long enough to be found"
    wrapped, _, _ = host.wrap(CommandAPDU(0x80, 0xE2, 0, 0, told))
    _, card = card.unwrap(wrapped)
    assert (told in wrapped.data) is not bool(way.level & 0x02)
    assert (told in card.wrap(ResponseAPDU(told, 0x9000)).data) is not bool(way.level & 0x20)


@every_way
@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_every_flipped_bit_of_a_command_breaks_the_channel(way: Way, command: CommandAPDU) -> None:
    host, card = opened(way)
    wrapped, _, _ = host.wrap(command)
    head = wrapped.header + wrapped.data
    for bit in range(8 * len(head)):
        if bit in (0, 1):
            continue  # the logical channel: no MAC covers it, so the terminal's allow-list refuses it
        with pytest.raises(ChannelBroken):
            card.unwrap(from_parts(flipped(head, bit), wrapped.le))
    assert card.unwrap(wrapped)[0].data == command.data


@every_way
def test_a_wrong_length_of_a_command_is_refused(way: Way) -> None:
    host, card = opened(way)
    wrapped, _, _ = host.wrap(COMMANDS[0])
    for bit in range(32, 40):
        with pytest.raises((ChannelBroken, Malformed)):
            card.unwrap(CommandAPDU.decode(flipped(wrapped.encode(), bit)))


@every_way
def test_every_flipped_bit_of_external_authenticate_is_refused(way: Way) -> None:
    begun = HostChannel.begin(way.keys, way.level, way.mac_bytes)
    command, _ = begun.external_authenticate(way.host_challenge, way.card_challenge)
    head = command.header + command.data
    for bit in range(2, 8 * len(head)):
        bent = from_parts(flipped(head, bit))
        with pytest.raises(ChannelBroken):
            CardChannel(way.keys, way.mac_bytes).authenticated(bent, way.host_challenge, way.card_challenge)


@with_response_mac
@pytest.mark.parametrize("sw", MACED, ids=lambda sw: f"{sw:04X}")
@pytest.mark.parametrize("data", [b"", b"\x30", bytes(range(40))], ids=lambda data: f"{len(data)} bytes")
def test_every_flipped_bit_of_a_response_breaks_the_channel_or_reads_as_an_error(
    way: Way, sw: int, data: bytes
) -> None:
    host, card = opened(way)
    wrapped, mark, _ = host.wrap(COMMANDS[1])
    _, card = card.unwrap(wrapped)
    raw = card.wrap(ResponseAPDU(data, sw)).encode()
    for bit in range(8 * len(raw)):
        bent = ResponseAPDU.decode(flipped(raw, bit))
        if carries_mac(bent.sw):
            with pytest.raises(ChannelBroken):
                received(way, mark, bent)
        else:  # hearsay, in which nobody can read a success
            assert received(way, mark, bent) == bent
            assert not bent.ok
    assert received(way, mark, ResponseAPDU.decode(raw)) == ResponseAPDU(data, sw)


@with_response_mac
def test_a_response_to_another_command_is_refused(way: Way) -> None:
    host, card = opened(way)
    marks, answers = [], []
    for command in COMMANDS:
        wrapped, mark, host = host.wrap(command)
        _, card = card.unwrap(wrapped)
        marks.append(mark)
        answers.append(card.wrap(ResponseAPDU(b"\x00", 0x9000)))
    for own, mark in enumerate(marks):
        for other, answer in enumerate(answers):
            if own == other:
                assert received(way, mark, answer).data == b"\x00"
            else:
                with pytest.raises(ChannelBroken):
                    received(way, mark, answer)


@with_response_mac
def test_a_success_without_a_mac_is_refused(way: Way) -> None:
    host, _ = opened(way)
    _, mark, _ = host.wrap(COMMANDS[0])
    for length in range(way.mac_bytes + 1):
        with pytest.raises(ChannelBroken):
            received(way, mark, ResponseAPDU(bytes(length), 0x9000))


def test_a_response_under_a_right_mac_but_without_whole_blocks_is_refused() -> None:
    host, card = opened(Way(0x33))
    wrapped, mark, _ = host.wrap(COMMANDS[1])
    _, card = card.unwrap(wrapped)
    without_encryption = replace(card, level=0x13)
    for length in (1, 15, 16, 17, 32):
        with pytest.raises(ChannelBroken):
            received(Way(0x33), mark, without_encryption.wrap(ResponseAPDU(bytes(length), 0x9000)))


def test_a_command_under_a_right_mac_but_without_whole_blocks_is_refused() -> None:
    host, card = opened(Way(0x33))
    without_encryption = replace(host, level=0x11)
    for length in (1, 15, 16, 17, 32):
        wrapped, _, _ = without_encryption.wrap(CommandAPDU(0x80, 0xE2, 0, 0, bytes(length)))
        with pytest.raises(ChannelBroken):
            card.unwrap(wrapped)


@every_way
def test_a_command_cannot_be_replayed_reordered_or_left_out(way: Way) -> None:
    host, card = opened(way)
    first, _, host = host.wrap(COMMANDS[0])
    second, _, host = host.wrap(COMMANDS[1])
    with pytest.raises(ChannelBroken):
        card.unwrap(second)
    _, after = card.unwrap(first)
    with pytest.raises(ChannelBroken):
        after.unwrap(first)
    assert after.unwrap(second)[0].ins == COMMANDS[1].ins


@every_way
def test_a_command_without_its_mac_is_refused(way: Way) -> None:
    _, card = opened(way)
    for length in range(way.mac_bytes + 1):
        with pytest.raises(ChannelBroken):
            card.unwrap(CommandAPDU(0x84, 0xE4, 0, 0, bytes(length)))


def test_a_command_without_data_counts() -> None:
    host, _ = opened(Way(0x03))
    counters = []
    for command in COMMANDS:
        _, mark, host = host.wrap(command)
        counters.append(mark.counter)
    assert counters == [1, 2, 3, 4]


@calm
@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_a_channel_opens_only_on_its_own_challenges(host_challenge: bytes, card_challenge: bytes) -> None:
    keys = derive_session_keys(STATIC, host_challenge, card_challenge)
    command, _ = HostChannel.begin(keys, 0x33).external_authenticate(host_challenge, card_challenge)
    assert CardChannel(keys).authenticated(command, host_challenge, card_challenge) is not None
    assert CardChannel(keys).authenticated(command, card_challenge, flipped(host_challenge, 0)) is None
    if (host_challenge, card_challenge) != (HOST_CHALLENGE, CARD_CHALLENGE):
        with pytest.raises(ChannelBroken):
            CardChannel(KEYS).authenticated(command, host_challenge, card_challenge)


def test_a_level_without_response_mac_takes_the_response_as_it_is() -> None:
    for way in (way for way in WAYS if way.level in (0x01, 0x03)):
        host, card = opened(way)
        wrapped, mark, _ = host.wrap(COMMANDS[0])
        _, card = card.unwrap(wrapped)
        answer = ResponseAPDU(b"\x00", 0x9000)
        assert card.wrap(answer) == answer
        assert received(way, mark, answer) == answer


def test_an_error_loses_its_data_at_the_card_and_its_mac_everywhere() -> None:
    _, card = opened(Way(0x33))
    assert card.wrap(ResponseAPDU(b"said too much", 0x6A80)) == ResponseAPDU(b"", 0x6A80)
