"""The public side of bundles and orders: whose they are, for whom, for when. No private key is used here."""

from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kioskd.errors import BadBundle, BadConfiguration, VaultError
from kioskd.rekey.bundle import Bundle
from kioskd.rekey.campaign import DisarmOrder

MIN_RSA_BITS = 2048
POINT_BYTES = 65
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo

EpochKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PublicKey = EpochKey | Ed25519PublicKey


def load_public(spki: bytes) -> EpochKey:
    """An epoch's public key, RSA or P-256, of SubjectPublicKeyInfo DER; `VaultError` for anything else."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise VaultError("the public key is damaged") from wrong
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise VaultError(f"the public key is neither P-256 nor RSA with {MIN_RSA_BITS} bits or more")
    return key


def point_of(spki: bytes) -> bytes | None:
    """The uncompressed point of a P-256 key, 65 bytes; None of an RSA key."""
    key = load_public(spki)
    if isinstance(key, rsa.RSAPublicKey):
        return None
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def read_point(point: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of an uncompressed point; `VaultError` for one that is not on the curve, or of another form."""
    if len(point) != POINT_BYTES:
        raise VaultError(f"a point of P-256 has {POINT_BYTES} bytes, not {len(point)}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as wrong:
        raise VaultError("the cryptogram is not a point of P-256") from wrong


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


def spki_of_pem(pem: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a transport key's PEM, DER."""
    return spki_of(read_transport_key(pem))


def ed25519_pem(point: bytes) -> bytes:
    """The Ed25519 public key of these 32 bytes, PEM."""
    return pem_of(Ed25519PublicKey.from_public_bytes(point))


def ed25519_verifies(key: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the signature over the text is that of the Ed25519 key of 32 bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def ed25519_raw(pem: bytes) -> bytes:
    """The 32 bytes of an Ed25519 public key in PEM; `BadConfiguration` for anything else."""
    return read_kms_key(pem).public_bytes_raw()


def rsa_numbers(spki: bytes) -> tuple[bytes, bytes]:
    """Modulus and public exponent of an RSA key, big-endian without leading zeros; `VaultError` for anything else."""
    key = load_public(spki)
    if not isinstance(key, rsa.RSAPublicKey):
        raise VaultError("the public key is not RSA")
    numbers = key.public_numbers()
    modulus, exponent = (one.to_bytes((one.bit_length() + 7) // 8) for one in (numbers.n, numbers.e))
    return modulus, exponent


def rsa_pem(modulus: bytes, exponent: bytes) -> bytes:
    """The RSA public key of these numbers, PEM."""
    return pem_of(rsa.RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key())


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
