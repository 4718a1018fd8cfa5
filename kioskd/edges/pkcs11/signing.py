"""Ed25519 in a token: the key management server's signing key, a custodian's personal key. Made there, never read."""

from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.token import Token
from kioskd.errors import VaultError

_EDWARDS25519 = b"\x13\x0cedwards25519"
_KEY_BYTES = 32


def make_signing_pair(token: Token, label: str) -> None:
    """A pair of that label, to last; `VaultError` if there is one, or if the token has no Ed25519, as NSS 3.87."""
    with token.guard(f"token {token.label}"):
        if token.find(ObjectClass.PRIVATE_KEY, label) is not None:
            raise VaultError(f"token {token.label}: has a key {label!r} already")
        curve = {Attribute.EC_PARAMS: _EDWARDS25519}
        parameters = token.session.create_domain_parameters(KeyType.EC_EDWARDS, curve, local=True)
        parameters.generate_keypair(
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            store=True,
            label=label,
            public_template={Attribute.VERIFY: True},
            private_template=templates.signing_private(),
        )


def signature(token: Token, label: str, text: bytes) -> bytes:
    """An Ed25519 signature, 64 bytes."""
    with token.guard("signature"):
        return bytes(_need(token, ObjectClass.PRIVATE_KEY, label).sign(text, mechanism=Mechanism.EDDSA))


def public_bytes(token: Token, label: str) -> bytes:
    """The public key, 32 bytes."""
    with token.guard("signing key"):
        return bytes(_need(token, ObjectClass.PUBLIC_KEY, label)[Attribute.EC_POINT])[-_KEY_BYTES:]


def _need(token: Token, kind: ObjectClass, label: str) -> Any:
    found = token.find(kind, label)
    if found is None:
        raise VaultError(f"token {token.label}: has no key {label!r}")
    return found
