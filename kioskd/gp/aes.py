"""AES keys in this process's memory, and the session keys that they give. The only file of gp/ that computes AES."""

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from kioskd.gp.keys import BLOCK_BYTES, BlockKey, KeySet
from kioskd.gp.scp03 import S_ENC, S_MAC, S_RMAC, SessionKeys, kdf
from kioskd.secret import Secret


class AESKey:
    """A `BlockKey` in memory. What OpenSSL makes of the key is kept: making it takes ten times as long as using it."""

    __slots__ = ("_block", "_mac", "_secret")

    def __init__(self, secret: Secret) -> None:
        if len(secret) not in (16, 24, 32):
            raise ValueError(f"an AES key has 16, 24 or 32 bytes, not {len(secret)}")
        self._secret = secret
        self._block: CipherContext | None = None  # ECB, whose calls do not hang on one another
        self._mac: CMAC | None = None  # before any data

    @property
    def secret(self) -> Secret:
        """The value, for those that must store or wrap it."""
        return self._secret

    def cmac(self, data: bytes) -> bytes:
        """AES-CMAC (SP 800-38B), 16 bytes."""
        if self._mac is None:
            self._mac = CMAC(algorithms.AES(self._secret.reveal()))
        mac = self._mac.copy()
        mac.update(data)
        return mac.finalize()

    def encrypt_block(self, block: bytes) -> bytes:
        """AES-ECB of whole blocks."""
        if len(block) % BLOCK_BYTES:
            raise ValueError(f"{len(block)} bytes are not whole blocks")
        if self._block is None:
            self._block = Cipher(algorithms.AES(self._secret.reveal()), modes.ECB()).encryptor()
        return self._block.update(block)

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        machine = Cipher(algorithms.AES(self._secret.reveal()), modes.CBC(iv)).encryptor()
        return machine.update(data) + machine.finalize()

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        machine = Cipher(algorithms.AES(self._secret.reveal()), modes.CBC(iv)).decryptor()
        return machine.update(data) + machine.finalize()

    def __repr__(self) -> str:
        return f"<AESKey {8 * len(self._secret)} bits>"


def derive_session_keys(static: KeySet, host_challenge: bytes, card_challenge: bytes, bits: int = 128) -> SessionKeys:
    """The session keys in memory (6.2.1)."""
    context = host_challenge + card_challenge

    def derived(key: BlockKey, constant: int) -> AESKey:
        return AESKey(Secret(kdf(key, constant, context, bits)))

    return SessionKeys(derived(static.enc, S_ENC), derived(static.mac, S_MAC), derived(static.mac, S_RMAC))
