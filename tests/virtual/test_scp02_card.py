"""The virtual card's end of SCP02: its sequence counter, its key types, and what it refuses."""

from dataclasses import replace

import pytest

from kioskd.gp import scp02
from kioskd.gp.apdu import SW, CommandAPDU, ResponseAPDU
from kioskd.gp.des import DESKey, kcv_des, scp02_session_keys
from kioskd.gp.isd import InitializeUpdateAnswer, KeyField, delete_key, get_data, initialize_update, put_key
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import KVN
from kioskd.gp.scp02 import HostChannel, pseudo_random_challenge
from kioskd.secret import Secret
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import FACTORY_KEY
from kioskd.virtual.card_options import CardOptions

HOST = bytes(range(8))
FACTORY = (DESKey(Secret(FACTORY_KEY[:16])),) * 3
NEW = tuple(bytes((one,)) * 8 + bytes((one + 2,)) * 8 for one in b"eim")


def card_of(i: int = 0x55, **options: object) -> VirtualCard:
    """A card from the factory."""
    return VirtualCard(options=CardOptions(scp=2, scp_i=i, **options))  # type: ignore[arg-type]


class Host:
    """A host's end of one channel to the card."""

    def __init__(self, card: VirtualCard, kvn: int, keys: tuple[DESKey, ...] = FACTORY, level: int = 0x03) -> None:
        self.card = card
        raw = card.transmit(initialize_update(KVN(kvn), HOST).encode())
        self.answer = InitializeUpdateAnswer.parse(raw[:-2])
        self.sequence = self.answer.sequence or b""
        enc, mac, dek = keys
        self.keys = scp02_session_keys(enc, mac, dek, self.sequence)
        expected = scp02.card_cryptogram(self.keys.enc, HOST, self.sequence, self.answer.card_challenge)
        assert expected == self.answer.card_cryptogram
        begun = HostChannel.begin(self.keys, level)
        self.first, self.channel = begun.external_authenticate(HOST, self.sequence, self.answer.card_challenge)

    def open(self) -> "Host":
        """After EXTERNAL AUTHENTICATE."""
        assert self.card.transmit(self.first.encode()) == b"\x90\x00"
        return self

    def send(self, command: CommandAPDU) -> ResponseAPDU:
        """One command; its answer as it is on the wire."""
        wrapped, self.channel = self.channel.wrap(command)
        return ResponseAPDU.decode(self.card.transmit(wrapped.encode()))

    def put(self, kvn: int, kind: int = 0x80, replaces: int = 0) -> ResponseAPDU:
        """PUT KEY of the new set."""
        fields = tuple(
            KeyField(kind, self.keys.dek.encrypt_block(one), 16, kcv_des(DESKey(Secret(one))), with_length=False)
            for one in NEW
        )
        return self.send(put_key(KVN(kvn), fields, replaces))


def test_the_counter_moves_only_with_a_right_external_authenticate() -> None:
    card = card_of()
    for wanted in (0, 0):
        assert Host(card, 0xFF).sequence == wanted.to_bytes(2)
    wrong = Host(card, 0xFF)
    assert card.transmit(replace(wrong.first, data=bytes(16)).encode())[-2:] != b"\x90\x00"
    assert Host(card, 0xFF).open().sequence == b"\x00\x00"
    assert Host(card, 0xFF).open().sequence == b"\x00\x01"
    assert Host(card, 0xFF).sequence == b"\x00\x02"


def test_the_counter_of_a_set_begins_anew_when_its_keys_change_and_ends_at_its_maximum() -> None:
    card = card_of()
    Host(card, 0xFF).open()
    assert Host(card, 0xFF).open().put(0x20).ok
    assert Host(card, 0x20, tuple(DESKey(Secret(one)) for one in NEW)).sequence == b"\x00\x00"
    (factory, *others) = card.memory.sets
    card.memory = replace(card.memory, sets=(replace(factory, sequence=scp02.SEQUENCE_MAX), *others))
    assert card.transmit(initialize_update(KVN(0xFF), HOST).encode()) == bytes.fromhex("6985")


def test_i_55_computes_its_challenge_and_i_15_draws_it() -> None:
    card = card_of(0x55)
    host = Host(card, 0xFF)
    assert host.answer.card_challenge == pseudo_random_challenge(host.keys.mac, card.options.aid)
    drawn = {Host(card_of(0x15), 0xFF).answer.card_challenge for _ in range(8)}
    assert len(drawn) == 8


def test_a_3des_set_is_put_told_and_deleted() -> None:
    card = card_of()
    host = Host(card, 0xFF).open()
    answer = host.put(0x20)
    assert answer.ok and answer.data == bytes((0x20,)) + b"".join(kcv_des(DESKey(Secret(one))) for one in NEW)
    told = KeyInformation.parse(card.transmit(get_data(0xE0).encode())[:-2])
    assert {one.components for one in told.entries_of(0x20)} == {((0x80, 16),)}
    opened = Host(card, 0x20, tuple(DESKey(Secret(one)) for one in NEW)).open()
    assert opened.send(delete_key(KVN(0xFF))).ok
    assert card.kvns == {0x20}


def test_an_aes_set_over_scp02_is_refused_but_by_a_card_that_takes_both() -> None:
    assert Host(card_of(), 0xFF).open().put(0x30, kind=0x88).sw == SW.WRONG_DATA
    other = card_of(also_aes=True)
    assert Host(other, 0xFF).open().put(0x30, kind=0x88).sw == SW.INVALID_KCV  # its check value is another
    assert b"\x04\x02\x55" in other.transmit(get_data(0x66).encode())
    assert b"\x04\x03\x70" in other.transmit(get_data(0x66).encode())


PROMISES = [(0x15, 0x13, False), (0x55, 0x11, False), (0x35, 0x13, True), (0x75, 0x11, True)]


@pytest.mark.parametrize(("i", "level", "ok"), PROMISES)
def test_a_level_with_response_mac_needs_an_i_that_says_so(i: int, level: int, ok: bool) -> None:
    card = card_of(i)
    answer = card.transmit(Host(card, 0xFF, level=level).first.encode())
    assert (answer == b"\x90\x00") is ok


def test_a_wrong_mac_ends_the_session() -> None:
    card = card_of()
    host = Host(card, 0xFF).open()
    wrapped, _ = host.channel.wrap(delete_key(KVN(0x20)))
    bad = replace(wrapped, data=wrapped.data[:-1] + bytes((wrapped.data[-1] ^ 1,)))
    assert card.transmit(bad.encode()) == bytes.fromhex("6982")
    assert card.transmit(wrapped.encode()) == bytes.fromhex("6982")
