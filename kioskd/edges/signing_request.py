"""Signing requests, at both ends: a terminal makes a key and asks, an authority looks at what it is asked, by x509."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kioskd.edges.certificates import PublicKey
from kioskd.errors import BadSigningRequest
from kioskd.secret import Secret

RSA_BITS = (2048, 4096)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def new_key() -> Secret:
    """A new P-256 key, PEM."""
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return Secret(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


def signing_request(key: Secret, role: str, name: str) -> bytes:
    """The request of a terminal for its own key, PEM: CN = name, OU = role."""
    private = serialization.load_pem_private_key(key.reveal(), password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(private, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def read_request(pem: str) -> tuple[PublicKey, str]:
    """The key that a request asks for, and the common name it gives (empty for none): nothing else in it counts.

    `BadSigningRequest` if it is no request, is not signed by its own key, or if the key is of a kind that is not
    taken: P-256, or RSA of 2048 to 4096 bits with exponent 65537.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key, signed = request.public_key(), request.is_signature_valid
        hashed = request.signature_hash_algorithm
        names = [one.value for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as wrong:
        raise BadSigningRequest("the signing request is not one in PEM, or of a kind that is not known") from wrong
    taken = _taken(key)
    if not signed or not isinstance(hashed, _HASHES):
        raise BadSigningRequest("the signing request is not signed by its own key with SHA-256 or better")
    if len(names) > 1 or not all(isinstance(name, str) for name in names):
        raise BadSigningRequest("the signing request gives more than one name")
    return taken, str(names[0]) if names else ""


def _taken(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    least, most = RSA_BITS
    if isinstance(key, rsa.RSAPublicKey) and least <= key.key_size <= most and key.public_numbers().e == 65537:
        return key
    raise BadSigningRequest(f"the signing request's key is not taken: P-256, or RSA of {RSA_BITS[0]} to {RSA_BITS[1]}")
