"""Computes derivation.json from raw AES, CMAC, SHA-256, RSA and P-256; shares no code with kioskd, and must not.

The figures are frozen: cards in the field were issued with these derivations. Run it only to add cases.
epoch-key.pem and epoch-key-p256.pem are test keys: they protect nothing.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

HERE = Path(__file__).parent
TARGET = HERE / "derivation.json"

MKDB = bytes(range(0x40, 0x60))
KRKDB = bytes(range(0x80, 0xA0))
RND = bytes(range(0xC0, 0xE0))
HOST, CARD = bytes.fromhex("0001020304050607"), bytes.fromhex("F0F1F2F3F4F5F6F7")

P256_EPOCH = 4
EPHEMERAL = int.from_bytes(bytes(range(0x01, 0x21)))  # a frozen ephemeral key: minting draws a fresh one

CPLC = ("cplc", "47905A40DEAD12345678")
IIN_CIN = ("iin-cin", "12345678900011223344556677")


def ecb(key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the derivation's own mode
    return encryptor.update(data) + encryptor.finalize()


def cmac(key: bytes, data: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()


def info(case: dict[str, Any], member: str) -> bytes:
    fields = [
        case["kind"].encode(),
        b"\x02" if "point" in case else b"\x01",
        struct.pack(">I", case["number"]),
        struct.pack(">I", case["install"]),
        case["profile"].encode(),
        struct.pack(">B", case["kvn"]),
        b"AES",
        struct.pack(">H", case["bits"]),
        member.encode(),
        case["id_kind"].encode(),
        bytes.fromhex(case["id"]),
    ]
    if "point" in case:
        fields.append(bytes.fromhex(case["point"]))
    return b"".join(struct.pack(">H", len(field)) + field for field in fields)


def member_figures(case: dict[str, Any], member: str, rnd: bytes = RND) -> dict[str, str]:
    label = info(case, member)
    figures = {"info": label}
    if case["kind"] == "KRK":
        figures["t1"], figures["t2"] = cmac(KRKDB, b"\x01" + label), cmac(KRKDB, b"\x02" + label)
        data, key = figures["t1"] + figures["t2"], rnd
    else:
        data, key = hashlib.sha256(label).digest(), MKDB
        figures["sha256"] = data
    long = ecb(key, data[: 16 if case["bits"] == 128 else 32])
    figures["key"] = long[: case["bits"] // 8]
    figures["kcv"] = ecb(figures["key"], b"\x01" * 16)[:3]
    return {name: value.hex().upper() for name, value in figures.items()}


def initialize_update_answer(case: dict[str, Any], key_mac: bytes) -> bytes:
    """What a card with this set answers to HOST with the challenge CARD; SCP03, i = 60."""

    def kdf(key: bytes, constant: int, bits: int) -> bytes:
        blocks = [
            cmac(key, b"\x00" * 11 + struct.pack(">BBHB", constant, 0, bits, counter) + HOST + CARD)
            for counter in range(1, 2 + (bits - 1) // 128)
        ]
        return b"".join(blocks)[: bits // 8]

    cryptogram = kdf(kdf(key_mac, 0x06, case["bits"]), 0x00, 64)
    return b"\x00" * 10 + struct.pack(">BBB", case["kvn"], 3, 0x60) + CARD + cryptogram


def cases() -> list[dict[str, Any]]:
    made = []
    for kind, number, kvn in (("KRK", 3, 0x3E), ("MK", 7, 0x37)):
        for bits in (128, 192, 256):
            made.append((kind, number, 1, f"gp-scp03-aes{bits}", kvn, bits, CPLC))
        made.append((kind, number, 0x01020304, "gp-scp03-aes128", kvn, 128, IIN_CIN))
    result = []
    for kind, number, install, profile, kvn, bits, (id_kind, value) in made:
        case: dict[str, Any] = {
            "kind": kind,
            "number": number,
            "install": install,
            "profile": profile,
            "kvn": kvn,
            "bits": bits,
            "id_kind": id_kind,
            "id": value,
        }
        case["members"] = {member: member_figures(case, member) for member in ("ENC", "MAC", "DEK")}
        key_mac = bytes.fromhex(case["members"]["MAC"]["key"])
        case["answer"] = initialize_update_answer(case, key_mac).hex().upper()
        result.append(case)
    return result


def p256_key() -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key((HERE / "epoch-key-p256.pem").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def p256_figures() -> dict[str, Any]:
    ephemeral = ec.derive_private_key(EPHEMERAL, ec.SECP256R1())
    form = serialization.PublicFormat.UncompressedPoint
    point = ephemeral.public_key().public_bytes(serialization.Encoding.X962, form).hex().upper()
    rnd = p256_key().exchange(ec.ECDH(), ephemeral.public_key())
    cases = []
    for bits in (128, 192, 256):
        case: dict[str, Any] = {
            "kind": "KRK",
            "number": P256_EPOCH,
            "install": 1,
            "profile": f"gp-scp03-aes{bits}",
            "kvn": 0x3E,
            "bits": bits,
            "id_kind": CPLC[0],
            "id": CPLC[1],
            "point": point,
        }
        case["members"] = {member: member_figures(case, member, rnd) for member in ("ENC", "MAC", "DEK")}
        case["answer"] = initialize_update_answer(case, bytes.fromhex(case["members"]["MAC"]["key"])).hex().upper()
        cases.append(case)
    return {"point": point, "rnd": rnd.hex().upper(), "cases": cases}


def epoch_key() -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key((HERE / "epoch-key.pem").read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def oaep() -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def figures(cryptogram: bytes) -> dict[str, Any]:
    return {
        "source": "handmade: make_derivation.py, from raw AES, CMAC, SHA-256 and RSA-OAEP",
        "expect": "ok",
        "mkdb": MKDB.hex().upper(),
        "krkdb": KRKDB.hex().upper(),
        "rnd": RND.hex().upper(),
        "host_challenge": HOST.hex().upper(),
        "cryptogram": cryptogram.hex().upper(),
        "cases": cases(),
        "p256": p256_figures(),
    }


def main() -> None:
    if TARGET.exists():
        cryptogram = bytes.fromhex(json.loads(TARGET.read_text())["cryptogram"])
    else:
        cryptogram = epoch_key().public_key().encrypt(RND, oaep())
    assert epoch_key().decrypt(cryptogram, oaep()) == RND
    TARGET.write_text(json.dumps(figures(cryptogram), indent=1) + "\n")


if __name__ == "__main__":
    main()
