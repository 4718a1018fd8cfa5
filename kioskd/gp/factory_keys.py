"""What opens cards as their vendor leaves them: one key set for all, or a master that each card's is made of.

Key sets that vendors make of one master key and a card's diversification data; globalplatform.md, section 4.

    EMV, VISA2, VISA   3DES-ECB under the master of  b | F0 | n | b | 0F | n,  b: 6 bytes of the data
    KDF3               AES-CMAC under the master of  counter | 3 x 00 | n | 00 | data, counted for longer keys

n is 1 for ENC, 2 for MAC, 3 for DEK. The card's own cryptogram decides whether a guess was right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kioskd.gp.isd import KDD_BYTES
from kioskd.gp.keys import BLOCK_BYTES
from kioskd.secret import Secret

_AES_BYTES, _DES_BYTES = (16, 24, 32), 16


class Method(StrEnum):
    """The ways of diversification that are known."""

    EMV = "emv"
    VISA2 = "visa2"
    VISA = "visa"
    KDF3 = "kdf3"

    @property
    def des(self) -> bool:
        """Whether it makes 3DES sets, of a 3DES master."""
        return self is not Method.KDF3


@dataclass(frozen=True, slots=True)
class FactoryKeys:
    """ENC, MAC and DEK of one length, or with a method the one master of them."""

    keys: tuple[Secret, ...]
    des: bool | None = None  # None: it is what its card makes of it
    method: Method | None = None

    def __post_init__(self) -> None:
        sizes = {len(one) for one in self.keys}
        if len(self.keys) != (1 if self.method else 3) or len(sizes) != 1 or not sizes <= set(_AES_BYTES):
            raise ValueError("a key set has three keys of one length: 16, 24 or 32 bytes; a diversified one a master")
        if self.method is not None and self.des not in (None, self.method.des):
            raise ValueError(f"the method {self.method} makes {'3DES' if self.method.des else 'AES'} sets")
        if self.of_des and sizes != {_DES_BYTES}:
            raise ValueError("a 3DES key has 16 bytes")

    @property
    def of_des(self) -> bool | None:
        """Whether the sets are of 3DES; None: unsaid."""
        return self.des if self.method is None else self.method.des


_TAKEN: dict[Method, Callable[[bytes], bytes]] = {
    Method.EMV: lambda kdd: kdd[4:10],
    Method.VISA2: lambda kdd: kdd[0:2] + kdd[4:8],
    Method.VISA: lambda kdd: kdd[0:4] + kdd[8:10],
}


def diversification_data(method: Method, kdd: bytes, number: int, key_bytes: int) -> bytes:
    """What one member is made of: blocks that 3DES-ECB encrypts, or blocks of which each is a message of AES-CMAC."""
    if len(kdd) != KDD_BYTES:
        raise ValueError(f"diversification data of {len(kdd)} bytes, not {KDD_BYTES}")
    if method is Method.KDF3:
        tail = bytes(3) + bytes((number, 0)) + kdd
        return b"".join(bytes((counter,)) + tail for counter in range(1, -(-key_bytes // BLOCK_BYTES) + 1))
    return b"".join(_TAKEN[method](kdd) + bytes((mark, number)) for mark in (0xF0, 0x0F))
