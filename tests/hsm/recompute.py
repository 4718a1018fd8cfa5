"""An independent recomputation of a card's keys: only cryptography and the standard library, nothing of kioskd.

Reads JSON on standard input: mkdb, krkdb, private (PKCS#8 PEM), cryptogram and two labels; writes the six keys, in hex.
The derivation is written here a second time, from its description.
"""

import hashlib
import json
import struct
import sys
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

MEMBERS = ("ENC", "MAC", "DEK")


def info(label: dict[str, Any], member: str) -> bytes:
    """Kind, scheme, number, install, profile, KVN, algorithm, bits, member, id kind, id: each behind its length."""
    parts = [
        label["kind"].encode(),
        b"\x02" if "point" in label else b"\x01",
        struct.pack(">I", label["number"]),
        struct.pack(">I", label["install"]),
        label["profile"].encode(),
        struct.pack("B", label["kvn"]),
        label["algorithm"].encode(),
        struct.pack(">H", label["bits"]),
        member.encode(),
        label["id_kind"].encode(),
        bytes.fromhex(label["id"]),
    ]
    if "point" in label:
        parts.append(bytes.fromhex(label["point"]))
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)


def ecb(key: bytes, data: bytes) -> bytes:
    """AES-ECB."""
    machine = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return machine.update(data)


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-CMAC."""
    machine = CMAC(algorithms.AES(key))
    machine.update(data)
    return machine.finalize()


def main() -> None:
    """The keys of one card."""
    given = json.load(sys.stdin)
    mkdb, krkdb = bytes.fromhex(given["mkdb"]), bytes.fromhex(given["krkdb"])
    private = serialization.load_pem_private_key(given["private"].encode(), None)
    krk, master, cryptogram = given["krk"], given["master"], bytes.fromhex(given["cryptogram"])
    if isinstance(private, ec.EllipticCurvePrivateKey):
        rnd = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(private.curve, cryptogram))
        krk["point"] = given["cryptogram"]
    else:
        assert isinstance(private, rsa.RSAPrivateKey)
        rnd = private.decrypt(cryptogram, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))  # noqa: S303
    out: dict[str, list[str]] = {"rnd": [rnd.hex()], "krk": [], "master": []}
    for member in MEMBERS:
        t = b"".join(cmac(krkdb, bytes((j,)) + info(krk, member)) for j in (1, 2))
        size = krk["bits"] // 8
        out["krk"].append(ecb(rnd, t[:16] if size == 16 else t)[:size].hex())
        digest, size = hashlib.sha256(info(master, member)).digest(), master["bits"] // 8
        out["master"].append(ecb(mkdb, digest[:16] if size == 16 else digest)[:size].hex())
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
