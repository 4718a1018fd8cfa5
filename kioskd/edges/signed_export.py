"""Which card holds which key set, for the issuer's other systems: CSV in a CMS signature by this server's certificate.

OpenSSL checks it and prints the table (`verify_command`). It names no key.
"""

import csv
import io

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from kioskd.errors import BadConfiguration
from kioskd.rekey.campaign import CardRow

COLUMNS = ("card", "generation", "kvn", "install", "epoch", "state", "keys")


def verify_command(ca: str, file: str) -> str:
    """How to check an export; the certificate is a server's, so its purpose must be any."""
    return f"openssl cms -verify -binary -purpose any -inform PEM -CAfile {ca} -in {file}"


def table_of(rows: tuple[CardRow, ...]) -> bytes:
    """The CSV table: a card in doubt or in the midst of a replacement has the state `open`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in rows:
        state = "open" if one.open else "proven"
        writer.writerow((str(one.card), one.generation, f"{one.kvn:02X}", one.install, one.epoch, state, one.keys))
    return text.getvalue().encode()


def sign(content: bytes, certificate: bytes, key: bytes) -> bytes:
    """The content inside a CMS SignedData, PEM; `BadConfiguration` for a certificate or key that cannot sign."""
    try:
        signer = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
    except ValueError as wrong:
        raise BadConfiguration("tls.certificate or tls.key: is not PEM") from wrong
    if not isinstance(private, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise BadConfiguration("tls.key: is neither EC nor RSA, and cannot sign an export")
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(signer, private, hashes.SHA256())
    return builder.sign(serialization.Encoding.PEM, [pkcs7.PKCS7Options.Binary])
