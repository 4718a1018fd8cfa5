"""P-256 in a token: RND is agreed on, by a pair that lives as long as the call, and is never outside.

The KDF is NULL: the AES key is the x coordinate. A point is looked at before a token sees it: SoftHSM2 takes compressed
ones as well, which would be another label for the same key.
"""

from typing import Any, cast

from pkcs11 import KDF, Attribute, KeyType, Mechanism, ObjectClass, attributes
from pkcs11.constants import DEFAULT
from pkcs11.util.ec import encode_named_curve_parameters

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.templates import Template
from kioskd.rekey.bundle_check import POINT_BYTES, read_point

_P256 = encode_named_curve_parameters("secp256r1")
_OCTETS = bytes((0x04, POINT_BYTES))  # a point is a DER octet string in its attribute
_RND_BITS = 256

# NSS asks for the public half of a private key that it unwraps, in an attribute of its own.
_NSS_DB = cast(Attribute, 0xD5A0DB00)
attributes.ATTRIBUTE_TYPES[_NSS_DB] = attributes.ATTRIBUTE_TYPES[Attribute.ID]


def make_pair(session: Any, private: Template, label: str | None = None) -> tuple[Any, Any]:
    """A new pair, to last if it gets a label; its public half may do nothing."""
    parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
    made: tuple[Any, Any] = parameters.generate_keypair(
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        store=label is not None,
        label=label,
        public_template={Attribute.VERIFY: False},
        private_template=private,
    )
    return made


def agree(private: Any, point: bytes, template: Template) -> Any:
    """The AES-256 key that a private key and another's point make; `VaultError` for a point that is none."""
    read_point(point)
    return private.derive_key(
        KeyType.AES,
        _RND_BITS,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        template=template,
    )


def agree_once(session: Any, point: bytes, template: Template) -> tuple[Any, bytes]:
    """The key that a pair of this call and the point make, and the pair's own point."""
    public, private = make_pair(session, ephemeral_private())
    try:
        return agree(private, point, template), point_in(public)
    finally:
        public.destroy()
        private.destroy()


def point_in(public: Any) -> bytes:
    """The uncompressed point of a public key in the token."""
    return bytes(public[Attribute.EC_POINT])[-POINT_BYTES:]


def unwrap_pair(
    kek: Any, wrapped: bytes, mechanism: Mechanism, template: Template, point: bytes, *, nss: bool, label: str | None
) -> Any:
    """A P-256 private key, PKCS#8, from under an AES key."""
    own = {_NSS_DB: _OCTETS + point} if nss else {}
    return kek.unwrap_key(
        ObjectClass.PRIVATE_KEY, KeyType.EC, wrapped, label=label, mechanism=mechanism, template={**template, **own}
    )


def is_curve(key: Any) -> bool:
    """Whether a key of a pair in the token is one of P-256."""
    return bool(key.key_type is KeyType.EC)


def ephemeral_private() -> Template:
    """The private half of a pair that lives as long as one call."""
    return {
        Attribute.SIGN: False,
        Attribute.DERIVE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
    }


def agreeing_private(*, lasting: bool = True) -> Template:
    """An epoch's private key: agrees on RND, and is nothing else."""
    return templates.unwrapping_private(lasting=lasting, bounded=False) | {
        Attribute.UNWRAP: DEFAULT,
        Attribute.DERIVE: True,
    }


def transferred_private() -> Template:
    """An epoch's private key where it is made: extractable for transfer; no other use."""
    return ephemeral_private() | {Attribute.DERIVE: False, Attribute.EXTRACTABLE: True}


def restored_private() -> Template:
    """The same where it is taken in from a backup."""
    return agreeing_private() | {Attribute.DERIVE: DEFAULT, Attribute.EXTRACTABLE: True}


def public_of(label: str, point: bytes) -> Template:
    """An epoch's public key: it is only read."""
    return {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.EC,
        Attribute.LABEL: label,
        Attribute.EC_PARAMS: _P256,
        Attribute.EC_POINT: _OCTETS + point,
        Attribute.VERIFY: False,
        Attribute.TOKEN: True,
    }
