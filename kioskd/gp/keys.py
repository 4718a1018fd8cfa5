"""Keys as verbs: what an AES key can do without being read, key sets, check values."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol

KVN = NewType("KVN", int)
"""A key version number, 01 to 7F (FF: the factory set)."""

BLOCK_BYTES = 16
KCV_BYTES = 3


class KeyRole(StrEnum):
    """The members of a key set, in the order of their key identifiers 1, 2, 3."""

    ENC = "ENC"
    MAC = "MAC"
    DEK = "DEK"


class BlockKey(Protocol):
    """What an AES key does; in a token it does so without ever being read."""

    def cmac(self, data: bytes) -> bytes:
        """AES-CMAC (SP 800-38B), 16 bytes."""
        ...

    def encrypt_block(self, block: bytes) -> bytes:
        """AES-ECB of whole blocks."""
        ...

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        ...

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        ...


class DESBlockKey(Protocol):
    """What a two-key triple DES key does; in a token it does so without ever being read."""

    def encrypt_block(self, data: bytes) -> bytes:
        """3DES-ECB of whole blocks of 8 bytes."""
        ...

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        ...

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        ...

    def encrypt_single(self, block: bytes) -> bytes:
        """Single DES under the key's first half, one block of 8 bytes."""
        ...

    def retail_mac(self, icv: bytes, data: bytes) -> bytes:
        """ISO 9797-1 MAC algorithm 3 of whole blocks: DES-CBC under the first half, 3DES for the last block."""
        ...


@dataclass(frozen=True, slots=True)
class KeySet:
    """ENC, MAC and DEK of one key version number."""

    enc: BlockKey
    mac: BlockKey
    dek: BlockKey

    def __iter__(self) -> Iterator[BlockKey]:
        return iter((self.enc, self.mac, self.dek))


def kcv_aes(key: BlockKey) -> bytes:
    """The check value of an AES key: the first 3 bytes of AES-ECB over sixteen 01 (GPC 2.3.1, B.6)."""
    return key.encrypt_block(b"\x01" * BLOCK_BYTES)[:KCV_BYTES]


def kcv_aes_zero(key: BlockKey) -> bytes:
    """The check value of an AES key on cards that compute it as for DES: over sixteen 00."""
    return key.encrypt_block(bytes(BLOCK_BYTES))[:KCV_BYTES]


UNLOCK = "UNLOCK"
"""The fourth member of a KRK's set, key identifier 4, where the card has an executive."""


def pad80(data: bytes, block: int = BLOCK_BYTES) -> bytes:
    """ISO 9797-1 method 2 padding to whole blocks: of AES, or of 8 bytes for DES."""
    return data + b"\x80" + bytes(-(len(data) + 1) % block)


def unpad80(data: bytes, block: int = BLOCK_BYTES) -> bytes | None:
    """The data without method 2 padding, or None if there is none."""
    stripped = data.rstrip(b"\x00")
    if not stripped.endswith(b"\x80") or len(data) - len(stripped) >= block:
        return None
    return stripped[:-1]
