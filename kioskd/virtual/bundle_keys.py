"""The keys that close and open a bundle, in software."""

import os
from dataclasses import replace
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from kioskd.errors import BadBundle, BadConfiguration, VaultError
from kioskd.rekey.bundle import Bundle, BundleContents, BundleHeader
from kioskd.rekey.campaign import DisarmOrder
from kioskd.secret import Secret

MIN_RSA_BITS = 2048
RSA_BITS = 3072
OAEP_HASH = "SHA1"

# SHA-1 inside OAEP is not weak here, and it is what the smaller tokens have.
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303

_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo

PublicKey = rsa.RSAPublicKey | Ed25519PublicKey


def make_rsa(bits: int) -> Secret:
    """A new RSA private key, PKCS#8; `VaultError` for fewer than 2048 bits."""
    if not MIN_RSA_BITS <= bits <= 8192:
        raise VaultError(f"an RSA pair has {MIN_RSA_BITS} to 8192 bits here, not {bits}")
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    der, pkcs8 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return Secret(private.private_bytes(der, pkcs8, serialization.NoEncryption()))


def load_private(pkcs8: Secret, *, ours: bool = True) -> rsa.RSAPrivateKey:
    """The RSA key of PKCS#8 DER; `VaultError` for anything else.

    The full check of its numbers takes a hundred times as long as its use; a key of our own seal was checked before.
    """
    try:
        key = serialization.load_der_private_key(pkcs8.reveal(), None, unsafe_skip_rsa_key_validation=ours)
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        raise VaultError("the private key is damaged") from wrong
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise VaultError(f"the private key is not RSA with {MIN_RSA_BITS} bits or more")
    return key


def load_public(spki: bytes) -> rsa.RSAPublicKey:
    """The RSA key of SubjectPublicKeyInfo DER; `VaultError` for anything else."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise VaultError("the public key is damaged") from wrong
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise VaultError(f"the public key is not RSA with {MIN_RSA_BITS} bits or more")
    return key


def read_transport_key(pem: bytes) -> rsa.RSAPublicKey:
    """An access server's transport key from PEM; `BadConfiguration` for anything else."""
    key = _read_pem(pem, "transport key")
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise BadConfiguration(f"transport key: is not RSA with {MIN_RSA_BITS} bits or more")
    return key


def read_kms_key(pem: bytes) -> Ed25519PublicKey:
    """The key management server's key from PEM; `BadConfiguration` for anything else."""
    key = _read_pem(pem, "KMS key")
    if not isinstance(key, Ed25519PublicKey):
        raise BadConfiguration("KMS key: is not Ed25519")
    return key


def _read_pem(pem: bytes, what: str) -> object:
    try:
        return serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise BadConfiguration(f"{what}: is not a public key in PEM") from wrong


def spki_of(key: PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo, DER."""
    return key.public_bytes(serialization.Encoding.DER, _SPKI)


def pem_of(key: PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo, PEM."""
    return key.public_bytes(serialization.Encoding.PEM, _SPKI)


def fingerprint_of(key: PublicKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    return sha256(spki_of(key)).digest()


def seal_bundle(
    header: BundleHeader, contents: BundleContents, recipient: rsa.RSAPublicKey, signing: Ed25519PrivateKey
) -> bytes:
    """A bundle file: each key under a fresh kek, that kek to the recipient, all of it signed.

    `BadBundle` if the contents are not those of the header's purpose.
    """
    kek = Secret(os.urandom(32))
    private = contents.private
    try:
        bundle = Bundle(
            header=header,
            kek=recipient.encrypt(kek.reveal(), OAEP),
            mkdb=aes_key_wrap(kek.reveal(), contents.mkdb.reveal()),
            krkdb=aes_key_wrap(kek.reveal(), contents.krkdb.reveal()),
            public=contents.public,
            private=b"" if private is None else aes_key_wrap_with_padding(kek.reveal(), private.reveal()),
            signature=b"",
        )
    except ValueError as wrong:
        raise BadBundle(f"bundle: {wrong}") from wrong
    return replace(bundle, signature=signing.sign(bundle.signed_part())).encode()


def open_bundle(
    raw: bytes, sender: Ed25519PublicKey, transport: rsa.RSAPrivateKey, now: int
) -> tuple[BundleHeader, BundleContents]:
    """A bundle's header and keys; `BadBundle` unless `sender` signed it, for this key, for this time."""
    bundle = Bundle.decode(raw)
    check_bundle(bundle, sender, transport.public_key(), now)
    try:
        kek = transport.decrypt(bundle.kek, OAEP)
        contents = BundleContents(
            mkdb=Secret(aes_key_unwrap(kek, bundle.mkdb)),
            krkdb=Secret(aes_key_unwrap(kek, bundle.krkdb)),
            public=bundle.public,
            private=Secret(aes_key_unwrap_with_padding(kek, bundle.private)) if bundle.private else None,
        )
    except (ValueError, InvalidUnwrap) as wrong:
        raise BadBundle("bundle: does not open with the transport key") from wrong
    return bundle.header, _checked(contents)


def check_bundle(bundle: Bundle, sender: Ed25519PublicKey, transport: rsa.RSAPublicKey, now: int) -> None:
    """`BadBundle` unless `sender` signed it, for this transport key, for this time; no private key is used."""
    header = bundle.header
    try:
        sender.verify(bundle.signature, bundle.signed_part())
    except InvalidSignature as wrong:
        raise BadBundle("bundle: altered, or signed by another key management server") from wrong
    if header.recipient != fingerprint_of(transport):
        raise BadBundle("bundle: is for another access server")
    if now < header.not_before:
        raise BadBundle("bundle: may not be imported yet")
    if now > header.not_after:
        raise BadBundle("bundle: has expired")


def check_order(order: DisarmOrder, sender: Ed25519PublicKey, transport: rsa.RSAPublicKey, now: int) -> None:
    """`BadBundle` unless `sender` signed the order, for the server of this transport key, for this time."""
    try:
        sender.verify(order.signature, order.signed_part())
    except InvalidSignature as wrong:
        raise BadBundle("order: altered, or signed by another key management server") from wrong
    if order.recipient != fingerprint_of(transport):
        raise BadBundle("order: is for another access server")
    if not order.not_before <= now <= order.not_after:
        raise BadBundle("order: is not for this time")


def _checked(contents: BundleContents) -> BundleContents:
    """Refuses a pair whose halves do not belong together."""
    try:
        public = load_public(contents.public)
        private = None if contents.private is None else load_private(contents.private, ours=False)
    except VaultError as wrong:
        raise BadBundle(f"bundle: {wrong}") from wrong
    if private is not None and spki_of(private.public_key()) != spki_of(public):
        raise BadBundle("bundle: the epoch's private key is not that of its public key")
    return contents
