"""Host against card, one table: key sizes, S8 and S16, security levels, PUT KEY's layouts, kinds of card challenge.

In each row the host replaces the factory set by distinct ENC, MAC and DEK keys and is then held to by the card.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from kioskd.errors import Malformed
from kioskd.gp.aes import derive_session_keys
from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.isd import PSEUDO_RANDOM, S16, InitializeUpdateAnswer, Receipt, delete_key, get_data
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.keys import KVN, kcv_aes
from kioskd.gp.scp03 import LEVELS, card_cryptogram
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import FACTORY_KEY
from kioskd.virtual.card_options import AES_BYTES, CardOptions
from tests.virtual.host import FACTORY_KVN, KRK_KVN, NEW_KVN, OLD_KVN, Host, hello, key_set, sw

Keys = tuple[bytes, ...]

RESPONSES = 0x60  # of i: response MAC and response encryption
CHALLENGES = ("random", "pseudo-random")


def keys(seed: int, size: int) -> Keys:
    """Three distinct keys, and others for each seed."""
    draw = Random(seed).randbytes
    return draw(size), draw(size), draw(size)


def factory(size: int) -> Keys:
    """The set that a card of that size leaves the factory with."""
    return (FACTORY_KEY[:size],) * 3


def entries(kvn: int, size: int) -> set[KeyEntry]:
    """What key information says of a set."""
    return {KeyEntry(kid, kvn, ((0x88, size),)) for kid in (1, 2, 3)}


def counted() -> Callable[[int], bytes]:
    """A random source whose every draw is another, and the same in each run."""
    draws = itertools.count(1)
    return lambda size: bytes((next(draws),)) * size


@dataclass(frozen=True, slots=True)
class Row:
    """One combination."""

    size: int  # bytes of each key
    mac_bytes: int
    level: int
    with_length: bool
    challenge: str

    @property
    def possible(self) -> bool:
        """Whether PUT KEY can say it: a key that is filled to whole blocks needs its length."""
        return self.with_length or self.size % 16 == 0

    @property
    def scp_i(self) -> int:
        return RESPONSES | (S16 if self.mac_bytes == 16 else 0) | (PSEUDO_RANDOM if self.challenge != "random" else 0)

    def card(self, factory_bytes: int | None = None) -> VirtualCard:
        """A card from the factory that speaks so; its random source is the test's."""
        options = CardOptions(scp_i=self.scp_i, factory_key_bytes=factory_bytes or self.size)
        return VirtualCard(options=options, random=counted())

    def open(self, card: VirtualCard, kvn: int, values: Keys) -> Host:
        """An authenticated host on a card that was powered anew."""
        card.reset()
        return Host.open(card.transmit, kvn, values, self.level, bytes(range(self.mac_bytes)))

    def proves(self, card: VirtualCard, kvn: int, values: Keys) -> bool:
        """Whether the card's cryptogram is that of these keys."""
        challenge = bytes(self.mac_bytes)
        answer = InitializeUpdateAnswer.parse(ResponseAPDU.decode(hello(card.transmit, kvn, challenge)).data)
        session = derive_session_keys(key_set(values), challenge, answer.card_challenge, 8 * self.size)
        return card_cryptogram(session.mac, challenge, answer.card_challenge) == answer.card_cryptogram

    def refused(self, card: VirtualCard, kvn: int) -> bool:
        """Whether the card knows no set of that number."""
        answer = hello(card.transmit, kvn, bytes(self.mac_bytes))
        return sw(answer) == SW.REFERENCED_DATA_NOT_FOUND

    def __str__(self) -> str:
        layout = "with length" if self.with_length else "without length"
        return f"AES-{8 * self.size}, S{self.mac_bytes}, level {self.level:02X}, {layout}, {self.challenge}"


TABLE = tuple(Row(*one) for one in itertools.product(AES_BYTES, (8, 16), LEVELS, (True, False), CHALLENGES))
POSSIBLE = tuple(row for row in TABLE if row.possible)
every_row = pytest.mark.parametrize("row", POSSIBLE, ids=str)


def test_the_table_is_complete() -> None:
    assert len(TABLE) == 3 * 2 * 5 * 2 * 2
    assert len(POSSIBLE) == 100
    assert {row.size for row in TABLE if not row.possible} == {24}


@every_row
def test_the_host_replaces_the_factory_set_and_only_the_new_ones_open(row: Row) -> None:
    card, old, new, krk = row.card(), keys(1, row.size), keys(2, row.size), keys(3, row.size)
    host = row.open(card, FACTORY_KVN, factory(row.size))
    for kvn, values in ((OLD_KVN, old), (KRK_KVN, krk)):
        receipt = Receipt.parse(host.put(kvn, values, with_length=row.with_length).data)
        assert receipt == Receipt(kvn, tuple(kcv_aes(key) for key in key_set(values)))
    host = row.open(card, KRK_KVN, krk)
    assert host.send(delete_key(KVN(FACTORY_KVN))).ok
    assert host.send(delete_key(KVN(OLD_KVN))).ok
    assert host.put(NEW_KVN, new, with_length=row.with_length).ok
    told = KeyInformation((*entries(KRK_KVN, row.size), *entries(NEW_KVN, row.size)))
    assert host.key_information() == told
    assert row.open(card, NEW_KVN, new).key_information() == told
    assert row.refused(card, OLD_KVN) and row.refused(card, FACTORY_KVN)
    assert set(card.key_values()) == {*krk, *new}


@every_row
def test_a_set_is_replaced_at_its_own_number_and_the_one_before_opens_no_more(row: Row) -> None:
    card, old, new = row.card(), keys(1, row.size), keys(2, row.size)
    host = row.open(card, FACTORY_KVN, factory(row.size))
    assert host.put(OLD_KVN, old, with_length=row.with_length).ok
    assert host.put(OLD_KVN, new, OLD_KVN, with_length=row.with_length).ok
    assert row.open(card, OLD_KVN, new).key_information().kvns == {FACTORY_KVN, OLD_KVN}
    assert row.proves(card, OLD_KVN, new) and not row.proves(card, OLD_KVN, old)


@pytest.mark.parametrize("row", [row for row in TABLE if not row.possible], ids=str)
def test_a_key_of_192_bits_without_its_length_is_refused_with_the_reason(row: Row) -> None:
    card = row.card()
    host = row.open(card, FACTORY_KVN, factory(row.size))
    with pytest.raises(Malformed, match="cannot go without its length"):
        host.put(OLD_KVN, keys(1, row.size), with_length=False)
    assert card.kvns == {FACTORY_KVN}


@pytest.mark.parametrize("row", POSSIBLE[:: len(LEVELS) - 1], ids=str)
def test_the_answer_to_initialize_update_is_as_long_as_i_says(row: Row) -> None:
    answer = ResponseAPDU.decode(hello(row.card().transmit, FACTORY_KVN, bytes(row.mac_bytes))).data
    counter = 3 if row.challenge == "pseudo-random" else 0
    assert len(answer) == 13 + 2 * row.mac_bytes + counter
    read = InitializeUpdateAnswer.parse(answer)
    assert (read.i, read.mac_bytes, read.sequence is not None) == (row.scp_i, row.mac_bytes, counter > 0)


SIZES = [(old, new) for old in AES_BYTES for new in AES_BYTES if old != new]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=[f"{8 * old} to {8 * new}" for old, new in SIZES])
def test_sets_of_two_sizes_live_side_by_side(old: int, new: int) -> None:
    row = Row(new, 8, 0x33, with_length=True, challenge="pseudo-random")
    card, values = row.card(factory_bytes=old), keys(1, new)
    assert row.open(card, FACTORY_KVN, factory(old)).put(OLD_KVN, values).ok
    told = row.open(card, OLD_KVN, values).key_information()
    assert set(told.entries) == entries(FACTORY_KVN, old) | entries(OLD_KVN, new)


@pytest.mark.parametrize(("old", "new"), SIZES, ids=[f"{8 * old} to {8 * new}" for old, new in SIZES])
def test_a_set_keeps_its_size_when_it_is_replaced(old: int, new: int) -> None:
    row = Row(old, 8, 0x33, with_length=True, challenge="pseudo-random")
    card = row.card()
    host = row.open(card, FACTORY_KVN, factory(old))
    assert host.put(OLD_KVN, keys(1, old)).ok
    before = card.memory
    for kvn in (OLD_KVN, NEW_KVN):
        assert host.put(kvn, keys(2, new), OLD_KVN).sw == SW.WRONG_DATA
    assert card.memory == before


@pytest.mark.parametrize(("one", "other"), SIZES, ids=[f"{8 * old} and {8 * new}" for old, new in SIZES])
def test_the_keys_of_one_set_are_of_one_size(one: int, other: int) -> None:
    row = Row(16, 8, 0x33, with_length=True, challenge="pseudo-random")
    card = row.card()
    host, before = row.open(card, FACTORY_KVN, factory(16)), card.memory
    enc, mac, dek = keys(1, one)
    odd = keys(2, other)[0]
    for mixed in ((odd, mac, dek), (enc, odd, dek), (enc, mac, odd)):
        assert host.put(OLD_KVN, mixed).sw == SW.WRONG_DATA
    assert card.memory == before
    assert host.put(OLD_KVN, (enc, mac, dek)).ok


def test_a_card_takes_only_the_sizes_that_it_has() -> None:
    card = VirtualCard(options=CardOptions(key_bytes=(16, 32)))
    host = Host.open(card.transmit, FACTORY_KVN, factory(16))
    assert host.put(OLD_KVN, keys(1, 24)).sw == SW.WRONG_DATA
    assert host.put(OLD_KVN, keys(1, 32)).ok


@pytest.mark.parametrize("mac_bytes", [8, 16])
def test_a_card_refuses_challenges_and_macs_of_the_other_length(mac_bytes: int) -> None:
    row = Row(16, mac_bytes, 0x33, with_length=True, challenge="pseudo-random")
    card = row.card()
    assert sw(hello(card.transmit, FACTORY_KVN, bytes(24 - mac_bytes))) == SW.WRONG_LENGTH
    assert sw(hello(card.transmit, FACTORY_KVN, bytes(mac_bytes))) == SW.OK
    other = bytes.fromhex("84823300") + bytes((2 * (24 - mac_bytes),)) + bytes(2 * (24 - mac_bytes))
    assert sw(card.transmit(other)) == SW.WRONG_LENGTH
    assert card.memory.sets[0].tries == 10


@pytest.mark.parametrize("mac_bytes", [8, 16])
def test_the_counter_is_told_and_moves_only_where_the_challenge_comes_from_it(mac_bytes: int) -> None:
    told, moved = {}, {}
    for challenge in CHALLENGES:
        card = Row(16, mac_bytes, 0x33, with_length=True, challenge=challenge).card()
        for _ in range(2):
            assert sw(hello(card.transmit, FACTORY_KVN, bytes(mac_bytes))) == SW.OK
        told[challenge] = card.transmit(get_data(0xC1).encode()).hex().upper()
        moved[challenge] = card.memory.sets[0].sequence
    assert told == {"random": "6A88", "pseudo-random": "C1030000029000"}
    assert moved == {"random": 0, "pseudo-random": 2}


def test_a_random_challenge_is_what_the_cards_source_gives() -> None:
    row = Row(16, 16, 0x33, with_length=True, challenge="random")
    card = row.card()
    seen = [ResponseAPDU.decode(hello(card.transmit, FACTORY_KVN, bytes(16))).data[13:29] for _ in range(2)]
    assert seen == [b"\x01" * 16, b"\x02" * 16]
    free = VirtualCard(options=CardOptions(scp_i=row.scp_i))
    drawn = {hello(free.transmit, FACTORY_KVN, bytes(16))[13:29] for _ in range(8)}
    assert len(drawn) == 8


@pytest.mark.parametrize("mac_bytes", [8, 16])
def test_a_level_that_i_does_not_promise_is_refused(mac_bytes: int) -> None:
    s16 = S16 if mac_bytes == 16 else 0
    promised = {0x00: {0x01, 0x03}, 0x10: {0x01, 0x03}, 0x20: {0x01, 0x03, 0x11, 0x13}, 0x70: set(LEVELS)}
    for i, levels in promised.items():
        card = VirtualCard(options=CardOptions(scp_i=i | s16), random=counted())
        taken = set()
        for level in LEVELS:
            _, command = Host.greet(card.transmit, FACTORY_KVN, factory(16), level, bytes(mac_bytes))
            answer = sw(card.transmit(command))
            assert answer in (SW.OK, SW.INCORRECT_P1P2)
            taken |= {level} if answer == SW.OK else set()
        assert taken == levels
