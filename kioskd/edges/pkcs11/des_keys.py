"""3DES keys in a token as `gp.keys.DESBlockKey`: they work without being read. SCP02's session keys, made inside.

    session key      DES3_CBC_ENCRYPT_DATA of the static key over the derivation data: the value itself
    its first half   DES3_ECB_ENCRYPT_DATA over the data's first block, three times: K1 | K1 | K1, which is single DES

The binding has no names for the parameters of these two: they are packed here. Tokens set the parity bits, which mean
nothing. A token has no retail MAC: it is CBC under the first half, and the last block under the whole key.
"""

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.constants import DEFAULT

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.templates import Template
from kioskd.gp.des import DES_BLOCK_BYTES, S_DEK, S_ENC, S_MAC, S_RMAC, SCP02SessionKeys, derivation_data

_ZERO = bytes(DES_BLOCK_BYTES)
_BITS = {KeyType.DES2: 128, KeyType.DES3: 192}


class TokenDESKey:
    """A two-key 3DES key whose value stays in the token; `single` is its first half, where it computes MACs."""

    __slots__ = ("handle", "single")

    def __init__(self, handle: Any, single: Any = None) -> None:
        self.handle = handle
        self.single = single

    def encrypt_block(self, data: bytes) -> bytes:
        """3DES-ECB of whole blocks of 8 bytes."""
        return bytes(self.handle.encrypt(data, mechanism=Mechanism.DES3_ECB))

    def encrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        return bytes(self.handle.encrypt(data, mechanism=Mechanism.DES3_CBC, mechanism_param=iv))

    def decrypt_cbc(self, iv: bytes, data: bytes) -> bytes:
        """3DES-CBC of whole blocks of 8 bytes, no padding."""
        return bytes(self.handle.decrypt(data, mechanism=Mechanism.DES3_CBC, mechanism_param=iv))

    def encrypt_single(self, block: bytes) -> bytes:
        """Single DES under the key's first half, one block of 8 bytes."""
        return bytes(self.single.encrypt(block, mechanism=Mechanism.DES3_ECB))

    def retail_mac(self, icv: bytes, data: bytes) -> bytes:
        """ISO 9797-1 MAC algorithm 3 of whole blocks: DES-CBC under the first half, 3DES for the last block."""
        before, last = data[:-DES_BLOCK_BYTES], data[-DES_BLOCK_BYTES:]
        if before:
            chain = self.single.encrypt(before, mechanism=Mechanism.DES3_CBC, mechanism_param=icv)
            icv = bytes(chain)[-DES_BLOCK_BYTES:]
        return self.encrypt_cbc(icv, last)

    def destroy(self) -> None:
        """Ends the session objects."""
        for one in (self.handle, self.single):
            if one is not None:
                one.destroy()

    def __repr__(self) -> str:
        return "<TokenDESKey>"


@dataclass(frozen=True, slots=True)
class TokenDESSet:
    """The members of a 3DES set; those of the factory stay in the token."""

    enc: TokenDESKey
    mac: TokenDESKey
    dek: TokenDESKey
    lasting: bool = False
    unlock: TokenDESKey | None = None  # the fourth member of a KRK's set on cards with an executive

    def __iter__(self) -> Iterator[TokenDESKey]:
        return iter((self.enc, self.mac, self.dek))

    @property
    def members(self) -> tuple[TokenDESKey, ...]:
        """Every key of the set, in the order of their key identifiers."""
        return (*self, *((self.unlock,) if self.unlock is not None else ()))

    def destroy(self) -> None:
        """Ends the session objects."""
        if not self.lasting:
            for one in self.members:
                one.destroy()


def session_enc(static: TokenDESSet, sequence: bytes) -> TokenDESKey:
    """S-ENC alone: it proves the card."""
    return TokenDESKey(_derived(static.enc, derivation_data(S_ENC, sequence), templates.des_session_key()))


def session_keys(static: TokenDESSet, sequence: bytes) -> SCP02SessionKeys[TokenDESKey]:
    """The session keys as objects of the token, or an error and no object left behind."""
    made: list[TokenDESKey] = []
    try:
        made.append(session_enc(static, sequence))
        made.extend(_mac_key(static.mac, derivation_data(one, sequence)) for one in (S_MAC, S_RMAC))
        made.append(TokenDESKey(_derived(static.dek, derivation_data(S_DEK, sequence), templates.des_session_dek())))
    except BaseException:
        for one in made:
            one.destroy()
        raise
    return SCP02SessionKeys(*made)


def destroy(keys: SCP02SessionKeys[TokenDESKey]) -> None:
    """Ends all of them."""
    for one in (keys.enc, keys.mac, keys.rmac, keys.dek):
        one.destroy()


def des_child(
    key: Any, mechanism: Mechanism, parameter: bytes, template: Template, kind: KeyType = KeyType.DES2
) -> Any:
    """A 3DES key by a derivation: of 16 bytes, or of 24. Its type says how long it is, no attribute may."""
    return key.derive_key(
        kind,
        _BITS[kind],
        mechanism=mechanism,
        mechanism_param=parameter,
        template=template | {Attribute.VALUE_LEN: DEFAULT},
    )


def encrypted_key(key: Any, data: bytes, template: Template, kind: KeyType = KeyType.DES2) -> Any:
    """3DES-ECB of the data as a new key."""
    held = ctypes.create_string_buffer(data, len(data))  # outlives the call
    parameter = struct.pack("@PL", ctypes.addressof(held), len(data))
    return des_child(key, Mechanism.DES3_ECB_ENCRYPT_DATA, parameter, template, kind)


def _derived(key: TokenDESKey, data: bytes, template: Template) -> Any:
    """3DES-CBC of the data, zero IV, as a new key."""
    held = ctypes.create_string_buffer(data, len(data))
    parameter = struct.pack("@8sPL", _ZERO, ctypes.addressof(held), len(data))
    return des_child(key.handle, Mechanism.DES3_CBC_ENCRYPT_DATA, parameter, template)


def _mac_key(key: TokenDESKey, data: bytes) -> TokenDESKey:
    """A session key with its first half, which is what CBC with a zero IV makes of the first block."""
    whole = _derived(key, data, templates.des_session_key())
    try:
        thrice = 3 * data[:DES_BLOCK_BYTES]
        return TokenDESKey(whole, encrypted_key(key.handle, thrice, templates.des_session_key(), KeyType.DES3))
    except BaseException:
        whole.destroy()
        raise
