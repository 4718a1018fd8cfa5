"""Key sets that vendors make of one master key and a card's diversification data; globalplatform.md, section 4.

    EMV, VISA2, VISA   3DES-ECB under the master of  b | F0 | n | b | 0F | n,  b: 6 bytes of the data
    KDF3               AES-CMAC under the master of  counter | 11 x 00 ... n | 00 | data, counted for longer keys

n is 1 for ENC, 2 for MAC, 3 for DEK. The card's own cryptogram decides whether a guess was right.
"""

from collections.abc import Callable
from enum import StrEnum

from kioskd.gp.aes import AESKey
from kioskd.gp.des import DESKey
from kioskd.gp.isd import KDD_BYTES
from kioskd.secret import Secret


class Method(StrEnum):
    """The ways that are known."""

    EMV = "emv"
    VISA2 = "visa2"
    VISA = "visa"
    KDF3 = "kdf3"


_TAKEN: dict[Method, Callable[[bytes], bytes]] = {
    Method.EMV: lambda kdd: kdd[4:10],
    Method.VISA2: lambda kdd: kdd[0:2] + kdd[4:8],
    Method.VISA: lambda kdd: kdd[0:4] + kdd[8:10],
}


def diversified(method: Method, master: Secret, kdd: bytes) -> tuple[Secret, Secret, Secret]:
    """ENC, MAC and DEK of the card with this diversification data of 10 bytes."""
    if len(kdd) != KDD_BYTES:
        raise ValueError(f"diversification data of {len(kdd)} bytes, not {KDD_BYTES}")
    make = _kdf3 if method is Method.KDF3 else _under_des(_TAKEN[method](kdd) if method in _TAKEN else b"")
    enc, mac, dek = (make(master, kdd, number) for number in (1, 2, 3))
    return enc, mac, dek


def _under_des(base: bytes) -> Callable[[Secret, bytes, int], Secret]:
    def made(master: Secret, _: bytes, number: int) -> Secret:
        halves = (base + bytes((mark, number)) for mark in (0xF0, 0x0F))
        return Secret(DESKey(master).encrypt_block(b"".join(halves)))

    return made


def _kdf3(master: Secret, kdd: bytes, number: int) -> Secret:
    key, blocks = AESKey(master), -(-len(master) // 16)
    tail = bytes(3) + bytes((number, 0)) + kdd
    return Secret(b"".join(key.cmac(bytes((counter,)) + tail) for counter in range(1, blocks + 1))[: len(master)])
