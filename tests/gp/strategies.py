"""Values of the card's language for property tests."""

from hypothesis import strategies as st

from kioskd.gp.apdu import MAX_ANSWER_BYTES, CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import ID_KINDS, MAX_ID_BYTES, CardId
from kioskd.gp.isd import AES_TYPE, PSEUDO_RANDOM, S16, SCP03, InitializeUpdateAnswer, KeyField, Receipt
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.tlv import TLV

byte = st.integers(0, 0xFF)
kvns = st.integers(1, 0x7F)
les = st.none() | st.integers(1, 256)

commands = st.builds(CommandAPDU, byte, byte, byte, byte, st.binary(max_size=255), les)
responses = st.builds(ResponseAPDU, st.binary(max_size=MAX_ANSWER_BYTES), st.integers(0, 0xFFFF))

tags = st.one_of(
    byte.filter(lambda one: one and one & 0x1F != 0x1F),
    st.tuples(st.sampled_from([0x1F, 0x3F, 0x5F, 0x7F, 0x9F, 0xBF, 0xDF, 0xFF]), st.integers(0, 0x7F)).map(
        lambda two: two[0] << 8 | two[1]
    ),
    st.tuples(st.sampled_from([0x5F, 0x9F, 0xDF]), st.integers(0x80, 0xFF), st.integers(0, 0x7F)).map(
        lambda three: three[0] << 16 | three[1] << 8 | three[2]
    ),
)
data_objects = st.builds(TLV, tags, st.binary(max_size=300))

card_ids = st.builds(CardId, st.sampled_from(ID_KINDS), st.binary(min_size=1, max_size=MAX_ID_BYTES))

# What a basic entry can hold: a type other than FF, a length that fits a byte or is 256.
components = st.tuples(st.integers(0, 0xFE), st.integers(1, 256))
entries = st.builds(KeyEntry, byte, byte, st.lists(components, max_size=4).map(tuple))
key_informations = st.builds(KeyInformation, st.lists(entries, max_size=40).map(tuple))


def _update_answer(kdd: bytes, kvn: int, i: int, proof: bytes, sequence: bytes) -> InitializeUpdateAnswer:
    size = 16 if i & S16 else 8
    challenge, cryptogram = proof[:size], proof[16 : 16 + size]
    return InitializeUpdateAnswer(kdd, kvn, SCP03, i, challenge, cryptogram, sequence if i & PSEUDO_RANDOM else None)


update_answers = st.builds(
    _update_answer,
    st.binary(min_size=10, max_size=10),
    byte,
    byte,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=3, max_size=3),
)

check_values = st.just(b"") | st.binary(min_size=3, max_size=3)
key_fields = st.builds(
    KeyField,
    st.sampled_from([AES_TYPE, 0x80]) | byte,
    st.integers(1, 2).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks)),
    st.integers(1, 32),
    check_values,
)
key_field_lists = st.lists(key_fields, min_size=1, max_size=5)

receipts = st.builds(Receipt, byte, st.lists(st.binary(min_size=3, max_size=3), max_size=8).map(tuple))


def bent(good: bytes) -> st.SearchStrategy[bytes]:
    """A good message with a few bytes changed, cut out or put in."""
    place = st.integers(0, len(good))
    change = st.tuples(place, place, st.binary(max_size=4))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        raw = good
        for start, end, put in changes:
            raw = raw[:start] + put + raw[max(start, min(end, start + 4)) :]
        return raw

    return st.lists(change, min_size=1, max_size=4).map(apply)
