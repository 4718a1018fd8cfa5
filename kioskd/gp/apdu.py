"""Command and response APDUs (ISO 7816-4, short form), and the names of instructions and status words."""

from dataclasses import dataclass
from enum import IntEnum

from kioskd.errors import Malformed


class INS(IntEnum):
    """Instructions of the card manager (GPC 2.3.1, table 11-5) and of ISO 7816-4."""

    INITIALIZE_UPDATE = 0x50
    SEAL = 0x5A  # ours: see executive.py
    UNLOCK = 0x5C
    RELOCK = 0x5E
    EXTERNAL_AUTHENTICATE = 0x82
    SELECT = 0xA4
    GET_RESPONSE = 0xC0
    GET_DATA = 0xCA
    PUT_KEY = 0xD8
    STORE_DATA = 0xE2
    DELETE = 0xE4
    SET_STATUS = 0xF0
    GET_STATUS = 0xF2


class SW(IntEnum):
    """Status words; an unknown one stays a plain number."""

    OK = 0x9000
    CARD_LOCKED_WARNING = 0x6283
    AUTHENTICATION_FAILED = 0x6300
    MORE_DATA = 0x6310
    NO_DIAGNOSIS = 0x6400
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    LOGICAL_CHANNEL_UNSUPPORTED = 0x6881
    LAST_OF_CHAIN_EXPECTED = 0x6883
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_DATA = 0x6A80
    FUNCTION_NOT_SUPPORTED = 0x6A81
    NOT_FOUND = 0x6A82
    NOT_ENOUGH_MEMORY = 0x6A84
    INCORRECT_P1P2 = 0x6A86
    REFERENCED_DATA_NOT_FOUND = 0x6A88
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    ALGORITHM_NOT_SUPPORTED = 0x9484
    INVALID_KCV = 0x9485


MAX_DATA = 255
MAX_LE = 256
MAX_PART_BYTES = MAX_LE + 2
"""What a card sends at once, its status word included."""
MAX_ANSWER_BYTES = 1024
"""Of data in one answer, however many parts it came in."""
MAX_RESPONSE_BYTES = MAX_ANSWER_BYTES + 2


@dataclass(frozen=True, slots=True, repr=False)
class CommandAPDU:
    """One command: CLA INS P1 P2 [Lc data] [Le]; at most 255 bytes of data, Le from 1 to 256 or None."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    le: int | None = None

    def __post_init__(self) -> None:
        if any(not 0 <= one <= 0xFF for one in (self.cla, self.ins, self.p1, self.p2)):
            raise Malformed("command: a header byte is out of range")
        if len(self.data) > MAX_DATA:
            raise Malformed(f"command: {len(self.data)} bytes of data, at most {MAX_DATA}")
        if self.le is not None and not 1 <= self.le <= MAX_LE:
            raise Malformed(f"command: Le {self.le}, from 1 to {MAX_LE}")

    @property
    def header(self) -> bytes:
        """CLA INS P1 P2."""
        return bytes((self.cla, self.ins, self.p1, self.p2))

    def encode(self) -> bytes:
        """The command as it goes to the card."""
        body = bytes((len(self.data),)) + self.data if self.data else b""
        return self.header + body + (b"" if self.le is None else bytes((self.le % 256,)))

    @classmethod
    def decode(cls, raw: bytes) -> "CommandAPDU":
        """The command of these bytes; `Malformed` unless it is exactly one short APDU."""
        if len(raw) < 4:
            raise Malformed(f"command: {len(raw)} bytes, at least 4")
        (cla, ins, p1, p2), rest = raw[:4], raw[4:]
        if len(rest) <= 1:
            return cls(cla, ins, p1, p2, le=(rest[0] or MAX_LE) if rest else None)
        length, data, tail = rest[0], rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        if length == 0 or len(data) != length or len(tail) > 1:
            raise Malformed(f"command: Lc {length} does not fit {len(raw)} bytes")
        return cls(cla, ins, p1, p2, data, (tail[0] or MAX_LE) if tail else None)

    def __repr__(self) -> str:
        le = "" if self.le is None else f", Le {self.le}"
        return f"CommandAPDU({self.header.hex().upper()}, {len(self.data)} bytes{le})"


@dataclass(frozen=True, slots=True, repr=False)
class ResponseAPDU:
    """One answer, whole: data and status word."""

    data: bytes
    sw: int

    def __post_init__(self) -> None:
        if not 0 <= self.sw <= 0xFFFF:
            raise Malformed("response: the status word is out of range")

    @property
    def ok(self) -> bool:
        """Whether the status word is 9000."""
        return self.sw == SW.OK

    @property
    def carries_mac(self) -> bool:
        """Whether a secure channel authenticates it, where it has response MACs: errors go in the clear."""
        return self.ok or self.sw >> 8 in (0x62, 0x63)

    def encode(self) -> bytes:
        """The answer as it comes from the card."""
        return self.data + self.sw.to_bytes(2)

    @classmethod
    def decode(cls, raw: bytes) -> "ResponseAPDU":
        """The answer of these bytes; `Malformed` for fewer than 2 or more than 1026."""
        if not 2 <= len(raw) <= MAX_RESPONSE_BYTES:
            raise Malformed(f"response: {len(raw)} bytes, from 2 to {MAX_RESPONSE_BYTES}")
        return cls(raw[:-2], int.from_bytes(raw[-2:]))

    def __repr__(self) -> str:
        return f"ResponseAPDU({len(self.data)} bytes, {self.sw:04X})"
