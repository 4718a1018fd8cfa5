"""Key blocks, key entries and padding: what they show, when they are the same, what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.errors import Malformed
from kioskd.gp.isd import AES_TYPE, InitializeUpdateAnswer, KeyField, PutKeyData
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.keys import BLOCK_BYTES, unpad80
from kioskd.gp.tlv import TLV, find

FIELD = KeyField(AES_TYPE, b"ciphertext-bytes", 16, bytes.fromhex("504A77"))
any_component = st.tuples(st.integers(0, 0xFF), st.integers(0, 0xFFFF))
any_entry = st.builds(
    KeyEntry, st.integers(0, 0xFF), st.integers(0, 0xFF), st.lists(any_component, max_size=4).map(tuple)
)


@pytest.mark.parametrize("shown", [repr(FIELD), repr(PutKeyData(0x30, (FIELD,)))])
def test_a_wrapped_key_is_not_printed(shown: str) -> None:
    assert "ciphertext" not in shown
    assert "504A77" in shown


@pytest.mark.parametrize("data", ["30880000", "3088011000", "30880110 03504A77"])
def test_a_key_block_without_ciphertext_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        PutKeyData.parse(bytes.fromhex(data))


@settings(deadline=None)
@given(st.lists(any_entry, max_size=12).flatmap(lambda one: st.tuples(st.just(one), st.permutations(one))))
def test_the_order_of_entries_means_nothing(lists: tuple[list[KeyEntry], list[KeyEntry]]) -> None:
    one, other = (KeyInformation(tuple(entries)) for entries in lists)
    assert one == other
    assert hash(one) == hash(other)


def test_one_entry_more_makes_another_key_information() -> None:
    one, other = KeyEntry(1, 0x30, ((AES_TYPE, 16),)), KeyEntry(1, 0x3E, ((AES_TYPE, 16),))
    assert KeyInformation((one,)) != KeyInformation((one, other))
    assert KeyInformation((one, other)).entries_of(0x3E) == frozenset({other})


@settings(deadline=None)
@given(st.lists(any_entry, max_size=12).map(tuple))
def test_any_length_and_type_survives_in_key_information(entries: tuple[KeyEntry, ...]) -> None:
    assert KeyInformation.parse(KeyInformation(entries).encode()).entries == entries


def test_the_first_data_object_with_a_tag_is_found() -> None:
    objects = (TLV(0x42, b"a"), TLV(0x45, b"b"), TLV(0x45, b"c"))
    assert find(objects, 0x45) == objects[1]
    assert find(objects, 0xCF) is None


@pytest.mark.parametrize("zeros", range(BLOCK_BYTES))
def test_padding_is_at_most_one_block(zeros: int) -> None:
    padding = b"\x80" + bytes(zeros)
    assert unpad80(b"data" + padding) == b"data"
    assert unpad80(b"data" + padding + bytes(BLOCK_BYTES)) is None


@pytest.mark.parametrize("scp", [0x01, 0x04, 0x11])
def test_another_protocol_is_refused_also_at_the_right_length(scp: int) -> None:
    data = bytes(10) + bytes((0x30, scp, 0x60)) + bytes(16)
    with pytest.raises(Malformed, match="02 and 03 are spoken"):
        InitializeUpdateAnswer.parse(data)
