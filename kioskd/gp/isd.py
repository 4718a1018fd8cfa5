"""The Issuer Security Domain's commands and answers (GPC 2.3.1, chapter 11; Amendment D for INITIALIZE UPDATE)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kioskd.errors import Malformed
from kioskd.gp.apdu import INS, MAX_LE, CommandAPDU
from kioskd.gp.keys import KCV_BYTES, KVN
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.tlv import TLV, find, parse, parse_one

ISD_AID = bytes.fromhex("A000000151000000")
AES_TYPE, DES_TYPE = 0x88, 0x80
S8_BYTES = 8
S16_BYTES = 16
KDD_BYTES = 10
SCP02, SCP03 = 0x02, 0x03

PSEUDO_RANDOM = 0x10
"""The bit of i that says: the card challenge is computed, and its sequence counter is told."""
RESPONSE_MAC = 0x20
S16 = 0x01
"""The bit of i that says: challenges, cryptograms and MACs of 16 bytes (Amendment D 1.2)."""

_SCP02_BYTES = 28
_ISD_STATUS = 0x80
_SEVERAL_KEYS = 0x80
_FIRST_KEY = 0x01


def select(aid: bytes) -> CommandAPDU:
    """SELECT by name."""
    return CommandAPDU(0x00, INS.SELECT, 0x04, 0x00, aid, MAX_LE)


def selected_aid(data: bytes) -> bytes:
    """The name in SELECT's answer: 6F { 84 AID, A5 { ... } }."""
    name = find(parse_one(data, 0x6F).children(), 0x84)
    if name is None:
        raise Malformed("SELECT: no name in the answer")
    return name.value


def get_data(tag: int) -> CommandAPDU:
    """GET DATA of a 1- or 2-byte tag, full TLV."""
    return CommandAPDU(0x80, INS.GET_DATA, tag >> 8, tag & 0xFF, le=MAX_LE)


def initialize_update(kvn: KVN, host_challenge: bytes) -> CommandAPDU:
    """INITIALIZE UPDATE of one key set; the host challenge has 8 bytes (S8) or 16 (S16)."""
    if len(host_challenge) not in (S8_BYTES, S16_BYTES):
        raise Malformed(f"INITIALIZE UPDATE: a host challenge of {len(host_challenge)} bytes, neither 8 nor 16")
    return CommandAPDU(0x80, INS.INITIALIZE_UPDATE, kvn, 0x00, host_challenge, MAX_LE)


@dataclass(frozen=True, slots=True)
class InitializeUpdateAnswer:
    """SCP03: kdd 10 | kvn | 03 | i | challenge 8 or 16 | cryptogram 8 or 16 | [sequence 3, if pseudo-random].

    SCP02: kdd 10 | kvn | 02 | sequence 2 | challenge 6 | cryptogram 8; its i stands in the card data alone, 0 here.
    """

    kdd: bytes
    kvn: int
    scp: int
    i: int
    card_challenge: bytes
    card_cryptogram: bytes
    sequence: bytes | None

    @property
    def mac_bytes(self) -> int:
        """8 (S8) or 16 (S16): the length of cryptograms and MACs."""
        return len(self.card_cryptogram)

    @classmethod
    def parse(cls, data: bytes) -> "InitializeUpdateAnswer":
        """The answer of an SCP02 or SCP03 card; `Malformed` for all others."""
        if len(data) < 13:
            raise Malformed(f"INITIALIZE UPDATE: {len(data)} bytes")
        kvn, scp, i = data[10:13]
        if scp == SCP02:
            if len(data) != _SCP02_BYTES:
                raise Malformed(f"INITIALIZE UPDATE: {len(data)} bytes, {_SCP02_BYTES} belong to SCP02")
            return cls(data[:10], kvn, scp, 0, data[14:20], data[20:28], data[12:14])
        if scp != SCP03:
            raise Malformed(f"INITIALIZE UPDATE: secure channel protocol {scp:02X}, 02 and 03 are spoken")
        size = S16_BYTES if i & S16 else S8_BYTES
        wanted = 13 + 2 * size + (3 if i & PSEUDO_RANDOM else 0)
        if len(data) != wanted:
            raise Malformed(f"INITIALIZE UPDATE: {len(data)} bytes, {wanted} belong to i={i:02X}")
        challenge, cryptogram, rest = data[13 : 13 + size], data[13 + size : 13 + 2 * size], data[13 + 2 * size :]
        return cls(data[:10], kvn, scp, i, challenge, cryptogram, rest or None)

    def encode(self) -> bytes:
        """The bytes that `parse` reads."""
        if self.scp == SCP02:
            told = bytes((self.kvn, self.scp)) + (self.sequence or b"")
            return self.kdd + told + self.card_challenge + self.card_cryptogram
        head = self.kdd + bytes((self.kvn, self.scp, self.i))
        return head + self.card_challenge + self.card_cryptogram + (self.sequence or b"")


def external_authenticate(level: int, host_cryptogram: bytes) -> CommandAPDU:
    """EXTERNAL AUTHENTICATE, before its MAC."""
    return CommandAPDU(0x80, INS.EXTERNAL_AUTHENTICATE, level, 0x00, host_cryptogram)


def delete_key(kvn: KVN) -> CommandAPDU:
    """DELETE of all keys of one version number (11.2.2.3.2)."""
    return CommandAPDU(0x80, INS.DELETE, 0x00, 0x00, TLV(0xD2, bytes((kvn,))).encode(), MAX_LE)


@dataclass(frozen=True, slots=True, repr=False)
class KeyField:
    """One encrypted key as PUT KEY carries it; `length` is the clear key's, in bytes."""

    type: int
    ciphertext: bytes
    length: int
    kcv: bytes
    with_length: bool = True  # the clear length goes before the ciphertext

    def __post_init__(self) -> None:
        if not self.with_length and self.length != len(self.ciphertext):
            raise Malformed(
                f"PUT KEY: a key of {self.length} bytes in a ciphertext of {len(self.ciphertext)} "
                "cannot go without its length: the card would take the filling for a part of it"
            )

    def encode(self) -> bytes:
        """type 1 | L 1 | [clear length 1] | ciphertext | 03 | check value 3 (11.8.2.3.1)."""
        inner = (bytes((self.length,)) if self.with_length else b"") + self.ciphertext
        return bytes((self.type, len(inner))) + inner + bytes((len(self.kcv),)) + self.kcv

    def __repr__(self) -> str:
        # Whoever learns the DEK later reads the key from its ciphertext.
        return f"KeyField({self.type:02X}, {self.length} bytes, KCV {self.kcv.hex().upper()})"


def put_key(kvn: KVN, fields: Sequence[KeyField], replaces: int = 0) -> CommandAPDU:
    """PUT KEY of keys from key identifier 1 on; `replaces` is the key version that goes, 00 for none."""
    p2 = _FIRST_KEY | (_SEVERAL_KEYS if len(fields) > 1 else 0)
    data = bytes((kvn,)) + b"".join(field.encode() for field in fields)
    return CommandAPDU(0x80, INS.PUT_KEY, replaces, p2, data, MAX_LE)


@dataclass(frozen=True, slots=True)
class PutKeyData:
    """PUT KEY's data as a card reads it."""

    kvn: int
    fields: tuple[KeyField, ...]

    @classmethod
    def parse(cls, data: bytes) -> "PutKeyData":
        """Both layouts in the field: with the clear length before the ciphertext, and without it."""
        if not data:
            raise Malformed("PUT KEY: no data")
        fields, at = [], 1
        while at < len(data):
            field, at = _key_field(data, at)
            fields.append(field)
        if not fields:
            raise Malformed("PUT KEY: no key")
        return cls(data[0], tuple(fields))


def _key_field(data: bytes, at: int) -> tuple[KeyField, int]:
    if at + 2 > len(data):
        raise Malformed("PUT KEY: a key is cut")
    kind, length = data[at], data[at + 1]
    inner = data[at + 2 : at + 2 + length]
    at += 2 + length
    kcv_length = data[at] if at < len(data) else 0xFF
    kcv = data[at + 1 : at + 1 + kcv_length]
    if length <= 1 or len(inner) != length or len(kcv) != kcv_length or kcv_length not in (0, KCV_BYTES):
        raise Malformed("PUT KEY: a key is empty or cut, or its check value has not 3 bytes")
    # A whole number of blocks has no length byte before it.
    clear = length if length % 16 == 0 else inner[0]
    with_length = length % 16 != 0
    ciphertext = inner[1:] if with_length else inner
    return KeyField(kind, ciphertext, clear, kcv, with_length), at + 1 + kcv_length


@dataclass(frozen=True, slots=True)
class Receipt:
    """PUT KEY's answer: the key version number and the check values, without lengths."""

    kvn: int
    kcvs: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """kvn 1 | check value 3, for each key."""
        if len(data) < 1 or (len(data) - 1) % KCV_BYTES:
            raise Malformed(f"PUT KEY: an answer of {len(data)} bytes")
        return cls(data[0], tuple(data[at : at + KCV_BYTES] for at in range(1, len(data), KCV_BYTES)))

    def encode(self) -> bytes:
        """The bytes that `parse` reads."""
        return bytes((self.kvn,)) + b"".join(self.kcvs)


def get_status_isd() -> CommandAPDU:
    """GET STATUS of the ISD alone, TLV form."""
    return CommandAPDU(0x80, INS.GET_STATUS, _ISD_STATUS, 0x02, bytes.fromhex("4F00"), MAX_LE)


def set_status(state: LifeCycle) -> CommandAPDU:
    """SET STATUS of the ISD."""
    return CommandAPDU(0x80, INS.SET_STATUS, _ISD_STATUS, state)


def key_references(data: bytes) -> tuple[int | None, int | None]:
    """DELETE's key identifier (D0) and key version number (D2), as far as they are there."""
    found: dict[int, int] = {}
    for one in parse(data):
        if one.tag not in (0xD0, 0xD2) or len(one.value) != 1 or one.tag in found:
            raise Malformed("DELETE: neither a key identifier nor a key version number")
        found[one.tag] = one.value[0]
    return found.get(0xD0), found.get(0xD2)
