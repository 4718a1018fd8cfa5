"""The card's identity: Card Production Life Cycle data (tag 9F7F), and the canonical id with its fall-backs."""

from collections.abc import Mapping
from dataclasses import dataclass

from kioskd.errors import Malformed
from kioskd.gp import tlv

CPLC_BYTES = 42
ID_KINDS = ("cplc", "iin-cin", "cf", "kdd")
MAX_ID_BYTES = 64

_CPLC, _IIN, _CIN, _CF = 0x9F7F, 0x42, 0x45, 0xCF


class NoCardId(Malformed):
    """The card gives nothing that tells it from all others."""

    outcome = "no-card-id"


@dataclass(frozen=True, slots=True)
class CardId:
    """What tells one card from all others; `kind` says where it was read."""

    kind: str
    value: bytes

    def __post_init__(self) -> None:
        if self.kind not in ID_KINDS:
            raise Malformed(f"card id: kind {self.kind!r:.20}")
        if not 1 <= len(self.value) <= MAX_ID_BYTES:
            raise Malformed(f"card id: {len(self.value)} bytes, from 1 to {MAX_ID_BYTES}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.value.hex().upper()}"

    @classmethod
    def parse(cls, text: str) -> "CardId":
        """The id that `str` wrote."""
        kind, _, digits = text.partition(":")
        try:
            return cls(kind, bytes.fromhex(digits))
        except ValueError as wrong:
            raise Malformed("card id: not kind:hex") from wrong


@dataclass(frozen=True, slots=True)
class CPLC:
    """The fields that make a card unique.

    fabricator 2 | IC type 2 | OS 2+2+2 | fabrication date 2 | serial 4 | batch 2 | modules, personalisation 26
    """

    fabricator: bytes
    ic_type: bytes
    serial: bytes
    batch: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "CPLC":
        """The CPLC of 42 bytes, with or without its tag and length."""
        if len(raw) != CPLC_BYTES:
            raw = tlv.parse_one(raw, _CPLC).value
        if len(raw) != CPLC_BYTES:
            raise Malformed(f"CPLC: {len(raw)} bytes, not {CPLC_BYTES}")
        return cls(fabricator=raw[0:2], ic_type=raw[2:4], serial=raw[12:16], batch=raw[16:18])

    @property
    def unique(self) -> bytes:
        """Fabricator, type, batch, serial: 10 bytes."""
        return self.fabricator + self.ic_type + self.batch + self.serial


def canonical_id(readings: Mapping[int, bytes]) -> CardId:
    """The card's id from what it gave, by tag: CPLC, else IIN and CIN, else CF; `NoCardId` if none is usable."""
    found = every_id(readings)
    if not found:
        raise NoCardId("card id: no CPLC, IIN and CIN, or CF that is neither all zero nor all FF")
    return found[0]


def aliases(readings: Mapping[int, bytes]) -> tuple[CardId, ...]:
    """The other ids that the card's readings give."""
    return every_id(readings)[1:]


def every_id(readings: Mapping[int, bytes]) -> tuple[CardId, ...]:
    """All ids that the readings give, the one to be preferred first; none for readings that tell no card."""
    candidates: list[CardId] = []
    if _CPLC in readings:
        cplc = _cplc(readings[_CPLC])
        # The serial alone decides: the other fields are the same for a whole batch.
        if cplc is not None and _tells(cplc.serial):
            candidates.append(CardId("cplc", cplc.unique))
    iin, cin = _value(readings, _IIN), _value(readings, _CIN)
    if _tells(iin) and _tells(cin) and len(iin + cin) <= MAX_ID_BYTES:
        candidates.append(CardId("iin-cin", iin + cin))
    cf = _value(readings, _CF)
    if _tells(cf) and len(cf) <= MAX_ID_BYTES:
        candidates.append(CardId("cf", cf))
    return tuple(candidates)


def _cplc(raw: bytes) -> CPLC | None:
    try:
        return CPLC.parse(raw)
    except Malformed:
        return None


def _value(readings: Mapping[int, bytes], tag: int) -> bytes:
    try:
        return tlv.parse_one(readings[tag], tag).value
    except (KeyError, Malformed):
        return b""


def _tells(value: bytes) -> bool:
    return bool(value) and value not in (bytes(len(value)), b"\xff" * len(value))
