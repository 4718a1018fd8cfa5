"""The readers of what comes from outside, each with a good example and what writes its values again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kioskd.gp import isd, tlv
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.card_data import secure_channels
from kioskd.gp.cplc import CPLC
from kioskd.gp.isd import InitializeUpdateAnswer, PutKeyData, Receipt
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.registry import SecurityDomain, read_domains


def _written_fields(read: PutKeyData) -> bytes:
    return bytes((read.kvn,)) + b"".join(field.encode() for field in read.fields)


def _written_objects(read: tuple[tlv.TLV, ...]) -> bytes:
    return b"".join(one.encode() for one in read)


def _written_domains(read: tuple[SecurityDomain, ...]) -> bytes:
    return b"".join(one.encode() for one in read)


def _holds_only_basic_entries(read: KeyInformation) -> bool:
    pairs = [pair for entry in read.entries for pair in entry.components]
    return all(kind != 0xFF and 1 <= length <= 256 for kind, length in pairs)


@dataclass(frozen=True, slots=True)
class Codec:
    """One reader of what comes from outside, a good example, and what writes its values again."""

    name: str
    read: Callable[[bytes], Any]
    good: str
    write: Callable[[Any], bytes] | None = None
    writable: Callable[[Any], bool] = lambda _: True


CODECS = (
    Codec("command", CommandAPDU.decode, "80E400800A4F08A00100015141434C00", CommandAPDU.encode),
    Codec("response", ResponseAPDU.decode, "E3324F089000", ResponseAPDU.encode),
    Codec("TLV", tlv.parse, "E00CC00401FF8010C00402FF80109F7F8105AABBCCDDEE", _written_objects),
    Codec("TLV, walked", lambda raw: tuple(tlv.walk(raw)), "6F108408A000000003000000A5049F6501FF"),
    Codec(
        "key information",
        KeyInformation.parse,
        "E021C00401018010C00402018010C00403018010C00D0173FFA10080A0000301840100",
        KeyInformation.encode,
        _holds_only_basic_entries,
    ),
    Codec(
        "INITIALIZE UPDATE answer",
        InitializeUpdateAnswer.parse,
        "00000000000000000000300370C40932A6FEFEAEB2E127185170F45FCA000015",
        InitializeUpdateAnswer.encode,
    ),
    Codec(
        "PUT KEY",
        PutKeyData.parse,
        "3088111000112233445566778899AABBCCDDEEFF030102038810FFEEDDCCBBAA9988776655443322110000",
        _written_fields,
    ),
    Codec("receipt", Receipt.parse, "30504A77504A77504A77", Receipt.encode),
    Codec(
        "CPLC",
        CPLC.parse,
        "9F7F2A4790D6004700000000003244342952208448000000000000000015278234323935320000000000000000",
    ),
    Codec(
        "card data",
        secure_channels,
        "663F733D06072A864886FC6B01600C060A2A864886FC6B02020301630906072A864886FC6B03640B06092A864886FC6B040360"
        "640C060A2A864886FC6B04119B06",
    ),
    Codec("SELECT answer", isd.selected_aid, "6F108408A000000003000000A5049F6501FF"),
    Codec(
        "security domains",
        read_domains,
        "E31D4F08A0000001515350419F70010FC503800000CC08A000000151000000",
        _written_domains,
    ),
    Codec("DELETE", isd.key_references, "D00101D20130"),
)


def codec_names(codec: Codec) -> str:
    """A codec as the tests name it."""
    return codec.name
