"""Two-key triple DES in this process's memory: check values, wrapped keys and the session keys of SCP02.

The only file of gp/ that computes DES.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes

from kioskd.gp.keys import KCV_BYTES, DESBlockKey
from kioskd.secret import Secret

DES_BLOCK_BYTES = 8
DES_KEY_BYTES = 16
SEQUENCE_BYTES = 2

S_MAC, S_RMAC, S_DEK, S_ENC = 0x0101, 0x0102, 0x0181, 0x0182

K = TypeVar("K", bound=DESBlockKey, covariant=True)


class DESKey:
    """A two-key triple DES key; bit 0 of each byte (parity) means nothing."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        if len(secret) != DES_KEY_BYTES:
            raise ValueError(f"a DES key has 16 bytes, not {len(secret)}")
        self._secret = secret

    @property
    def secret(self) -> Secret:
        """The value, for those that must store or wrap it."""
        return self._secret

    def encrypt_block(self, data: bytes) -> bytes:
        """3DES-ECB of whole blocks of 8 bytes."""
        return self._crypt(modes.ECB(), data)

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        return self._crypt(modes.CBC(iv), data)

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        machine = Cipher(self._algorithm(), modes.CBC(iv)).decryptor()
        return machine.update(data) + machine.finalize()

    def encrypt_single(self, block: bytes) -> bytes:
        """Single DES under the key's first half, one block of 8 bytes."""
        return self._single(0).update(block)

    def retail_mac(self, icv: bytes, data: bytes) -> bytes:
        """ISO 9797-1 MAC algorithm 3 of whole blocks: DES-CBC under the first half, 3DES for the last block."""
        if len(data) > DES_BLOCK_BYTES:
            first = Cipher(TripleDES(self._half(0) * 3), modes.CBC(icv)).encryptor()
            icv = first.update(data[:-DES_BLOCK_BYTES])[-DES_BLOCK_BYTES:]
        return self.encrypt_cbc(icv, data[-DES_BLOCK_BYTES:])

    def _half(self, at: int) -> bytes:
        return self._secret.reveal()[DES_BLOCK_BYTES * at : DES_BLOCK_BYTES * (at + 1)]

    def _single(self, at: int) -> CipherContext:
        return Cipher(TripleDES(self._half(at) * 3), modes.ECB()).encryptor()

    def decrypt_block(self, data: bytes) -> bytes:
        """3DES-ECB of whole blocks of 8 bytes."""
        machine = Cipher(self._algorithm(), modes.ECB()).decryptor()
        return machine.update(data) + machine.finalize()

    def _crypt(self, mode: modes.ECB | modes.CBC, data: bytes) -> bytes:
        machine = Cipher(self._algorithm(), mode).encryptor()
        return machine.update(data) + machine.finalize()

    def _algorithm(self) -> TripleDES:
        value = self._secret.reveal()
        return TripleDES(value + value[:DES_BLOCK_BYTES])

    def __repr__(self) -> str:
        return "<DESKey 128 bits>"


def kcv_des(key: DESBlockKey) -> bytes:
    """The check value of a DES key: the first 3 bytes of 3DES-ECB over eight 00 (GPC 2.3.1, B.6)."""
    return key.encrypt_block(bytes(DES_BLOCK_BYTES))[:KCV_BYTES]


@dataclass(frozen=True, slots=True)
class SCP02SessionKeys(Generic[K]):
    """S-ENC, S-MAC, S-RMAC and S-DEK of one SCP02 channel: values in memory, or keys in a token."""

    enc: K
    mac: K
    rmac: K
    dek: K


def derivation_data(constant: int, sequence: bytes) -> bytes:
    """What a static key encrypts in CBC mode, 16 bytes, to make a session key (GPC 2.3.1, E.4.1)."""
    if len(sequence) != SEQUENCE_BYTES:
        raise ValueError(f"a sequence counter of {len(sequence)} bytes, not 2")
    return constant.to_bytes(2) + sequence + bytes(12)


def scp02_session_keys(
    enc: DESBlockKey, mac: DESBlockKey, dek: DESBlockKey, sequence: bytes
) -> SCP02SessionKeys[DESKey]:
    """The session keys of a static set and a sequence counter of 2 bytes, in this process's memory."""

    def derived(key: DESBlockKey, constant: int) -> DESKey:
        return DESKey(Secret(key.encrypt_cbc(bytes(DES_BLOCK_BYTES), derivation_data(constant, sequence))))

    return SCP02SessionKeys(derived(enc, S_ENC), derived(mac, S_MAC), derived(mac, S_RMAC), derived(dek, S_DEK))
