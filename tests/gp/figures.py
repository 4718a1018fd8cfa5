"""The published figures that the card's language is held against, and how each one is computed here."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kioskd.gp import scp02, scp03, tlv
from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.apdu import SW, CommandAPDU, ResponseAPDU
from kioskd.gp.card_data import secure_channels
from kioskd.gp.cplc import CPLC
from kioskd.gp.des import DESKey, kcv_des, scp02_session_keys
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import Method
from kioskd.gp.isd import (
    AES_TYPE,
    InitializeUpdateAnswer,
    KeyField,
    PutKeyData,
    Receipt,
    initialize_update,
    put_key,
    selected_aid,
)
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import BLOCK_BYTES, KVN, KeySet, kcv_aes
from kioskd.secret import Secret

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = (
    "diversification.json",
    "get_data.json",
    "kcv.json",
    "key_wrap.json",
    "primitives.json",
    "put_key.json",
    "scp02.json",
    "scp03.json",
    "session_keys.json",
)

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One published value and what we make of the same input."""

    name: str
    published: object
    ours: object


@dataclass(frozen=True, slots=True)
class Tally:
    """What was compared."""

    records: int
    figures: int
    failures: int

    def __str__(self) -> str:
        return f"vectors: {self.records} records, {self.figures} figures compared, {self.failures} failures"


TALLY = pytest.StashKey[Tally]()
"""Where the last test leaves its count for the terminal summary."""


def records() -> list[Record]:
    """Every record that this project carries, in the order of its files."""
    return [record for name in FILES for record in json.loads((VECTORS / name).read_text(encoding="utf-8"))]


def figures_of(record: Record) -> Iterator[Figure]:
    """The figures of one record; a KeyError for a kind that nobody computes."""
    return _COMPUTED[record["kind"]](record)


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


def _key(text: str) -> AESKey:
    return AESKey(Secret(_hex(text)))


def _bits(text: str) -> int:
    return 4 * len(text)


def _des(text: str) -> DESKey:
    return DESKey(Secret(_hex(text)))


def _same_key(text: str) -> scp03.SessionKeys:
    """Session keys for a figure that uses only one of them."""
    return scp03.SessionKeys(_key(text), _key(text), _key(text))


# --- secure channel -----------------------------------------------------------------------------------------------


def _scp03(record: Record) -> Iterator[Figure]:
    static = KeySet(*(_key(record["keys"][member]) for member in ("enc", "mac", "dek")))
    host, level = _hex(record["host_challenge"]), int(record["level"], 16)
    answer = InitializeUpdateAnswer.parse(_hex(record["init_update_resp"]))
    keys = derive_session_keys(static, host, answer.card_challenge, _bits(record["keys"]["mac"]))
    yield Figure("INITIALIZE UPDATE answer", record["init_update_resp"], answer.encode().hex().upper())
    if "init_update_cmd" in record:
        command = initialize_update(KVN(answer.kvn), host)
        yield Figure("INITIALIZE UPDATE", record["init_update_cmd"], command.encode().hex().upper())
    for member, value in record.get("session_keys", {}).items():
        key = getattr(keys, member)
        assert isinstance(key, AESKey)
        yield Figure(f"session key {member}", _hex(value), key.secret.reveal())
    if "aid" in record:
        challenge = scp03.pseudo_random_challenge(static.enc, answer.sequence or b"", _hex(record["aid"]))
        yield Figure("card challenge", answer.card_challenge, challenge)
    cryptogram = scp03.card_cryptogram(keys.mac, host, answer.card_challenge)
    yield Figure("card cryptogram", answer.card_cryptogram, cryptogram)
    opening, channel = scp03.HostChannel.begin(keys, level).external_authenticate(host, answer.card_challenge)
    yield Figure("EXTERNAL AUTHENTICATE", record["ext_auth_cmd"], opening.encode().hex().upper())
    card = scp03.CardChannel(keys).authenticated(
        CommandAPDU.decode(_hex(record["ext_auth_cmd"])), host, answer.card_challenge
    )
    assert card is not None, "the card's end refuses the published host cryptogram"
    for number, step in enumerate(record.get("steps", ()), 1):
        wrapped, mark, channel = channel.wrap(CommandAPDU.decode(_hex(step["plain"])))
        yield Figure(f"step {number}, wrapped", step["wrapped"], wrapped.encode().hex().upper())
        plain, card = card.unwrap(CommandAPDU.decode(_hex(step["wrapped"])))
        yield Figure(f"step {number}, unwrapped", _hex(step["plain"]), _in_the_clear(plain))
        if "resp_wire" in step:
            yield from _response(f"step {number}", step, (keys, level, mark), card)


def _response(
    step_name: str, step: Record, host: tuple[scp03.SessionKeys, int, scp03.Mark], card: scp03.CardChannel
) -> Iterator[Figure]:
    keys, level, mark = host
    wire = ResponseAPDU(_hex(step["resp_wire"]), int(step["sw"], 16))
    published = next(step[name] for name in ("resp_plain", "resp_plain_computed", "resp_wire") if name in step)
    plain = scp03.unwrap(keys.enc, keys.rmac, level, mark, wire)
    yield Figure(f"{step_name}, response unwrapped", _hex(published), plain.data)
    again = card.wrap(ResponseAPDU(_hex(published), wire.sw))
    yield Figure(f"{step_name}, response wrapped", wire.data, again.data)


def _in_the_clear(command: CommandAPDU) -> bytes:
    """The card keeps the class byte's mark of a secure channel; the published command is without it."""
    return CommandAPDU(command.cla & ~0x04, command.ins, command.p1, command.p2, command.data, command.le).encode()


def _scp02(record: Record) -> Iterator[Figure]:
    static = {member: _des(value) for member, value in record["keys"].items()}
    host = _hex(record["host_challenge"])
    if "seq" in record:
        yield from _scp02_derivation(record, static, host)
        return
    answer = InitializeUpdateAnswer.parse(_hex(record["init_update_resp"]))
    sequence, challenge = answer.sequence or b"", answer.card_challenge
    keys = scp02_session_keys(static["enc"], static["mac"], static["dek"], sequence)
    yield Figure("INITIALIZE UPDATE answer", record["init_update_resp"], answer.encode().hex().upper())
    cryptogram = scp02.card_cryptogram(keys.enc, host, sequence, challenge)
    yield Figure("card cryptogram", answer.card_cryptogram, cryptogram)
    if "ext_auth_cmd" not in record:
        return
    level = int(record["level"], 16)
    opening, channel = scp02.HostChannel.begin(keys, level).external_authenticate(host, sequence, challenge)
    yield Figure("EXTERNAL AUTHENTICATE", record["ext_auth_cmd"], opening.encode().hex().upper())
    published = CommandAPDU.decode(_hex(record["ext_auth_cmd"]))
    card = scp02.CardChannel(keys).authenticated(published, host, sequence, challenge)
    assert card is not None, "the card's end refuses the published host cryptogram"
    for number, step in enumerate(record.get("steps", ()), 1):
        wrapped, channel = channel.wrap(CommandAPDU.decode(_hex(step["plain"])))
        yield Figure(f"step {number}, wrapped", step["wrapped"], wrapped.encode().hex().upper())
        plain, card = card.unwrap(CommandAPDU.decode(_hex(step["wrapped"])))
        yield Figure(f"step {number}, unwrapped", _hex(step["plain"]), _in_the_clear(plain))
    if "put_key" in record:
        yield from _scp02_put_key(record["put_key"], keys.dek, answer.kdd)


def _scp02_derivation(record: Record, static: dict[str, DESKey], host: bytes) -> Iterator[Figure]:
    sequence, challenge = _hex(record["seq"]), _hex(record["card_challenge"])
    keys = scp02_session_keys(static["enc"], static["mac"], static["dek"], sequence)
    for member, value in record["session_keys"].items():
        yield Figure(f"session key {member}", _hex(value), getattr(keys, member).secret.reveal())
    card = scp02.card_cryptogram(keys.enc, host, sequence, challenge)
    yield Figure("card cryptogram", _hex(record["card_cryptogram"]), card)
    yield Figure(
        "host cryptogram",
        _hex(record["host_cryptogram"]),
        scp02.host_cryptogram(keys.enc, host, sequence, challenge),
    )
    assert card != _hex(record["wrong_card_cryptogram"]), "the card holds other keys"


def _scp02_put_key(record: Record, dek: DESKey, kdd: bytes) -> Iterator[Figure]:
    keys = diversified(Method(record["diversify"]), Secret(_hex(record["master"])), kdd)
    for number, (ours, published) in enumerate(zip(keys, record["keys"], strict=True), 1):
        # The published values carry odd parity, which means nothing: bit 0 of each byte.
        yield Figure(f"key {number}", _without_parity(_hex(published)), _without_parity(ours.reveal()))
    fields = tuple(
        KeyField(int(record["type"], 16), dek.encrypt_block(_hex(value)), 16, kcv_des(_des(value)), with_length=False)
        for value in record["keys"]
    )
    command = put_key(KVN(int(record["kvn"], 16)), fields, int(record["p1"], 16))
    yield Figure("PUT KEY", record["apdu"], command.encode().hex().upper()[: len(record["apdu"])])
    receipt = Receipt.parse(_hex(record["resp"])[:-2])
    yield Figure("receipt", tuple(one.kcv for one in fields), receipt.kcvs)


def _without_parity(value: bytes) -> bytes:
    return bytes(one & 0xFE for one in value)


def _diversified(record: Record) -> Iterator[Figure]:
    keys = diversified(Method(record["method"]), Secret(_hex(record["master"])), _hex(record["kdd"]))
    for number, (key, kcv, value) in enumerate(zip(keys, record["kcvs"], record["derived_computed"], strict=True), 1):
        check = kcv_des(DESKey(key)) if record["alg"] == "des" else kcv_aes(AESKey(key))
        yield Figure(f"check value {number}", _hex(kcv), check)
        yield Figure(f"key {number}", _hex(value), key.reveal())


def _session_key_check_values(record: Record) -> Iterator[Figure]:
    static = KeySet(*(_key(record["keys"][member]) for member in ("enc", "mac", "dek")))
    keys = derive_session_keys(static, _hex(record["context"]), b"")
    ours = {"enc": keys.enc, "mac": keys.mac, "rmac": keys.rmac, "dek": static.dek}
    for member, value in record["kcv"].items():
        yield Figure(f"check value of {member}", _hex(value), kcv_aes(ours[member]))


def _scp02_session_key_check_values(record: Record) -> Iterator[Figure]:
    static = {member: _des(value) for member, value in record["keys"].items()}
    keys = scp02_session_keys(static["enc"], static["mac"], static["dek"], _hex(record["seq"]))
    for member, value in record["kcv"].items():
        yield Figure(f"check value of {member}", _hex(value), kcv_des(getattr(keys, member)))


def _raw_derivation(record: Record) -> Iterator[Figure]:
    before, after = record["block"].split("@i")
    derived = _key(record["key"]).cmac(_hex(before) + b"\x01" + _hex(after))
    yield Figure("check value", _hex(record["kcv"]), kcv_aes(AESKey(Secret(derived))))


# --- primitives ---------------------------------------------------------------------------------------------------


def _cmac(record: Record) -> Iterator[Figure]:
    yield Figure("CMAC", _hex(record["mac"]), _key(record["key"]).cmac(_hex(record["message"])))


def _kdf(record: Record) -> Iterator[Figure]:
    constant = int(record["const"], 16)
    ours = scp03.kdf(_key(record["key"]), constant, _hex(record["context"]), record["bits"])
    yield Figure("derived", _hex(record["out"]), ours)


def _command_encryption(record: Record) -> Iterator[Figure]:
    channel = scp03.HostChannel(_same_key(record["key"]), level=0x03, counter=record["counter"] - 1)
    wrapped, _, _ = channel.wrap(CommandAPDU(0x80, 0xE2, 0, 0, _hex(record["plain"])))
    yield Figure("ciphertext", _hex(record["ct"]), wrapped.data[:-8])


def _response_encryption(record: Record) -> Iterator[Figure]:
    card = scp03.CardChannel(_same_key(record["key"]), level=0x33, counter=record["counter"])
    wrapped = card.wrap(ResponseAPDU(_hex(record["plain"]), SW.OK))
    yield Figure("ciphertext", _hex(record["ct"]), wrapped.data[:-8])


def _command_mac(record: Record) -> Iterator[Figure]:
    # The card's end takes the class byte as it came; the host's end would set the mark of a secure channel.
    card = scp03.CardChannel(_same_key(record["key"]), level=0x01, chain=_hex(record["chain"]))
    plain, after = card.unwrap(CommandAPDU.decode(_hex(record["wire"])))
    yield Figure("accepted", _hex(record["header"]), plain.encode())
    yield Figure("MAC", _hex(record["wire"])[-8:], after.chain[:8])


def _response_mac(record: Record) -> Iterator[Figure]:
    keys, chain = _same_key(record["key"]), _hex(record["chain"])
    wire = ResponseAPDU(_hex(record["resp_wire"]), int(record["sw"], 16))
    plain = scp03.unwrap(keys.enc, keys.rmac, 0x11, scp03.Mark(chain, 1), wire)
    again = scp03.CardChannel(keys, level=0x11, chain=chain, counter=1).wrap(plain)
    yield Figure("wrapped again", wire.data, again.data)


# --- keys ---------------------------------------------------------------------------------------------------------


def _check_value(record: Record) -> Iterator[Figure]:
    ours = kcv_des(_des(record["key"])) if record["alg"] == "des" else kcv_aes(_key(record["key"]))
    yield Figure("check value", _hex(record["kcv"]), ours)


def _key_wrap(record: Record) -> Iterator[Figure]:
    if record["alg"] == "3des-ecb":
        yield from _key_wrap_under_des(record)
        return
    dek, key, wrapped = _key(record["dek"]), _hex(record["key"]), _hex(record["ct"])
    yield Figure("ciphertext", wrapped, dek.encrypt_cbc(bytes(BLOCK_BYTES), key))
    yield Figure("key", key, dek.decrypt_cbc(bytes(BLOCK_BYTES), wrapped))
    if "kcv_des" in record:
        yield Figure("check value", _hex(record["kcv_des"]), kcv_des(_des(record["key"])))


def _key_wrap_under_des(record: Record) -> Iterator[Figure]:
    """SCP01 wraps under the static DEK, SCP02 under the session DEK of a sequence counter."""
    if "seq" in record:
        static = _des(record["static_dek"])
        dek = scp02_session_keys(static, static, static, _hex(record["seq"])).dek
    else:
        dek = _des(record["dek"])
    if "session_dek" in record:
        yield Figure("session DEK", _hex(record["session_dek"]), dek.secret.reveal())
    key, wrapped = _hex(record["key"]), _hex(record["ct"])
    yield Figure("ciphertext", wrapped, dek.encrypt_block(key))
    yield Figure("key", key, dek.decrypt_block(wrapped))


def _put_key(record: Record) -> Iterator[Figure]:
    dek, values, padding = _key(record["dek"]), [_hex(value) for value in record["keys"]], _hex(record.get("pad", ""))
    fields = tuple(
        KeyField(
            AES_TYPE,
            dek.encrypt_cbc(bytes(BLOCK_BYTES), value + padding),
            len(value),
            kcv_aes(AESKey(Secret(value))),
        )
        for value in values
    )
    published = CommandAPDU.decode(_hex(record["apdu"]))
    read = PutKeyData.parse(published.data)
    ours = put_key(KVN(read.kvn), fields, replaces=published.p1)
    yield Figure("PUT KEY", record["apdu"], ours.encode().hex().upper())
    yield Figure("as a card reads it", fields, read.fields)


# --- what a card says of itself -----------------------------------------------------------------------------------


def _cplc(record: Record) -> Iterator[Figure]:
    read = CPLC.parse(_hex(record["data"]))
    yield Figure("serial", _hex(record["icSerial"]), read.serial)
    yield Figure("batch", _hex(record["icBatch"]), read.batch)
    yield Figure("fabricator", _hex(record["icFabricator"]), read.fabricator)


def _card_data(record: Record) -> Iterator[Figure]:
    read = [(bytes((one.scp,)) + one.i).hex().upper() for one in secure_channels(_hex(record["data"]))]
    yield Figure("secure channel protocols", record["scps"], read)


def _key_information(record: Record) -> Iterator[Figure]:
    raw = _hex(record["data"])
    read = KeyInformation.parse(raw)
    yield Figure("number of keys", record["nkeys"], len(read.entries))
    if b"\xff" not in raw[2:]:  # an extended entry is read, never written
        yield Figure("template", record["data"], read.encode().hex().upper())


def _data_object(record: Record) -> Iterator[Figure]:
    raw = _hex(record["data"])
    outer = tlv.parse(raw)
    yield Figure("as it came", raw, b"".join(_rebuilt(one).encode() for one in outer))
    if outer[0].tag == 0x6F:
        yield Figure("name", "A000000003000000", selected_aid(raw).hex().upper())


def _rebuilt(one: tlv.TLV) -> tlv.TLV:
    """The data object put together again from its innermost parts."""
    if not one.constructed:
        return one
    return tlv.TLV(one.tag, b"".join(_rebuilt(child).encode() for child in one.children()))


_COMPUTED: dict[str, Callable[[Record], Iterator[Figure]]] = {
    "scp02": _scp02,
    "diversify": _diversified,
    "scp03": _scp03,
    "scp02_sk_kcv": _scp02_session_key_check_values,
    "scp03_sk_kcv": _session_key_check_values,
    "kdf_raw_kcv": _raw_derivation,
    "cmac": _cmac,
    "kdf03": _kdf,
    "cenc03": _command_encryption,
    "renc03": _response_encryption,
    "cmac03": _command_mac,
    "rmac03": _response_mac,
    "kcv": _check_value,
    "wrap": _key_wrap,
    "put_key": _put_key,
    "cplc": _cplc,
    "crd": _card_data,
    "e0": _key_information,
    "tlv": _data_object,
}
