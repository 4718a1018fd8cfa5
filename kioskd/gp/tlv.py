"""BER-TLV (ISO 7816-4, 5.2.2), bounded: depth, count and length of what a card may send are limited."""

from collections.abc import Iterable
from dataclasses import dataclass

from kioskd.errors import Malformed

MAX_ITEMS = 256
MAX_DEPTH = 8
MAX_TAG_BYTES = 3


@dataclass(frozen=True, slots=True, repr=False)
class TLV:
    """One data object: tag (1 to 3 bytes, as a number) and value (up to 65,535 bytes)."""

    tag: int
    value: bytes

    def __post_init__(self) -> None:
        encoded = _tag_bytes(self.tag)
        if _read_tag(encoded, 0) != (self.tag, len(encoded)):
            raise Malformed(f"TLV: {self.tag:X} is not a tag")
        if len(self.value) > 0xFFFF:
            raise Malformed(f"TLV {self.tag:X}: {len(self.value)} bytes, at most 65535")

    @property
    def constructed(self) -> bool:
        """Whether the value is a list of data objects (bit 6 of the tag's first byte)."""
        return bool(_tag_bytes(self.tag)[0] & 0x20)

    def encode(self) -> bytes:
        """Tag, shortest length, value."""
        return _tag_bytes(self.tag) + _length_bytes(len(self.value)) + self.value

    def children(self) -> "tuple[TLV, ...]":
        """The data objects inside."""
        return parse(self.value)

    def __repr__(self) -> str:
        return f"TLV({self.tag:X}, {len(self.value)} bytes)"


def parse(raw: bytes) -> tuple[TLV, ...]:
    """All data objects of `raw`, one level deep; `Malformed` for a cut or trailing byte or more than 256 objects."""
    found: list[TLV] = []
    at = 0
    while at < len(raw):
        if len(found) == MAX_ITEMS:
            raise Malformed(f"TLV: more than {MAX_ITEMS} data objects")
        tag, at = _read_tag(raw, at)
        length, at = _read_length(raw, at)
        if at + length > len(raw):
            raise Malformed(f"TLV {tag:X}: {length} bytes announced, {len(raw) - at} there")
        found.append(TLV(tag, raw[at : at + length]))
        at += length
    return tuple(found)


def parse_one(raw: bytes, tag: int) -> TLV:
    """The only data object of `raw`, which must have this tag."""
    found = parse(raw)
    if len(found) != 1 or found[0].tag != tag:
        raise Malformed(f"TLV: one {tag:X} is expected")
    return found[0]


def find(tlvs: Iterable[TLV], tag: int) -> TLV | None:
    """The first data object with this tag, or None."""
    return next((one for one in tlvs if one.tag == tag), None)


def walk(raw: bytes, depth: int = MAX_DEPTH) -> Iterable[TLV]:
    """All data objects, parents before children; `Malformed` below `depth` levels."""
    for one in parse(raw):
        yield one
        if one.constructed:
            if depth <= 1:
                raise Malformed(f"TLV: nested deeper than {MAX_DEPTH}")
            yield from walk(one.value, depth - 1)


def _tag_bytes(tag: int) -> bytes:
    if not 0 < tag < 1 << 8 * MAX_TAG_BYTES:
        raise Malformed("TLV: a tag has 1 to 3 bytes")
    return tag.to_bytes((tag.bit_length() + 7) // 8)


def _read_tag(raw: bytes, at: int) -> tuple[int, int]:
    end = at + 1
    if raw[at] == 0:
        raise Malformed("TLV: tag 00")
    if raw[at] & 0x1F == 0x1F:
        while True:
            if end >= len(raw) or end - at >= MAX_TAG_BYTES:
                raise Malformed("TLV: a tag is cut or longer than 3 bytes")
            end += 1
            if raw[end - 1] & 0x80 == 0:
                break
    return int.from_bytes(raw[at:end]), end


def _length_bytes(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    return b"\x81" + bytes((length,)) if length < 0x100 else b"\x82" + length.to_bytes(2)


def _read_length(raw: bytes, at: int) -> tuple[int, int]:
    if at >= len(raw):
        raise Malformed("TLV: no length")
    first = raw[at]
    if first < 0x80:
        return first, at + 1
    width = first & 0x7F
    if width not in (1, 2) or at + 1 + width > len(raw):
        raise Malformed("TLV: a length of more than 2 bytes, indefinite, or cut")
    return int.from_bytes(raw[at + 1 : at + 1 + width]), at + 1 + width
