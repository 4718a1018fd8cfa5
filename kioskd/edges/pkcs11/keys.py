"""AES keys in a token as `gp.keys.BlockKey`: they work without being read. SCP03's session keys, made inside."""

from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from kioskd.edges.pkcs11 import templates
from kioskd.gp.keys import BLOCK_BYTES, KeySet
from kioskd.gp.scp03 import S_ENC, S_MAC, S_RMAC, SessionKeys, derivation_blocks, kdf

_ZERO = bytes(BLOCK_BYTES)
_INSIDE_BITS = 128


class TokenKey:
    """A `BlockKey` whose value stays in the token."""

    __slots__ = ("handle",)

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def cmac(self, data: bytes) -> bytes:
        """AES-CMAC (SP 800-38B), 16 bytes."""
        return bytes(self.handle.sign(data, mechanism=Mechanism.AES_CMAC))

    def encrypt_block(self, block: bytes) -> bytes:
        """AES-ECB of whole blocks."""
        return bytes(self.handle.encrypt(block, mechanism=Mechanism.AES_ECB))

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        return bytes(self.handle.encrypt(data, mechanism=Mechanism.AES_CBC, mechanism_param=iv))

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """AES-CBC of whole blocks, no padding."""
        return bytes(self.handle.decrypt(data, mechanism=Mechanism.AES_CBC, mechanism_param=iv))

    def __repr__(self) -> str:
        return "<TokenKey>"


def session_keys(session: Any, static: KeySet, context: bytes, bits: int, s_mac: TokenKey | None = None) -> SessionKeys:
    """The session keys as objects of the token (Amendment D 6.2.1); `s_mac` is one of them, if it was made before."""
    mac = s_mac if s_mac is not None else session_key(session, static.mac, S_MAC, context, bits)
    return SessionKeys(
        session_key(session, static.enc, S_ENC, context, bits),
        mac,
        session_key(session, static.mac, S_RMAC, context, bits),
    )


def session_key(session: Any, key: Any, constant: int, context: bytes, bits: int) -> TokenKey:
    """One session key for both challenges: of 128 bits it is made inside; a longer one crosses and goes back in."""
    if bits == _INSIDE_BITS:
        return _derived_inside(key, constant, context)
    return _imported(session, kdf(key, constant, context, bits))


def _derived_inside(key: TokenKey, constant: int, context: bytes) -> TokenKey:
    """CMAC of whole blocks as one derivation: E(chain of the blocks before xor the last block xor K1).

    The last block is the derivation's data and the chain its IV, so that the value never leaves.
    """
    (message,) = derivation_blocks(constant, context, _INSIDE_BITS)
    chain = key.encrypt_cbc(_ZERO, message[:-BLOCK_BYTES])[-BLOCK_BYTES:]
    last = xor(message[-BLOCK_BYTES:], subkey(key))
    derived = key.handle.derive_key(
        KeyType.AES,
        _INSIDE_BITS,
        mechanism=Mechanism.AES_CBC_ENCRYPT_DATA,
        mechanism_param=(chain, last),
        template=templates.session_key(),
    )
    return TokenKey(derived)


def _imported(session: Any, value: bytes) -> TokenKey:
    kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.VALUE: value}
    return TokenKey(session.create_object({**kind, **templates.session_key()}))


def subkey(key: TokenKey) -> bytes:
    """K1 of CMAC: what zeros encrypt to, one bit to the left, and 87 where one falls off (SP 800-38B, 6.1)."""
    value = int.from_bytes(key.encrypt_block(_ZERO)) << 1
    return ((value ^ 0x87) & ((1 << 128) - 1) if value >> 128 else value).to_bytes(BLOCK_BYTES)


def xor(one: bytes, other: bytes) -> bytes:
    """Bit by bit."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
