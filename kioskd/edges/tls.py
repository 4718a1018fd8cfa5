"""TLS contexts: 1.3 only, both sides with certificates of this installation's own authority."""

import ssl
from pathlib import Path

from kioskd.errors import BadConfiguration


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """A terminal's side; `BadConfiguration` if a file is no certificate or key."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca, certificate, key)


def server_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """The access server's side: whoever has no certificate of the authority is not spoken to."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca, certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=str(ca))
    except (ssl.SSLError, OSError) as wrong:
        raise BadConfiguration(f"{ca}: is not a certificate authority's file: {wrong}") from wrong
    try:
        # A password is never asked for: a daemon has nobody to ask.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as wrong:
        raise BadConfiguration(f"{certificate} and {key}: are not a certificate and its key: {wrong}") from wrong
    return context
