"""Both ends of SCP02 against each other, at every level, and against a wire that lies."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.errors import ChannelBroken, Malformed
from kioskd.gp import scp02
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DESKey, scp02_session_keys
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import Method
from kioskd.gp.isd import InitializeUpdateAnswer
from kioskd.gp.scp02 import CardChannel, HostChannel, ResponseChain
from kioskd.secret import Secret
from tests.gp.test_scp03 import COMMANDS, carries_mac, exchanges, flipped, from_parts

pytestmark = pytest.mark.slow

HOST, CARD, SEQUENCE = bytes(range(8)), bytes(range(0x80, 0x86)), b"\x00\x2a"
ENC, MAC, DEK = (DESKey(Secret(bytes(range(n, n + 16)))) for n in (0x10, 0x30, 0x50))
KEYS = scp02_session_keys(ENC, MAC, DEK, SEQUENCE)
SECURED = tuple(level for level in scp02.LEVELS if level)

every_level = pytest.mark.parametrize("level", SECURED, ids=lambda level: f"{level:02X}")
with_response_mac = pytest.mark.parametrize("level", [0x11, 0x13], ids=lambda level: f"{level:02X}")


def opened(level: int) -> tuple[HostChannel, CardChannel]:
    """Both ends after EXTERNAL AUTHENTICATE."""
    command, host = HostChannel.begin(KEYS, level).external_authenticate(HOST, SEQUENCE, CARD)
    card = CardChannel(KEYS).authenticated(command, HOST, SEQUENCE, CARD)
    assert card is not None
    return host, card


@every_level
@settings(deadline=None)
@given(st.lists(exchanges, max_size=6))
def test_both_ends_agree_on_every_sequence(level: int, sequence: list[tuple[CommandAPDU, ResponseAPDU]]) -> None:
    host, card = opened(level)
    chain = reader = ResponseChain(KEYS.rmac, host.mac)
    for command, response in sequence:
        wrapped, host = host.wrap(command)
        plain, card = card.unwrap(CommandAPDU.decode(wrapped.encode()))
        assert replace(plain, cla=0x80) == command
        wire, chain = chain.wrap(plain, response)
        got, reader = reader.unwrap(command, ResponseAPDU.decode(wire.encode()))
        assert got == ResponseAPDU(response.data if carries_mac(response.sw) else b"", response.sw)


@every_level
@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_every_flipped_bit_of_a_command_breaks_the_channel(level: int, command: CommandAPDU) -> None:
    host, card = opened(level)
    wrapped, _ = host.wrap(command)
    head = wrapped.header + wrapped.data
    for bit in range(8 * len(head)):
        if bit in (0, 1, 2):
            continue  # the logical channel and the mark of secure messaging: no MAC covers them
        with pytest.raises(ChannelBroken):
            card.unwrap(from_parts(flipped(head, bit), wrapped.le))
    assert card.unwrap(wrapped)[0].data == command.data


@every_level
def test_a_command_cannot_be_replayed_reordered_or_left_out(level: int) -> None:
    host, card = opened(level)
    first, host = host.wrap(COMMANDS[0])
    second, host = host.wrap(COMMANDS[1])
    with pytest.raises(ChannelBroken):
        card.unwrap(second)
    _, after = card.unwrap(first)
    with pytest.raises(ChannelBroken):
        after.unwrap(first)
    assert after.unwrap(second)[0].ins == COMMANDS[1].ins


@every_level
def test_every_flipped_bit_of_external_authenticate_is_refused(level: int) -> None:
    command, _ = HostChannel.begin(KEYS, level).external_authenticate(HOST, SEQUENCE, CARD)
    head = command.header + command.data
    for bit in range(8 * len(head)):
        if bit in (0, 1, 2):
            continue
        with pytest.raises(ChannelBroken):
            CardChannel(KEYS).authenticated(from_parts(flipped(head, bit)), HOST, SEQUENCE, CARD)


OTHERS = [(HOST[::-1], SEQUENCE, CARD), (HOST, b"\x00\x2b", CARD), (HOST, SEQUENCE, CARD[::-1])]


@pytest.mark.parametrize(("host", "sequence", "card"), OTHERS)
def test_a_channel_opens_only_on_its_own_challenges(host: bytes, sequence: bytes, card: bytes) -> None:
    command, _ = HostChannel.begin(KEYS, 0x03).external_authenticate(HOST, SEQUENCE, CARD)
    assert CardChannel(KEYS).authenticated(command, host, sequence, card) is None


@with_response_mac
@pytest.mark.parametrize("data", [b"", b"\x30", bytes(range(40))], ids=lambda data: f"{len(data)} bytes")
def test_every_flipped_bit_of_a_response_breaks_the_chain_or_reads_as_an_error(level: int, data: bytes) -> None:
    host, _ = opened(level)
    chain = ResponseChain(KEYS.rmac, host.mac)
    wire, _ = chain.wrap(COMMANDS[1], ResponseAPDU(data, 0x9000))
    raw = wire.encode()
    for bit in range(8 * len(raw)):
        bent = ResponseAPDU.decode(flipped(raw, bit))
        if carries_mac(bent.sw):
            with pytest.raises(ChannelBroken):
                chain.unwrap(COMMANDS[1], bent)
        else:
            assert chain.unwrap(COMMANDS[1], bent)[0] == bent


@with_response_mac
@pytest.mark.parametrize("chains_errors", [False, True], ids=["not chained", "chained"])
def test_errors_are_hearsay_and_the_chain_goes_on_whether_the_card_chains_them_or_not(
    level: int, chains_errors: bool
) -> None:
    host, _ = opened(level)
    card, reader = ResponseChain(KEYS.rmac, host.mac, chains_errors=chains_errors), ResponseChain(KEYS.rmac, host.mac)
    for sw in (0x6A88, 0x6A80, 0x9000, 0x6A88, 0x9000):
        wire, card = card.wrap(COMMANDS[1], ResponseAPDU(b"\x30", sw))
        plain, reader = reader.unwrap(COMMANDS[1], wire)
        assert plain == ResponseAPDU(b"\x30" if sw == 0x9000 else b"", sw)


@with_response_mac
@pytest.mark.parametrize("chains_errors", [False, True], ids=["not chained", "chained"])
def test_an_error_put_in_the_place_of_a_good_answer_breaks_what_comes_after_it(level: int, chains_errors: bool) -> None:
    host, _ = opened(level)
    card, reader = ResponseChain(KEYS.rmac, host.mac, chains_errors=chains_errors), ResponseChain(KEYS.rmac, host.mac)
    _, card = card.wrap(COMMANDS[0], ResponseAPDU(b"\x30", 0x9000))
    second, _ = card.wrap(COMMANDS[1], ResponseAPDU(b"\x31", 0x9000))
    _, reader = reader.unwrap(COMMANDS[0], ResponseAPDU(b"", 0x6A88))
    with pytest.raises(ChannelBroken):
        reader.unwrap(COMMANDS[1], second)


@with_response_mac
def test_a_response_to_another_command_or_out_of_order_is_refused(level: int) -> None:
    host, _ = opened(level)
    chain = ResponseChain(KEYS.rmac, host.mac)
    first, after = chain.wrap(COMMANDS[0], ResponseAPDU(b"\x00", 0x9000))
    second, _ = after.wrap(COMMANDS[1], ResponseAPDU(b"\x01", 0x9000))
    for wire in (first, second):
        with pytest.raises(ChannelBroken):
            chain.unwrap(COMMANDS[1], wire)
    with pytest.raises(ChannelBroken):
        chain.unwrap(COMMANDS[0], ResponseAPDU(b"", 0x9000))


def test_encryption_hides_the_data_and_the_mac_is_over_the_clear() -> None:
    told = b"a sentence that is long enough to be found"
    command = CommandAPDU(0x80, 0xE2, 0, 0, told)
    plain, _ = opened(0x01)[0].wrap(command)
    hidden, _ = opened(0x03)[0].wrap(command)
    assert told in plain.data and told not in hidden.data
    assert plain.data[:-8] == told
    assert len(hidden.data) == (len(told) // 8 + 1) * 8 + 8


def test_a_command_without_room_for_its_mac_is_refused() -> None:
    host, card = opened(0x01)
    with pytest.raises(Malformed, match="no room"):
        host.wrap(CommandAPDU(0x80, 0xE2, 0, 0, bytes(248)))
    with pytest.raises(ChannelBroken, match="no room"):
        card.unwrap(CommandAPDU(0x84, 0xE2, 0, 0, bytes(7)))


def test_a_level_that_scp02_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no level 33"):
        HostChannel.begin(KEYS, 0x33)


@given(st.binary(min_size=10, max_size=10), st.integers(0, 255), st.binary(min_size=16, max_size=16))
def test_its_answer_to_initialize_update_goes_both_ways(kdd: bytes, kvn: int, rest: bytes) -> None:
    raw = kdd + bytes((kvn, 2)) + rest
    read = InitializeUpdateAnswer.parse(raw)
    assert read.encode() == raw
    assert (read.scp, read.mac_bytes, len(read.card_challenge), read.sequence) == (2, 8, 6, rest[:2])


@pytest.mark.parametrize("method", Method)
def test_diversified_sets_differ_by_card_and_by_member(method: Method) -> None:
    master = Secret(bytes(range(16)))
    sets = [diversified(method, master, bytes((n,)) * 10) for n in range(4)]
    values = [one.reveal() for keys in sets for one in keys]
    assert len(set(values)) == len(values) == 12
    assert {len(value) for value in values} == {16}


def test_diversification_data_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="of 9 bytes"):
        diversified(Method.EMV, Secret(bytes(16)), bytes(9))
