"""Wrapping and unwrapping in a token: the three ways in which keys travel, each written once.

RSA-OAEP with SHA-1   RND to an epoch's public key, a bundle's kek to a transport key. SHA-1 is not weak in OAEP
RFC 3394              blocks and session keys
RFC 5649              private keys
"""

from typing import Any

from pkcs11 import MGF, KeyType, Mechanism, ObjectClass

from kioskd.edges.pkcs11.templates import Template

_OAEP = (Mechanism.SHA_1, MGF.SHA1, None)


def wrap_to(public: Any, key: Any) -> bytes:
    """A secret key to an RSA public key."""
    return bytes(public.wrap_key(key, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=_OAEP))


def unwrap_by(private: Any, wrapped: bytes, template: Template) -> Any:
    """An AES key that was wrapped to this private key's public half."""
    return _unwrapped(private, wrapped, template, None, Mechanism.RSA_PKCS_OAEP, _OAEP)


def wrap_secret(kek: Any, key: Any) -> bytes:
    """A secret key under an AES key."""
    return bytes(kek.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP))


def unwrap_secret(
    kek: Any, wrapped: bytes, template: Template, label: str | None = None, kind: KeyType = KeyType.AES
) -> Any:
    """A secret key from under an AES key; it is an AES key unless its kind is told."""
    return _unwrapped(kek, wrapped, template, label, Mechanism.AES_KEY_WRAP, kind=kind)


def unwrap_private(kek: Any, wrapped: bytes, mechanism: Mechanism, template: Template, label: str | None = None) -> Any:
    """An RSA private key, PKCS#8, from under an AES key; the mechanism's name is the token's own."""
    return kek.unwrap_key(
        ObjectClass.PRIVATE_KEY, KeyType.RSA, wrapped, label=label, mechanism=mechanism, template=template
    )


def _unwrapped(
    key: Any,
    wrapped: bytes,
    template: Template,
    label: str | None,
    mechanism: Mechanism,
    parameter: Any = None,
    kind: KeyType = KeyType.AES,
) -> Any:
    return key.unwrap_key(
        ObjectClass.SECRET_KEY,
        kind,
        wrapped,
        label=label,
        mechanism=mechanism,
        mechanism_param=parameter,
        template=template,
    )
