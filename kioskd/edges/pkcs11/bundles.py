"""A bundle's keys, taken into the token: only the wrapped forms are ever outside.

The signature, the recipient and the window are checked before the token is asked.
"""

from dataclasses import dataclass, field
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, exceptions

from kioskd.edges.pkcs11 import curve, templates
from kioskd.edges.pkcs11.templates import Template
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_by, unwrap_private, unwrap_secret
from kioskd.errors import BadBundle
from kioskd.gp.keys import BLOCK_BYTES
from kioskd.rekey.bundle import Bundle
from kioskd.rekey.bundle_check import (
    check_bundle,
    load_public,
    point_of,
    read_kms_key,
    read_point,
    read_transport_key,
    rsa_numbers,
    rsa_pem,
    spki_of,
    spki_of_pem,
)

_PROBE = b"kioskd: same key"


@dataclass(slots=True)
class Opened:
    """A bundle whose keys are session objects; `keep_...` makes them last, under a label."""

    token: Token
    bundle: Bundle
    kek: Any
    mkdb: Any
    krkdb: Any
    objects: list[Any] = field(default_factory=list)

    def keep_mkdb(self, label: str) -> None:
        """MKDB as a token object."""
        unwrap_secret(self.kek, self.bundle.mkdb, templates.mkdb(bounded=self.token.bounded), label)

    def keep_krkdb(self, label: str) -> None:
        """KRKDB as a token object."""
        unwrap_secret(self.kek, self.bundle.krkdb, templates.krkdb(bounded=self.token.bounded), label)

    def keep_public(self, label: str) -> None:
        """The epoch's public key."""
        self.token.session.create_object(public_template(label, self.bundle.public))

    def keep_private(self, label: str) -> None:
        """The epoch's private key."""
        _private(self.token, self.kek, self.bundle, label)


def open_bundle(token: Token, bundle: Bundle, kms_key: bytes, transport: Any, transport_pem: bytes, now: int) -> Opened:
    """The bundle's keys in the token; `BadBundle` if it is not for this server and time, or does not open."""
    check_bundle(bundle, read_kms_key(kms_key), read_transport_key(transport_pem), now)
    load_public(bundle.public)
    made: list[Any] = []
    try:
        kek = unwrap_by(transport, bundle.kek, templates.kek())
        made.append(kek)
        mkdb = unwrap_secret(kek, bundle.mkdb, templates.mkdb(bounded=token.bounded) | {Attribute.TOKEN: False})
        made.append(mkdb)
        krkdb = unwrap_secret(kek, bundle.krkdb, templates.krkdb(bounded=token.bounded) | {Attribute.TOKEN: False})
        made.append(krkdb)
        if bundle.private:
            private = _private(token, kek, bundle)
            made.append(private)
            if not _belongs(token, private, bundle.public):
                raise BadBundle("bundle: the epoch's private key is not that of its public key")
    except exceptions.PKCS11Error as wrong:
        shut = token.blame(wrong, BadBundle(f"bundle: does not open with the transport key ({type(wrong).__name__})"))
        _destroy(made)
        raise shut from wrong
    except BadBundle:
        _destroy(made)
        raise
    return Opened(token, bundle, kek, mkdb, krkdb, made)


def _destroy(objects: list[Any]) -> None:
    for one in objects:
        one.destroy()


def _private(token: Token, kek: Any, bundle: Bundle, label: str | None = None) -> Any:
    """The epoch's private key, to last if it gets a label."""
    lasting = label is not None
    rsa, p256 = (
        templates.unwrapping_private(lasting=lasting, bounded=token.bounded),
        curve.agreeing_private(lasting=lasting),
    )
    return take_private(token, kek, bundle.private, bundle.public, rsa=rsa, p256=p256, label=label)


def take_private(
    token: Token, kek: Any, wrapped: bytes, public: bytes, *, rsa: Template, p256: Template, label: str | None
) -> Any:
    """A private key from under a kek, by what its public half (SubjectPublicKeyInfo) says that it is."""
    point = point_of(public)
    if point is None:
        return unwrap_private(kek, wrapped, token.private_key_wrap, rsa, label)
    nss = not token.bounded
    return curve.unwrap_pair(kek, wrapped, token.private_key_wrap, p256, point, nss=nss, label=label)


def _belongs(token: Token, private: Any, public: bytes) -> bool:
    """Whether a private key in the token is that of a public key: by its modulus, or by what both agree on."""
    point = point_of(public)
    if point is None:
        modulus, _ = rsa_numbers(public)
        return bytes(private[Attribute.MODULUS]).lstrip(b"\x00") == modulus
    ours, theirs = curve.agree_once(token.session, point, templates.opened_session_key())
    agreed = curve.agree(private, theirs, templates.opened_session_key())
    return destroyed_after([ours, agreed], lambda: same_block(ours, agreed))


def public_template(label: str, public: bytes) -> Template:
    """An epoch's public key (SubjectPublicKeyInfo) as an object."""
    point = point_of(public)
    return curve.public_of(label, point) if point else templates.wrapping_public(label, *rsa_numbers(public))


def same_block(one: Any, other: Any) -> bool:
    """Whether two unreadable blocks are alike, by what they compute."""
    return _probe(one) == _probe(other)


def _probe(block: Any) -> bytes:
    if block[Attribute.SIGN]:
        return bytes(block.sign(_PROBE, mechanism=Mechanism.AES_CMAC))
    template = templates.opened_session_key()
    derived = block.derive_key(
        KeyType.AES,
        8 * BLOCK_BYTES,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=_PROBE,
        template=template,
    )
    try:
        return bytes(derived.sign(_PROBE, mechanism=Mechanism.AES_CMAC))
    finally:
        derived.destroy()


def public_spki(key: Any) -> bytes:
    """A public key of the token, RSA or P-256, as SubjectPublicKeyInfo, DER."""
    if curve.is_curve(key):
        return spki_of(read_point(curve.point_in(key)))
    return spki_of_pem(public_pem(key))


def public_pem(key: Any) -> bytes:
    """An RSA public key of the token as SubjectPublicKeyInfo, PEM."""
    return rsa_pem(bytes(key[Attribute.MODULUS]), bytes(key[Attribute.PUBLIC_EXPONENT]))
