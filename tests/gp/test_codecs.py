"""Every codec of the card's language: what it writes it reads, and what it does not understand it refuses."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.errors import Malformed
from kioskd.gp import isd, tlv
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import InitializeUpdateAnswer, KeyField, PutKeyData, Receipt
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import KVN, pad80, unpad80
from tests.gp import strategies as some
from tests.gp.codecs import CODECS, Codec, codec_names

pytestmark = pytest.mark.slow

calm = settings(deadline=None)


@calm
@given(some.commands)
def test_a_command_is_read_as_it_was_written(command: CommandAPDU) -> None:
    assert CommandAPDU.decode(command.encode()) == command


@calm
@given(some.responses)
def test_a_response_is_read_as_it_was_written(response: ResponseAPDU) -> None:
    assert ResponseAPDU.decode(response.encode()) == response


@calm
@given(st.lists(some.data_objects, max_size=6))
def test_data_objects_are_read_as_they_were_written(objects: list[tlv.TLV]) -> None:
    assert tlv.parse(b"".join(one.encode() for one in objects)) == tuple(objects)


@calm
@given(some.card_ids)
def test_a_card_id_is_read_as_it_was_written(card: CardId) -> None:
    assert CardId.parse(str(card)) == card


@calm
@given(some.key_informations)
def test_key_information_is_read_as_it_was_written(information: KeyInformation) -> None:
    assert KeyInformation.parse(information.encode()) == information


@calm
@given(some.update_answers)
def test_an_initialize_update_answer_is_read_as_it_was_written(answer: InitializeUpdateAnswer) -> None:
    assert InitializeUpdateAnswer.parse(answer.encode()) == answer


@calm
@given(some.kvns, some.key_field_lists, some.byte)
def test_a_card_reads_the_keys_that_put_key_writes(kvn: int, fields: list[KeyField], replaces: int) -> None:
    if 1 + sum(len(field.encode()) for field in fields) > 255:
        with pytest.raises(Malformed):
            isd.put_key(KVN(kvn), fields, replaces)
    else:
        command = isd.put_key(KVN(kvn), fields, replaces)
        assert PutKeyData.parse(command.data) == PutKeyData(kvn, tuple(fields))
        assert (command.p1, command.p2) == (replaces, 0x81 if len(fields) > 1 else 0x01)


@calm
@given(some.kvns, some.key_field_lists)
def test_a_card_reads_keys_that_come_without_their_clear_length(kvn: int, fields: list[KeyField]) -> None:
    bare = [replace(field, length=len(field.ciphertext), with_length=False) for field in fields]
    data = bytes((kvn,))
    for field in fields:
        data += bytes((field.type, len(field.ciphertext))) + field.ciphertext + bytes((len(field.kcv),)) + field.kcv
    assert data == bytes((kvn,)) + b"".join(field.encode() for field in bare)
    assert PutKeyData.parse(data) == PutKeyData(kvn, tuple(bare))


@calm
@given(some.receipts)
def test_a_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.parse(receipt.encode()) == receipt


@calm
@given(st.binary(max_size=80))
def test_padding_comes_off_as_it_went_on(data: bytes) -> None:
    padded = pad80(data)
    assert len(padded) % 16 == 0
    assert unpad80(padded) == data


@calm
@given(st.integers(1, 5).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks)))
def test_whole_blocks_without_padding_are_refused(data: bytes) -> None:
    plain = unpad80(data)
    assert plain is None or pad80(plain) == data


@pytest.mark.parametrize("codec", CODECS, ids=codec_names)
def test_the_good_example_is_understood(codec: Codec) -> None:
    assert codec.read(bytes.fromhex(codec.good)) is not None


@pytest.mark.parametrize("codec", CODECS, ids=codec_names)
@calm
@given(st.data())
def test_garbage_is_refused_or_understood(codec: Codec, data: st.DataObject) -> None:
    raw = data.draw(st.binary(max_size=300) | some.bent(bytes.fromhex(codec.good)))
    try:
        read = codec.read(raw)
    except Malformed:
        return
    if codec.write is not None and codec.writable(read):
        assert codec.read(codec.write(read)) == read


@calm
@given(st.text(max_size=80) | st.from_regex(r"(cplc|cf|kdd|iin-cin):[0-9A-Fa-f ]{0,140}", fullmatch=True))
def test_a_garbled_card_id_is_refused_or_understood(text: str) -> None:
    try:
        card = CardId.parse(text)
    except Malformed:
        return
    assert CardId.parse(str(card)) == card
