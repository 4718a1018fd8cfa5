"""What a card must do for us, asked of whichever card is in the reader; it leaves the card as it found it."""

import pytest

from kioskd.gp.apdu import INS, SW, CommandAPDU, ResponseAPDU
from kioskd.gp.isd import ISD_AID, InitializeUpdateAnswer, delete_key, get_data, select
from kioskd.gp.isd import Receipt as PutKeyReceipt
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import KVN, kcv_aes
from tests.card.conftest import CardUnderTest, card_id
from tests.virtual.host import NEW, Host, bent, hello, key_set, sw

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

TEST_KVN = 0x2E  # outside every slot of ours


@pytest.fixture(autouse=True)
def selected(card: CardUnderTest) -> None:
    """Each test begins with a card that was powered up and has its issuer security domain selected."""
    card.reader.reset()
    assert sw(card.reader.transmit(select(ISD_AID).encode())) == SW.OK


def key_information(card: CardUnderTest) -> KeyInformation:
    """What the card says in the clear of its key sets."""
    return KeyInformation.parse(ResponseAPDU.decode(card.reader.transmit(get_data(0xE0).encode())).data)


def opened(card: CardUnderTest) -> Host:
    """A secure channel under the card's key set."""
    return Host.open(card.reader.transmit, card.kvn, card.keys)


def test_the_card_says_who_it_is_every_time_alike(card: CardUnderTest) -> None:
    assert card_id(card.reader) == card.id
    card.reader.reset()
    assert card_id(card.reader) == card.id


def test_its_key_information_names_the_key_set(card: CardUnderTest) -> None:
    assert card.kvn in key_information(card).kvns


def test_it_speaks_scp03_with_response_macs(card: CardUnderTest) -> None:
    answer = InitializeUpdateAnswer.parse(ResponseAPDU.decode(hello(card.reader.transmit, card.kvn)).data)
    assert answer.kvn == card.kvn
    assert answer.i & 0x20


def test_its_challenges_differ(card: CardUnderTest) -> None:
    first, second = (InitializeUpdateAnswer.parse(hello(card.reader.transmit, card.kvn)[:-2]) for _ in range(2))
    assert first.card_challenge != second.card_challenge


def test_it_opens_a_channel_and_reads_the_same_under_response_mac(card: CardUnderTest) -> None:
    plain = key_information(card)
    assert opened(card).key_information() == plain


def test_key_commands_are_refused_outside_a_channel(card: CardUnderTest) -> None:
    before = key_information(card)
    answer = card.reader.transmit(CommandAPDU(0x80, INS.DELETE, 0, 0, delete_key(KVN(TEST_KVN)).data).encode())
    assert sw(answer) in (SW.SECURITY_STATUS_NOT_SATISFIED, SW.CONDITIONS_NOT_SATISFIED)
    assert key_information(card) == before


def test_a_command_with_a_wrong_mac_is_refused_and_ends_the_channel(card: CardUnderTest) -> None:
    host = opened(card)
    wrapped, _, host.channel = host.channel.wrap(get_data(0xE0))
    assert sw(card.reader.transmit(bent(wrapped.encode(), -2))) != SW.OK
    wrapped, _, _ = host.channel.wrap(get_data(0xE0))
    assert sw(card.reader.transmit(wrapped.encode())) != SW.OK


def test_the_channel_ends_with_power(card: CardUnderTest) -> None:
    host = opened(card)
    card.reader.reset()
    wrapped, _, _ = host.channel.wrap(delete_key(KVN(TEST_KVN)))
    assert sw(card.reader.transmit(wrapped.encode())) != SW.OK


def test_a_key_set_is_put_with_its_receipt_opens_a_channel_and_is_deleted(card: CardUnderTest) -> None:
    before = key_information(card)
    if TEST_KVN in before.kvns:
        pytest.fail(f"KVN {TEST_KVN:02X} is taken on this card: it would be overwritten")
    put = opened(card).put(TEST_KVN, NEW)
    try:
        assert put.ok
        receipt = PutKeyReceipt.parse(put.data)
        assert (receipt.kvn, tuple(receipt.kcvs)) == (TEST_KVN, tuple(kcv_aes(key) for key in key_set(NEW)))
        assert Host.open(card.reader.transmit, TEST_KVN, NEW).key_information().kvns == before.kvns | {TEST_KVN}
    finally:
        card.reader.reset()
        card.reader.transmit(select(ISD_AID).encode())
        deleted = opened(card).send(delete_key(KVN(TEST_KVN)))
    assert deleted.ok
    assert key_information(card) == before
