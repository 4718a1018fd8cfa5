"""Card data (tag 66): which secure channel protocols a card says that it speaks (GPC 2.3.1, H.2)."""

from dataclasses import dataclass

from kioskd.gp.tlv import TLV, parse_one

_OID = 0x06
_SCP_TAG = 0x64
_SCP_OID = bytes.fromhex("2A864886FC6B04")


@dataclass(frozen=True, slots=True)
class SecureChannel:
    """A secure channel protocol and its options; `i` may have several bytes."""

    scp: int
    i: bytes


def secure_channels(raw: bytes) -> tuple[SecureChannel, ...]:
    """The protocols of a GET DATA 66 answer, in the card's order; foreign object identifiers are passed over."""
    recognition = parse_one(raw, 0x66).children()
    found: list[SecureChannel] = []
    for data in (one for one in recognition if one.tag == 0x73):
        for scp in (one for one in data.children() if one.tag == _SCP_TAG):
            found += _read(scp)
    return tuple(found)


def _read(scp: TLV) -> list[SecureChannel]:
    oids = (one.value for one in scp.children() if one.tag == _OID)
    tails = (oid[len(_SCP_OID) :] for oid in oids if oid.startswith(_SCP_OID))
    return [SecureChannel(tail[0], tail[1:]) for tail in tails if len(tail) >= 2]
