"""GET DATA is also a command of ISO 7816-4: its class is 00, and 04 inside the secure channel."""

from kioskd.gp.apdu import INS, MAX_LE, SW, CommandAPDU
from kioskd.gp.isd import delete_key
from kioskd.gp.keys import KVN
from kioskd.virtual.card import VirtualCard
from tests.virtual.host import KRK, KRK_KVN, OLD_KVN, Host, sw

READ = CommandAPDU(0x00, INS.GET_DATA, 0x00, 0xE0, le=MAX_LE)
SECURED_READ = bytes.fromhex("04CA00E0081122334455667788")


def test_a_read_of_class_04_is_part_of_the_channel_and_gives_the_value_alone(issued: VirtualCard) -> None:
    plain = issued.transmit(READ.encode())[:-2]
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert host.send(READ).data == plain
    assert host.send(delete_key(KVN(OLD_KVN))).ok  # chain and counter went on


def test_a_read_of_class_04_with_a_wrong_mac_ends_the_session(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert sw(issued.transmit(SECURED_READ)) == SW.SECURITY_STATUS_NOT_SATISFIED
    assert host.send(delete_key(KVN(OLD_KVN))).sw == SW.SECURITY_STATUS_NOT_SATISFIED


def test_class_04_without_a_channel_reads_nothing(issued: VirtualCard) -> None:
    assert issued.transmit(SECURED_READ) == SW.SECURITY_STATUS_NOT_SATISFIED.to_bytes(2)


def test_no_other_command_has_class_04(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    wrapped, _, _ = host.channel.wrap(CommandAPDU(0x00, INS.DELETE, 0x00, 0x00, b"\xd2\x01\x30", MAX_LE))
    assert sw(issued.transmit(wrapped.encode())) == SW.CLA_NOT_SUPPORTED
    assert OLD_KVN in issued.kvns
