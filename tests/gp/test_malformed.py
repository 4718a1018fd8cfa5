"""What a card or a server may send wrongly, by name, and what is made of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kioskd.errors import Malformed
from kioskd.gp import isd, tlv
from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.card_data import SecureChannel, secure_channels
from kioskd.gp.cplc import CPLC, CardId, NoCardId, aliases, canonical_id
from kioskd.gp.des import DESKey, scp02_session_keys
from kioskd.gp.isd import InitializeUpdateAnswer, PutKeyData, Receipt
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.keys import KVN
from kioskd.gp.scp03 import HostChannel, derivation_blocks, kdf
from kioskd.secret import Secret
from tests.gp.channels import HOST_CHALLENGE, KEYS, STATIC

UPDATE_ANSWER = "00000000000000000000 30 03 70 C40932A6FEFEAEB2 E127185170F45FCA 000015"
DES = DESKey(Secret(bytes(range(16))))
CPLC_GOOD = bytes.fromhex("4790D6004700000000003244342952208448") + bytes(24)


def nested(levels: int) -> str:
    """E0 inside E0 inside E0, with an empty 42 innermost."""
    raw = tlv.TLV(0x42, b"").encode()
    for _ in range(levels - 1):
        raw = tlv.TLV(0xE0, raw).encode()
    return raw.hex()


def walked(raw: bytes) -> list[tlv.TLV]:
    """All data objects at every depth."""
    return list(tlv.walk(raw))


REFUSED: list[tuple[str, Callable[[bytes], Any], str]] = [
    ("a command of three bytes", CommandAPDU.decode, "80CA00"),
    ("a command whose Lc is larger than its data", CommandAPDU.decode, "80E2000005AABB"),
    ("a command with two bytes behind its data", CommandAPDU.decode, "80E2000001AA0000"),
    ("a command with Lc 00 and data, an extended one", CommandAPDU.decode, "80E20000000001AA"),
    ("a response of one byte", ResponseAPDU.decode, "90"),
    ("a response of nothing", ResponseAPDU.decode, ""),
    ("a response that is longer than any in parts", ResponseAPDU.decode, "00" * 1027),
    ("a tag of four bytes", tlv.parse, "5F80808001"),
    ("a tag that is cut", tlv.parse, "9F"),
    ("tag 00", tlv.parse, "0000"),
    ("a data object without a length", tlv.parse, "E0"),
    ("an indefinite length", tlv.parse, "E08000000000"),
    ("a length of three bytes", tlv.parse, "E083000001AA"),
    ("a length that is cut", tlv.parse, "E08201"),
    ("a value that is cut", tlv.parse, "E005AABB"),
    ("a byte behind the last data object", tlv.parse, "42010045"),
    ("more than 256 data objects", tlv.parse, "4200" * 257),
    ("data objects nested deeper than eight", walked, nested(9)),
    ("a broken data object inside a good one", walked, "E003C005AA"),
    ("key information in another template", KeyInformation.parse, "E112C00401FF8010C00402FF8010C00403FF8010"),
    ("key information twice", KeyInformation.parse, "E000E000"),
    ("a key entry of one byte", KeyInformation.parse, "E003C00101"),
    ("a key entry with half a component", KeyInformation.parse, "E005C0030130 88"),
    ("a foreign data object among key entries", KeyInformation.parse, "E006C10401308810"),
    ("an extended key entry that is cut", KeyInformation.parse, "E007C0050173FFA100"),
    ("an extended key entry that goes on", KeyInformation.parse, "E00DC00B0173FFA10080 01840100FF"),
    ("more than 128 key entries", KeyInformation.parse, "E0820306" + "C00401308810" * 129),
    ("an INITIALIZE UPDATE answer of twelve bytes", InitializeUpdateAnswer.parse, "00" * 12),
    ("SCP02, a byte short", InitializeUpdateAnswer.parse, "000074746E6E6E6262620102069FAA2A0591E73367DD78794D0431"),
    ("an SCP01 card", InitializeUpdateAnswer.parse, "000074746E6E6E6262620101069FAA2A0591E73367DD78794D04315E"),
    ("a pseudo-random challenge without its counter", InitializeUpdateAnswer.parse, UPDATE_ANSWER[:-7]),
    ("a counter that i does not announce", InitializeUpdateAnswer.parse, UPDATE_ANSWER.replace(" 70 ", " 60 ")),
    ("16-byte challenges that i does not announce", InitializeUpdateAnswer.parse, "00" * 10 + "300370" + "AA" * 35),
    ("8-byte challenges where i announces 16", InitializeUpdateAnswer.parse, "00" * 10 + "300371" + "AA" * 19),
    ("16-byte challenges without their counter", InitializeUpdateAnswer.parse, "00" * 10 + "300371" + "AA" * 32),
    ("a PUT KEY of nothing", PutKeyData.parse, ""),
    ("a PUT KEY without a key", PutKeyData.parse, "30"),
    ("a PUT KEY with a key that is cut", PutKeyData.parse, "308811 10AABB"),
    ("a PUT KEY without a check value length", PutKeyData.parse, "308810" + "AA" * 16),
    ("a PUT KEY with a check value of two bytes", PutKeyData.parse, "308810" + "AA" * 16 + "02BBBB"),
    ("a PUT KEY with a check value that is cut", PutKeyData.parse, "308810" + "AA" * 16 + "03BBBB"),
    ("a PUT KEY with a lone type", PutKeyData.parse, "3088"),
    ("a PUT KEY with an empty key", PutKeyData.parse, "30880003AABBCC"),
    ("a receipt of nothing", Receipt.parse, ""),
    ("a receipt with half a check value", Receipt.parse, "30504A"),
    ("a CPLC of 41 bytes", CPLC.parse, "00" * 41),
    ("a CPLC under another tag", CPLC.parse, "9F7E2A" + "00" * 42),
    ("card data without its template", secure_channels, "7300"),
    ("card data that is cut", secure_channels, "664D734B06"),
    ("a SELECT answer without a name", isd.selected_aid, "6F05A5039F6500"),
    ("a SELECT answer that is no FCI", isd.selected_aid, "8408A000000003000000"),
    ("a DELETE of something else than a key", isd.key_references, "4F08A000000003000000"),
    ("a DELETE of two key versions", isd.key_references, "D20130D20131"),
    ("a DELETE of a key version of two bytes", isd.key_references, "D2023031"),
]


@pytest.mark.parametrize(("reader", "raw"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_it_is_refused(reader: Callable[[bytes], Any], raw: str) -> None:
    with pytest.raises(Malformed) as refused:
        reader(bytes.fromhex(raw))
    assert ": " in str(refused.value)  # what, and then why


UNDERSTOOD: list[tuple[str, Callable[[bytes], Any], str, Any]] = [
    ("a length in more bytes than it needs", tlv.parse, "428200 01AA", (tlv.TLV(0x42, b"\xaa"),)),
    ("no data object at all", tlv.parse, "", ()),
    ("256 data objects", lambda raw: len(tlv.parse(raw)), "4200" * 256, 256),
    ("data objects nested eight deep", lambda raw: len(walked(raw)), nested(8), 8),
    ("an empty key template", KeyInformation.parse, "E000", KeyInformation(())),
    (
        "a key of 256 bytes, whose length reads 00",
        KeyInformation.parse,
        "E006C0040130A100",
        KeyInformation((KeyEntry(1, 0x30, ((0xA1, 256),)),)),
    ),
    (
        "an extended key entry without usage and access",
        KeyInformation.parse,
        "E008C0060130FF880010",
        KeyInformation((KeyEntry(1, 0x30, ((0x88, 16),)),)),
    ),
    ("a foreign object identifier in card data", secure_channels, "660B7309640706052B06010401", ()),
    (
        "a protocol whose options have two bytes",
        secure_channels,
        "660F730D640B06092A864886FC6B04 11 9B",
        (SecureChannel(0x11, b"\x9b"),),
    ),
    (
        "16-byte challenges that i announces",
        lambda raw: InitializeUpdateAnswer.parse(raw).mac_bytes,
        "00" * 10 + "300371" + "AA" * 35,
        16,
    ),
    ("a receipt without check values", Receipt.parse, "30", Receipt(0x30, ())),
    ("a command with Le 00, which is 256", lambda raw: CommandAPDU.decode(raw).le, "80CA00E000", 256),
]


@pytest.mark.parametrize(
    ("reader", "raw", "wanted"), [case[1:] for case in UNDERSTOOD], ids=[case[0] for case in UNDERSTOOD]
)
def test_it_is_understood(reader: Callable[[bytes], Any], raw: str, wanted: Any) -> None:
    assert reader(bytes.fromhex(raw)) == wanted


UNMADE: list[tuple[str, Callable[[], Any], type[Exception]]] = [
    ("a command with a header byte of 100", lambda: CommandAPDU(0x100, 0, 0, 0), Malformed),
    ("a command with a negative header byte", lambda: CommandAPDU(0x80, -1, 0, 0), Malformed),
    ("a command with 256 bytes of data", lambda: CommandAPDU(0x80, 0, 0, 0, bytes(256)), Malformed),
    ("a command with Le 0", lambda: CommandAPDU(0x80, 0, 0, 0, le=0), Malformed),
    ("a command with Le 257", lambda: CommandAPDU(0x80, 0, 0, 0, le=257), Malformed),
    ("a status word of three bytes", lambda: ResponseAPDU(b"", 0x10000), Malformed),
    ("a tag that ends too early", lambda: tlv.TLV(0x9F, b""), Malformed),
    ("a tag that goes on too long", lambda: tlv.TLV(0x4200, b""), Malformed),
    ("a tag of four bytes", lambda: tlv.TLV(0x9F808001, b""), Malformed),
    ("a value of 65,536 bytes", lambda: tlv.TLV(0x42, bytes(65536)), Malformed),
    ("a host challenge of 7 bytes", lambda: isd.initialize_update(KVN(0x30), bytes(7)), Malformed),
    ("a card id of a kind that nobody knows", lambda: CardId("serial", b"\x01"), Malformed),
    ("a card id of nothing", lambda: CardId("cplc", b""), Malformed),
    ("a card id of 65 bytes", lambda: CardId("cf", bytes(65)), Malformed),
    ("an AES key of 15 bytes", lambda: AESKey(Secret(bytes(15))), ValueError),
    ("a DES key of 24 bytes", lambda: DESKey(Secret(bytes(24))), ValueError),
    ("SCP02 session keys of a counter of 3 bytes", lambda: scp02_session_keys(DES, DES, DES, bytes(3)), ValueError),
    ("a channel with MACs of 12 bytes", lambda: HostChannel.begin(KEYS, 0x33, 12), ValueError),
    ("a security level without C-MAC", lambda: HostChannel.begin(KEYS, 0x10), ValueError),
    ("a derivation of no bits", lambda: kdf(STATIC.enc, 4, b"", 0), ValueError),
    ("a derivation of half a byte", lambda: kdf(STATIC.enc, 4, b"", 12), ValueError),
    ("a derivation of 257 bits", lambda: kdf(STATIC.enc, 4, b"", 264), ValueError),
    (
        "a secure command whose MAC has no room",
        lambda: HostChannel.begin(KEYS, 0x01).wrap(CommandAPDU(0x80, 0xE2, 0, 0, bytes(248))),
        Malformed,
    ),
    (
        "a secure S16 command whose MAC has no room",
        lambda: HostChannel.begin(KEYS, 0x01, 16).wrap(CommandAPDU(0x80, 0xE2, 0, 0, bytes(240))),
        Malformed,
    ),
]


@pytest.mark.parametrize(("make", "error"), [case[1:] for case in UNMADE], ids=[case[0] for case in UNMADE])
def test_it_cannot_be_made(make: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("text", ["", "cplc", "cplc:", "cplc:4", "cplc:ZZ", ":47", "serial:47", "cplc:é0"])
def test_a_text_that_is_no_card_id_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        CardId.parse(text)


CPLC_ID = CardId("cplc", bytes.fromhex("4790D600844834295220"))
IDENTITIES: list[tuple[str, dict[int, bytes], str, int]] = [
    ("CPLC first, the rest as aliases", {0x9F7F: CPLC_GOOD, 0x42: b"\x42\x01\x11", 0x45: b"\x45\x01\x22"}, "cplc", 1),
    ("IIN and CIN without a CPLC", {0x42: b"\x42\x01\x11", 0x45: b"\x45\x01\x22", 0xCF: b"\xcf\x01\x33"}, "iin-cin", 1),
    ("CF with nothing else", {0xCF: b"\xcf\x01\x33"}, "cf", 0),
    ("CF where the CPLC is all zero", {0x9F7F: bytes(42), 0xCF: b"\xcf\x01\x33"}, "cf", 0),
    ("CF where the CPLC is all FF", {0x9F7F: b"\xff" * 42, 0xCF: b"\xcf\x01\x33"}, "cf", 0),
    ("CF where the CPLC is cut", {0x9F7F: CPLC_GOOD[:-1], 0xCF: b"\xcf\x01\x33"}, "cf", 0),
    (
        "CF where the serial is zero and only the batch is told",
        {0x9F7F: CPLC_GOOD[:12] + bytes(4) + CPLC_GOOD[16:], 0xCF: b"\xcf\x01\x33"},
        "cf",
        0,
    ),
    ("CF where the IIN has no CIN", {0x42: b"\x42\x01\x11", 0xCF: b"\xcf\x01\x33"}, "cf", 0),
]


@pytest.mark.parametrize(
    ("readings", "kind", "others"), [case[1:] for case in IDENTITIES], ids=[case[0] for case in IDENTITIES]
)
def test_a_card_is_known_by(readings: dict[int, bytes], kind: str, others: int) -> None:
    assert canonical_id(readings).kind == kind
    assert len(aliases(readings)) == others


def test_the_canonical_id_is_fabricator_type_batch_and_serial() -> None:
    assert canonical_id({0x9F7F: CPLC_GOOD}) == CPLC_ID
    assert canonical_id({0x9F7F: b"\x9f\x7f\x2a" + CPLC_GOOD}) == CPLC_ID


@pytest.mark.parametrize(
    "readings",
    [{}, {0x9F7F: bytes(42)}, {0xCF: b"\xcf\x0a" + bytes(10)}, {0xCF: b"\xcf\x41" + b"\x01" * 65}, {0xCF: b"\xff"}],
    ids=["nothing", "a blank CPLC", "a blank CF", "a CF that is too long", "a CF that is cut"],
)
def test_a_card_that_nothing_tells_from_others_has_no_id(readings: dict[int, bytes]) -> None:
    with pytest.raises(NoCardId):
        canonical_id(readings)
    assert aliases(readings) == ()


def test_a_derivation_counts_its_blocks_from_one() -> None:
    assert [block[15] for block in derivation_blocks(4, b"", 192)] == [1, 2]
    assert [block[15] for block in derivation_blocks(4, b"", 128)] == [1]


def test_what_prints_a_command_or_response_prints_no_data() -> None:
    secret = "C0FFEE"
    command = CommandAPDU(0x80, 0xE2, 0, 0, bytes.fromhex(secret), 256)
    response = ResponseAPDU(bytes.fromhex(secret), 0x9000)
    shown = f"{command!r} {command} {response!r} {response} {tlv.TLV(0x42, response.data)!r}"
    assert secret not in shown.upper()
    assert "80E20000" in shown and "9000" in shown


def test_keys_do_not_print_themselves() -> None:
    keys = derive_session_keys(STATIC, HOST_CHALLENGE, bytes(8))
    shown = repr(DES) + repr(keys) + repr(replace(STATIC)) + repr(HostChannel.begin(keys, 0x33))
    assert isinstance(keys.enc, AESKey)
    assert keys.enc.secret.reveal().hex() not in shown.lower()
    assert str(keys.enc.secret.reveal()) not in shown
    assert DES.secret.reveal().hex() not in shown.lower()
