"""A card management system of the issuer's, as small as can be: only cryptography and the standard library.

Reads JSON on standard input: the master bundle, its transport key, the key management server's public key, and one row
of the signed export; writes that card's master keys, in hex. Written from docs/for-other-systems.md alone.
"""

import hashlib
import json
import struct
import sys
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap


def block_of(bundle: str, transport: str, kms: str) -> tuple[int, bytes]:
    """Step 1 to 3: the signature, the kek, the block."""
    paper = json.loads(bundle)
    signer = serialization.load_pem_public_key(kms.encode())
    assert isinstance(signer, Ed25519PublicKey)
    unsigned = json.dumps({**paper, "signature": ""}, sort_keys=True, separators=(",", ":"))
    signer.verify(bytes.fromhex(paper["signature"]), b"kioskd master bundle\n" + unsigned.encode())
    private = serialization.load_pem_private_key(transport.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303
    kek = private.decrypt(bytes.fromhex(paper["kek"]), oaep)
    return paper["header"]["generation"], aes_key_unwrap(kek, bytes.fromhex(paper["mkdb"]))


def key(block: bytes, row: dict[str, Any], member: str) -> bytes:
    """Step 4: one member of the card's master set."""
    kind, _, value = row["card"].partition(":")
    fields = (
        b"MK",
        b"\x01",
        struct.pack(">I", int(row["generation"])),
        struct.pack(">I", int(row["install"])),
        b"gp-scp03-aes128",
        bytes.fromhex(row["kvn"]),
        b"AES",
        struct.pack(">H", 128),
        member.encode(),
        kind.encode(),
        bytes.fromhex(value),
    )
    info = b"".join(struct.pack(">H", len(one)) + one for one in fields)
    machine = Cipher(algorithms.AES(block), modes.ECB()).encryptor()  # noqa: S305
    return machine.update(hashlib.sha256(info).digest()[:16])


def main() -> None:
    """The keys of one card."""
    given = json.load(sys.stdin)
    generation, block = block_of(given["bundle"], given["transport"], given["kms"])
    assert generation == int(given["row"]["generation"])
    json.dump([key(block, given["row"], member).hex() for member in ("ENC", "MAC", "DEK")], sys.stdout)


if __name__ == "__main__":
    main()
