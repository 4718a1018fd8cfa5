"""For each wrong command there is a status word, and it changes nothing."""

from dataclasses import dataclass, replace

import pytest

from kioskd.gp.apdu import INS, SW, CommandAPDU
from kioskd.gp.isd import delete_key, get_data, get_status_isd, put_key, set_status
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.keys import KVN
from kioskd.gp.life_cycle import LifeCycle
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.virtual.host import (
    FACTORY,
    FACTORY_KVN,
    KRK,
    KRK_KVN,
    NEW,
    NEW_KVN,
    OLD,
    OLD_KVN,
    Host,
    bent,
    hello,
    short_fields,
    sw,
)

pytestmark = pytest.mark.slow

UNAUTHENTICATED = {
    "": SW.WRONG_LENGTH,
    "00": SW.WRONG_LENGTH,
    "00A404": SW.WRONG_LENGTH,
    "00A4040005A0": SW.WRONG_LENGTH,
    "80CA006600FF": SW.WRONG_LENGTH,
    "0123456789": SW.LOGICAL_CHANNEL_UNSUPPORTED,
    "81CA006600": SW.LOGICAL_CHANNEL_UNSUPPORTED,
    "C0CA006600": SW.CLA_NOT_SUPPORTED,
    "90CA006600": SW.CLA_NOT_SUPPORTED,
    "FFCA000000": SW.CLA_NOT_SUPPORTED,
    "80A4040008A00000015100000000": SW.CLA_NOT_SUPPORTED,
    "0050300008000102030405060700": SW.CLA_NOT_SUPPORTED,
    "80823300100000000000000000000000000000000000": SW.CLA_NOT_SUPPORTED,
    "00E4000003D2013000": SW.CLA_NOT_SUPPORTED,
    "80E60C0000": SW.INS_NOT_SUPPORTED,
    "80E2000000": SW.INS_NOT_SUPPORTED,
    "80C0000000": SW.INS_NOT_SUPPORTED,
    "00C0000000": SW.CONDITIONS_NOT_SATISFIED,
    "00A4000008A00000015100000000": SW.INCORRECT_P1P2,
    "00A4040008A00000015100000100": SW.NOT_FOUND,
    "00A4040008A00000000300000000": SW.NOT_FOUND,
    "80CA9F7E00": SW.REFERENCED_DATA_NOT_FOUND,
    "80CA000000": SW.REFERENCED_DATA_NOT_FOUND,
    "8050300008000102030405060700": SW.REFERENCED_DATA_NOT_FOUND,
    "80500001080001020304050607": SW.INCORRECT_P1P2,
    "80500000070001020304050600": SW.WRONG_LENGTH,
    "8050000010000102030405060708090A0B0C0D0E0F00": SW.WRONG_LENGTH,
    "84823300100000000000000000000000000000000000": SW.CONDITIONS_NOT_SATISFIED,
    "80E4000003D2013000": SW.SECURITY_STATUS_NOT_SATISFIED,
    "84E400000BD20130000000000000000000": SW.SECURITY_STATUS_NOT_SATISFIED,
    "80D80081013000": SW.SECURITY_STATUS_NOT_SATISFIED,
    "80F0800F": SW.SECURITY_STATUS_NOT_SATISFIED,
    "80F28002024F0000": SW.SECURITY_STATUS_NOT_SATISFIED,
    "84CA00E0080000000000000000": SW.SECURITY_STATUS_NOT_SATISFIED,
}


@pytest.mark.parametrize(
    ("raw", "wanted"), [pytest.param(*one, id=one[0][:12] or "-") for one in UNAUTHENTICATED.items()]
)
def test_a_wrong_command_without_a_session_has_its_status_word(card: VirtualCard, raw: str, wanted: SW) -> None:
    before = card.memory
    assert card.transmit(bytes.fromhex(raw)).hex().upper() == f"{wanted:04X}"
    assert card.memory == before


@dataclass(frozen=True, slots=True)
class PutNew:
    """PUT KEY of the NEW set, with one thing wrong."""

    kvn: int
    replaces: int = 0
    p2: int = 0x81
    count: int = 3
    kind: int = 0x88

    def made(self, host: Host) -> CommandAPDU:
        """The command, in the host's channel."""
        right = put_key(KVN(self.kvn), host.fields(NEW)[: self.count], self.replaces)
        return replace(right, p2=self.p2, data=right.data.replace(b"\x88\x11", bytes((self.kind, 0x11))))


def plain(text: str) -> CommandAPDU:
    """A command written as hex, to be wrapped."""
    return CommandAPDU.decode(bytes.fromhex(text))


AUTHENTICATED: dict[str, tuple[CommandAPDU | PutNew, SW]] = {
    "a full card": (PutNew(NEW_KVN), SW.NOT_ENOUGH_MEMORY),
    "add where a set is": (PutNew(OLD_KVN), SW.WRONG_DATA),
    "replace into another set's number": (PutNew(KRK_KVN, OLD_KVN), SW.WRONG_DATA),
    "replace an absent set": (PutNew(NEW_KVN, 0x35), SW.REFERENCED_DATA_NOT_FOUND),
    "key version 00": (PutNew(0x00, OLD_KVN), SW.WRONG_DATA),
    "key version 80": (PutNew(0x80, OLD_KVN), SW.WRONG_DATA),
    "more PUT KEYs announced": (PutNew(NEW_KVN, 0xB0), SW.INCORRECT_P1P2),
    "a single key": (PutNew(NEW_KVN, OLD_KVN, p2=0x01), SW.INCORRECT_P1P2),
    "two keys of three": (PutNew(NEW_KVN, OLD_KVN, count=2), SW.WRONG_DATA),
    "no key": (plain("80D830810131"), SW.WRONG_DATA),
    "PUT KEY without data": (plain("80D83081"), SW.WRONG_DATA),
    "a 3DES key": (PutNew(NEW_KVN, OLD_KVN, kind=0x80), SW.ALGORITHM_NOT_SUPPORTED),
    "delete an absent set": (delete_key(KVN(0x35)), SW.REFERENCED_DATA_NOT_FOUND),
    "delete key version 00": (delete_key(KVN(0x00)), SW.REFERENCED_DATA_NOT_FOUND),
    "delete one key of a set": (plain("80E4000006D00101D20130"), SW.REFERENCED_DATA_NOT_FOUND),
    "delete without a version": (plain("80E4000003D00101"), SW.WRONG_DATA),
    "delete without data": (plain("80E40000"), SW.WRONG_DATA),
    "delete an application": (plain("80E40000074F05A000000151"), SW.WRONG_DATA),
    "delete with P2 01": (plain("80E4000103D20130"), SW.INCORRECT_P1P2),
    "the present state": (set_status(LifeCycle.SECURED), SW.CONDITIONS_NOT_SATISFIED),
    "back to OP_READY": (set_status(LifeCycle.OP_READY), SW.CONDITIONS_NOT_SATISFIED),
    "no such state": (plain("80F08055"), SW.WRONG_DATA),
    "the state of an application": (plain("80F04007"), SW.REFERENCED_DATA_NOT_FOUND),
    "the state of nothing": (plain("80F00107"), SW.INCORRECT_P1P2),
    "the status of applications": (plain("80F24002024F00"), SW.REFERENCED_DATA_NOT_FOUND),
    "the status in the old form": (plain("80F28000024F00"), SW.INCORRECT_P1P2),
    "the status without criteria": (plain("80F28002"), SW.WRONG_DATA),
    "the status of another": (plain("80F28002034F01B0"), SW.REFERENCED_DATA_NOT_FOUND),
    "an unknown instruction": (plain("80E60C00"), SW.INS_NOT_SUPPORTED),
    "an unknown tag": (get_data(0x9F7E), SW.REFERENCED_DATA_NOT_FOUND),
}


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13, 0x33])
@pytest.mark.parametrize("name", AUTHENTICATED)
def test_a_wrong_command_in_a_session_has_its_status_word_and_the_session_goes_on(
    issued: VirtualCard, name: str, level: int
) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK, level)
    before = issued.memory
    wrong, wanted = AUTHENTICATED[name]
    response = host.send(wrong.made(host) if isinstance(wrong, PutNew) else wrong)
    assert (response.data, f"{response.sw:04X}") == (b"", f"{wanted:04X}")
    assert issued.memory == before
    assert host.key_information() == before.key_information()
    assert host.put(NEW_KVN, NEW, replaces=OLD_KVN).ok


@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("byte", range(3))
def test_a_wrong_check_value_changes_nothing(issued: VirtualCard, key: int, byte: int) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    before, command = issued.memory, put_key(KVN(NEW_KVN), host.fields(NEW), OLD_KVN)
    # KVN, then for each key: type, length, clear length, 16 bytes, length and 3 bytes of check value
    wrong = replace(command, data=bent(command.data, 1 + 23 * key + 20 + byte))
    assert host.send(wrong).sw == SW.INVALID_KCV
    assert issued.memory == before
    assert host.send(command).ok


@pytest.mark.parametrize(
    "raw", ["80E4000003D2013000", "80D830810131", "80F0807F", "80F28002024F0000", "84E4000003D2013000", "84CA00E000"]
)
def test_a_command_that_lacks_its_mac_ends_the_session(issued: VirtualCard, raw: str) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    before = issued.memory
    assert sw(issued.transmit(bytes.fromhex(raw))) == SW.SECURITY_STATUS_NOT_SATISFIED
    assert issued.memory == before
    assert host.send(get_data(0xE0)).sw == SW.SECURITY_STATUS_NOT_SATISFIED


@pytest.mark.parametrize("at", [-2, -9, 2, 6], ids=["MAC's end", "MAC's begin", "P1", "data"])
def test_a_wrong_mac_ends_the_session_until_the_next_greeting(issued: VirtualCard, at: int) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    right, _, after = host.channel.wrap(delete_key(KVN(OLD_KVN)))
    assert sw(issued.transmit(bent(right.encode(), at))) == SW.SECURITY_STATUS_NOT_SATISFIED
    assert sw(issued.transmit(right.encode())) == SW.SECURITY_STATUS_NOT_SATISFIED
    host.channel = after
    assert host.send(delete_key(KVN(OLD_KVN))).sw == SW.SECURITY_STATUS_NOT_SATISFIED
    assert OLD_KVN in issued.kvns
    assert Host.open(issued.transmit, KRK_KVN, KRK).send(delete_key(KVN(OLD_KVN))).ok


def test_a_command_cannot_be_replayed(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    wrapped, _, _ = host.channel.wrap(get_data(0xE0))
    assert sw(issued.transmit(wrapped.encode())) == SW.OK
    assert sw(issued.transmit(wrapped.encode())) == SW.SECURITY_STATUS_NOT_SATISFIED


def test_plain_reads_leave_the_secure_channel_alone(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert sw(issued.transmit(get_data(0x66).encode())) == SW.OK
    assert sw(issued.transmit(get_data(0x9F7E).encode())) == SW.REFERENCED_DATA_NOT_FOUND
    assert sw(issued.transmit(b"\x00\xa4\x04\x00\x01\xb0\x00")) == SW.NOT_FOUND
    assert host.key_information() == issued.memory.key_information()


@pytest.mark.parametrize(("scp_i", "levels"), [(0x10, (0x01, 0x03)), (0x30, (0x01, 0x03, 0x11, 0x13))])
def test_a_card_refuses_levels_that_its_options_do_not_promise(scp_i: int, levels: tuple[int, ...]) -> None:
    card = VirtualCard(options=CardOptions(scp_i=scp_i))
    for level in (0x01, 0x03, 0x11, 0x13, 0x33):
        _, command = Host.greet(card.transmit, FACTORY_KVN, FACTORY, level)
        assert sw(card.transmit(command)) == (SW.OK if level in levels else SW.INCORRECT_P1P2)
    assert card.memory.sets[0].tries == 10


@pytest.mark.parametrize("level", [0x00, 0x02, 0x10, 0x30, 0x31, 0xFF])
def test_a_level_that_does_not_exist_is_refused_and_burns_no_try(card: VirtualCard, level: int) -> None:
    _, command = Host.greet(card.transmit, FACTORY_KVN, FACTORY)
    assert sw(card.transmit(command[:2] + bytes((level,)) + command[3:])) == SW.INCORRECT_P1P2
    assert card.memory.sets[0].tries == 10


@pytest.mark.parametrize("p2", [0x00, 0x80])
def test_both_forms_of_delete_and_of_an_aes_key_are_taken(issued: VirtualCard, p2: int) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    gone = host.send(CommandAPDU(0x80, INS.DELETE, 0, p2, b"\xd2\x01\x30", 256))
    assert (gone.data, gone.sw) == (b"\x00", SW.OK)
    assert host.send(short_fields(put_key(KVN(NEW_KVN), host.fields(NEW)))).ok
    assert Host.open(issued.transmit, NEW_KVN, NEW).key_information() == issued.memory.key_information()


def test_one_padding_block_stands_for_no_data(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK, 0x03)
    keys = host.channel.keys
    iv = keys.enc.encrypt_block((1).to_bytes(16))
    block = keys.enc.encrypt_cbc(iv, b"\x80" + bytes(15))
    mac = keys.mac.cmac(host.channel.chain + bytes.fromhex("84CA00E018") + block)[:8]
    answer = issued.transmit(bytes.fromhex("84CA00E018") + block + mac + b"\x00")
    assert answer == issued.memory.key_information().encode() + b"\x90\x00"


def test_the_session_outlives_its_own_key_set(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, OLD_KVN, OLD)
    assert host.put(NEW_KVN, NEW, replaces=OLD_KVN).ok
    assert host.send(delete_key(KVN(NEW_KVN))).ok
    assert host.put(OLD_KVN, OLD).ok
    assert Host.open(issued.transmit, OLD_KVN, OLD).key_information().kvns == {OLD_KVN, KRK_KVN}


def test_a_card_may_keep_the_sessions_own_set() -> None:
    card = VirtualCard(options=CardOptions(own_set_stays=True))
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert host.put(OLD_KVN, OLD).ok
    assert host.send(delete_key(KVN(FACTORY_KVN))).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(delete_key(KVN(OLD_KVN))).ok


def test_the_last_set_cannot_be_deleted(card: VirtualCard) -> None:
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert host.send(delete_key(KVN(FACTORY_KVN))).sw == SW.CONDITIONS_NOT_SATISFIED


def test_the_factory_set_cannot_come_back_but_can_be_replaced(card: VirtualCard) -> None:
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert host.put(OLD_KVN, OLD).ok
    assert host.put(KRK_KVN, KRK, replaces=FACTORY_KVN).ok
    assert card.kvns == {OLD_KVN, KRK_KVN}
    assert host.put(FACTORY_KVN, FACTORY).sw == SW.WRONG_DATA
    assert sw(hello(card.transmit, FACTORY_KVN)) == SW.REFERENCED_DATA_NOT_FOUND


def test_some_cards_drop_the_factory_set_at_the_first_put_key() -> None:
    card = VirtualCard(options=CardOptions(factory_drops=True))
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert host.put(OLD_KVN, OLD).ok
    assert card.kvns == {OLD_KVN}
    assert host.put(KRK_KVN, KRK).ok


def test_keys_that_are_not_ours_stand_in_the_key_information_and_hold_their_numbers() -> None:
    token = KeyEntry(1, 0x70, ((0xA1, 128), (0xA0, 3)))
    card = VirtualCard(options=CardOptions(others=(token,)))
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert token in host.key_information().entries
    assert host.put(0x70, OLD).sw == SW.WRONG_DATA
    assert host.send(delete_key(KVN(0x70))).ok
    assert host.key_information().kvns == {FACTORY_KVN}
    assert sw(hello(card.transmit, 0x70)) == SW.REFERENCED_DATA_NOT_FOUND


def test_a_long_answer_waits_for_get_response() -> None:
    others = tuple(KeyEntry(kid, 0x10, ((0x88, 16),)) for kid in range(1, 61))
    card = VirtualCard(options=CardOptions(others=others))
    whole = card.memory.key_information().encode()
    first = card.transmit(get_data(0xE0).encode())
    assert len(whole) > 256
    assert sw(first) == 0x6100 | len(whole) - 256
    assert first[:-2] + card.transmit(bytes.fromhex("00C0000000")) == whole + b"\x90\x00"
    assert sw(card.transmit(bytes.fromhex("00C0000000"))) == SW.CONDITIONS_NOT_SATISFIED


@pytest.mark.parametrize("tag", [0x42, 0x45, 0x66, 0xCF, 0xE0, 0xC1, 0x9F7F])
def test_get_data_of_class_00_gives_the_value_alone(card: VirtualCard, tag: int) -> None:
    whole = card.transmit(get_data(tag).encode())
    value = card.transmit(b"\x00" + get_data(tag).encode()[1:])
    assert sw(value) == SW.OK
    assert len(value) < len(whole)
    assert whole.endswith(value)


def test_the_state_is_told_and_set_in_a_session(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert host.send(get_status_isd()).data.hex().upper() == "E3134F08A0000001510000009F70010FC5039EFE80"
    assert host.send(set_status(LifeCycle.CARD_LOCKED)).ok
    assert b"\x9f\x70\x01\x7f" in host.send(get_status_isd()).data


def test_a_locked_card_refuses_key_commands_until_it_is_unlocked(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert host.send(set_status(LifeCycle.CARD_LOCKED)).ok
    issued.reset()
    assert sw(issued.transmit(bytes.fromhex("00A4040000"))) == SW.CARD_LOCKED_WARNING
    assert sw(issued.transmit(get_data(0xE0).encode())) == SW.OK
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert host.send(delete_key(KVN(OLD_KVN))).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.put(NEW_KVN, NEW, replaces=OLD_KVN).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(set_status(LifeCycle.CARD_LOCKED)).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(set_status(LifeCycle.SECURED)).ok
    assert host.put(NEW_KVN, NEW, replaces=OLD_KVN).ok


def test_a_terminated_card_only_gives_its_data(issued: VirtualCard) -> None:
    assert Host.open(issued.transmit, KRK_KVN, KRK).send(set_status(LifeCycle.TERMINATED)).ok
    issued.reset()
    assert sw(issued.transmit(get_data(0x9F7F).encode())) == SW.OK
    assert sw(issued.transmit(bytes.fromhex("00A4040000"))) == SW.CONDITIONS_NOT_SATISFIED
    assert sw(hello(issued.transmit, KRK_KVN)) == SW.CONDITIONS_NOT_SATISFIED
