"""Signatures by a server's own certificate, and the check of both against the installation's authority."""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from kioskd.errors import BadConfiguration


def certificate_of(pem: bytes) -> bytes:
    """The certificate, DER; `BadConfiguration` for anything else."""
    try:
        return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    except ValueError as wrong:
        raise BadConfiguration("tls.certificate: is not a certificate in PEM") from wrong


def sign_with(key: bytes, text: bytes) -> bytes:
    """ECDSA with SHA-256 by the key (PEM) of a certificate; `BadConfiguration` for one that is not EC."""
    try:
        private = serialization.load_pem_private_key(key, None)
    except ValueError as wrong:
        raise BadConfiguration("tls.key: is not PEM") from wrong
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise BadConfiguration("tls.key: is not EC, and cannot sign a statement")
    return private.sign(text, ec.ECDSA(hashes.SHA256()))


def check_certified(text: bytes, signature: bytes, certificate: bytes, authority: bytes, at: int) -> None:
    """`BadConfiguration` unless a server's certificate (DER) of this authority (PEM), valid then, signed this."""
    try:
        signer, ca = x509.load_der_x509_certificate(certificate), x509.load_pem_x509_certificate(authority)
        signer.verify_directly_issued_by(ca)
        when = datetime.fromtimestamp(at, UTC)
        if not signer.not_valid_before_utc <= when <= signer.not_valid_after_utc:
            raise BadConfiguration("the statement's certificate was not valid when it was made")
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
            raise BadConfiguration("the statement's certificate is not a server's")
        key = signer.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadConfiguration("the statement's certificate is not EC")
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as wrong:
        raise BadConfiguration("the statement is not signed under this authority") from wrong
