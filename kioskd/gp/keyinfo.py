"""Key information (tag E0): which key sets a card says that it holds (GPC 2.3.1, 11.3.3.1)."""

from collections.abc import Iterator
from dataclasses import dataclass

from kioskd.errors import Malformed
from kioskd.gp.tlv import TLV, parse_one

_TEMPLATE, _ENTRY = 0xE0, 0xC0
_EXTENDED = 0xFF
MAX_ENTRIES = 128


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key: its identifier, its version number, and (type, length in bytes) of each component."""

    kid: int
    kvn: int
    components: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class KeyInformation:
    """The entries in the card's order, which means nothing: two are equal if they hold the same entries."""

    entries: tuple[KeyEntry, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyInformation) and frozenset(self.entries) == frozenset(other.entries)

    def __hash__(self) -> int:
        return hash(frozenset(self.entries))

    @property
    def kvns(self) -> frozenset[int]:
        """The key version numbers that occur."""
        return frozenset(entry.kvn for entry in self.entries)

    def entries_of(self, kvn: int) -> frozenset[KeyEntry]:
        """The entries of one key version number."""
        return frozenset(entry for entry in self.entries if entry.kvn == kvn)

    @classmethod
    def parse(cls, raw: bytes) -> "KeyInformation":
        """The key information of a GET DATA answer; an empty template is an empty list."""
        items = parse_one(raw, _TEMPLATE).children()
        if len(items) > MAX_ENTRIES:
            raise Malformed(f"key information: {len(items)} entries, at most {MAX_ENTRIES}")
        return cls(tuple(_entry(item) for item in items))

    def encode(self) -> bytes:
        """The template; an entry is extended where a type or length does not fit the basic form."""
        items = (TLV(_ENTRY, bytes((entry.kid, entry.kvn)) + _components(entry)) for entry in self.entries)
        return TLV(_TEMPLATE, b"".join(item.encode() for item in items)).encode()


def _components(entry: KeyEntry) -> bytes:
    if all(kind != _EXTENDED and 1 <= length <= 256 for kind, length in entry.components):
        return b"".join(bytes((kind, length % 256)) for kind, length in entry.components)
    return b"".join(bytes((_EXTENDED, kind)) + length.to_bytes(2) for kind, length in entry.components)


def _entry(item: TLV) -> KeyEntry:
    if item.tag != _ENTRY or len(item.value) < 2:
        raise Malformed(f"key information: {item!r} is not an entry")
    kid, kvn, rest = item.value[0], item.value[1], item.value[2:]
    read = _extended if rest[:1] == bytes((_EXTENDED,)) else _basic
    return KeyEntry(kid, kvn, tuple(read(rest)))


def _basic(rest: bytes) -> Iterator[tuple[int, int]]:
    """Pairs of type and length; a length of 00 stands for 256 or more."""
    if len(rest) % 2:
        raise Malformed("key information: a component is cut")
    for at in range(0, len(rest), 2):
        yield rest[at], rest[at + 1] or 256


def _extended(rest: bytes) -> Iterator[tuple[int, int]]:
    """[FF] type 1 | length 2 for each component, then usage and access, each behind its length (below 80)."""
    at = 0
    while at < len(rest) and rest[at] >= 0x80:
        at += rest[at] == _EXTENDED
        if at + 3 > len(rest):
            raise Malformed("key information: an extended component is cut")
        yield rest[at], int.from_bytes(rest[at + 1 : at + 3])
        at += 3
    for _ in ("usage", "access"):
        if at < len(rest):  # some cards leave them out
            at += 1 + rest[at]
    if at != len(rest):
        raise Malformed("key information: an extended entry does not fit its length")
