"""The keys that close and open a bundle, in software."""

import os

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from kioskd.errors import BadBundle, VaultError
from kioskd.rekey.bundle import Bundle, BundleContents, BundleHeader
from kioskd.rekey.bundle_check import MIN_RSA_BITS, check_bundle, load_public, spki_of
from kioskd.rekey.master_bundle import MasterBundle, MasterHeader
from kioskd.secret import Secret

RSA_BITS = 3072

Pair = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

# SHA-1 inside OAEP is not weak here, and it is what the smaller tokens have.
OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def make_rsa(bits: int) -> Secret:
    """A new RSA private key, PKCS#8; `VaultError` for fewer than 2048 bits."""
    if not MIN_RSA_BITS <= bits <= 8192:
        raise VaultError(f"an RSA pair has {MIN_RSA_BITS} to 8192 bits here, not {bits}")
    return _der(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def make_p256() -> Secret:
    """A new P-256 private key, PKCS#8."""
    return _der(ec.generate_private_key(ec.SECP256R1()))


def _der(private: Pair) -> Secret:
    der, pkcs8 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return Secret(private.private_bytes(der, pkcs8, serialization.NoEncryption()))


def load_private(pkcs8: Secret) -> rsa.RSAPrivateKey:
    """The RSA key of PKCS#8 DER; `VaultError` for anything else."""
    key = load_pair(pkcs8)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise VaultError("the private key is not RSA")
    return key


def load_pair(pkcs8: Secret, *, ours: bool = True) -> Pair:
    """An epoch's private key, RSA or P-256, of PKCS#8 DER; `VaultError` for anything else.

    The full check of its numbers takes a hundred times as long as its use; a key of our own seal was checked before.
    """
    try:
        key = serialization.load_der_private_key(pkcs8.reveal(), None, unsafe_skip_rsa_key_validation=ours)
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        raise VaultError("the private key is damaged") from wrong
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < MIN_RSA_BITS:
        raise VaultError(f"the private key is neither P-256 nor RSA with {MIN_RSA_BITS} bits or more")
    return key


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
        )
    except ValueError as wrong:
        raise BadBundle(f"bundle: {wrong}") from wrong
    return bundle.signed(signing.sign).encode()


def seal_master(header: MasterHeader, block: Secret, recipient: rsa.RSAPublicKey, signing: Ed25519PrivateKey) -> bytes:
    """A master bundle's file: the block under a fresh kek, that kek to the recipient, all of it signed."""
    kek = Secret(os.urandom(32))
    wrapped = aes_key_wrap(kek.reveal(), block.reveal())
    return MasterBundle(header, recipient.encrypt(kek.reveal(), OAEP), wrapped).signed(signing.sign).encode()


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
            private=_pkcs8(aes_key_unwrap_with_padding(kek, bundle.private)) if bundle.private else None,
        )
    except (ValueError, InvalidUnwrap) as wrong:
        raise BadBundle("bundle: does not open with the transport key") from wrong
    return bundle.header, _checked(contents)


def _pkcs8(unwrapped: bytes) -> Secret:
    """The key without the zeros that SoftHSM2 fills it up with before it wraps it."""
    length = len(unwrapped)
    if unwrapped[:2] == b"\x30\x82":
        length = 4 + int.from_bytes(unwrapped[2:4])
    elif unwrapped[:1] == b"\x30" and unwrapped[1] < 0x80:
        length = 2 + unwrapped[1]
    return Secret(unwrapped[:length] if not any(unwrapped[length:]) else unwrapped)


def _checked(contents: BundleContents) -> BundleContents:
    """Refuses a pair whose halves do not belong together."""
    try:
        public = load_public(contents.public)
        private = None if contents.private is None else load_pair(contents.private, ours=False)
    except VaultError as wrong:
        raise BadBundle(f"bundle: {wrong}") from wrong
    if private is not None and spki_of(private.public_key()) != spki_of(public):
        raise BadBundle("bundle: the epoch's private key is not that of its public key")
    return contents
