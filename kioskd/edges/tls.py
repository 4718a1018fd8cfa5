"""TLS contexts: 1.3 only, both sides with certificates of this installation's own authority, except to enrol."""

import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kioskd.errors import BadConfiguration, Malformed
from kioskd.gp.tlv import TLV, parse_one

_SEQUENCE = 0x30
_UTC_TIME = 0x17

_FLIGHTS = 4
_NO_TIME = "Jan  1 00:00:00 1970 GMT"


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """A terminal's side; `BadConfiguration` if a file is no certificate or key."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca, certificate, key)


def authority_context(ca: Path) -> ssl.SSLContext:
    """A client's side that checks the server and shows no certificate; `BadConfiguration` if the file is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=str(ca))
    except (ssl.SSLError, OSError) as wrong:
        raise BadConfiguration(f"{ca}: is not a certificate authority's file: {_why(wrong)}") from wrong
    return context


def server_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """The access server's side: whoever has no certificate of the authority is not spoken to."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca, certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def enrolment_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """The access server's side of enrolment: it asks for no certificate, for who enrols has none yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _identify(context, certificate, key)
    return context


def enrolment_client_context() -> ssl.SSLContext:
    """A new terminal's side: no authority is known yet, so whoever uses this compares the server's fingerprint."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _context(protocol: int, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=str(ca))
    except (ssl.SSLError, OSError) as wrong:
        raise BadConfiguration(f"{ca}: is not a certificate authority's file: {_why(wrong)}") from wrong
    _identify(context, certificate, key)
    return context


def _identify(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # A password is never asked for: a daemon has nobody to ask.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as wrong:
        raise BadConfiguration(f"{certificate} and {key}: are not a certificate and its key: {_why(wrong)}") from wrong


def _why(wrong: OSError) -> str:
    """What OpenSSL means, for a person; its own words have a line number of its source."""
    if not isinstance(wrong, ssl.SSLError):
        return wrong.strerror or str(wrong)
    if wrong.reason == "KEY_VALUES_MISMATCH":
        return "the key is another certificate's"
    return "a certificate, or a key without a password, is missing in it (PEM)"


@dataclass(frozen=True, slots=True)
class Certified:
    """What an authority has certified of a terminal; times in seconds since 1970, the serial number in hex."""

    name: str
    role: str
    serial: str
    begin: int
    end: int


def examine(ca: Path, certificate: Path, key: Path) -> Certified:
    """What a client certificate says, after OpenSSL itself has taken it as a server would.

    `BadConfiguration` if key and certificate do not belong together, if the authorities in `ca` did not sign it, if it
    is not for clients, or not valid now.
    """
    client, server = client_context(ca, certificate, key), server_context(ca, certificate, key)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE  # the server's half is not looked at here
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours, theirs = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    try:
        for _ in range(_FLIGHTS):
            for side in (ours, theirs):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as wrong:
        raise BadConfiguration(f"{certificate}: is not accepted under {ca}: {wrong.verify_message}") from wrong
    except ssl.SSLError as wrong:
        raise BadConfiguration(f"{certificate}: TLS does not accept it: {wrong.reason}") from wrong
    told: Any = theirs.getpeercert() or {}
    names = {key: value for group in told.get("subject", ()) for key, value in group}
    return Certified(
        names.get("commonName", ""),
        names.get("organizationalUnitName", ""),
        told.get("serialNumber", ""),
        int(ssl.cert_time_to_seconds(told.get("notBefore", _NO_TIME))),
        int(ssl.cert_time_to_seconds(told.get("notAfter", _NO_TIME))),
    )


def validity(certificate: Path) -> tuple[float, float]:
    """From when to when a PEM certificate is valid, in seconds since 1970; `BadConfiguration` if it is none."""
    try:
        return validity_of(ssl.PEM_cert_to_DER_cert(_first(certificate.read_text(encoding="ascii"))))
    except OSError as wrong:
        raise BadConfiguration(f"{certificate}: cannot be read: {wrong.strerror}") from wrong
    except (ValueError, Malformed) as wrong:
        raise BadConfiguration(f"{certificate}: is not a certificate in PEM") from wrong


def validity_of(der: bytes) -> tuple[float, float]:
    """The same of a certificate in DER; `Malformed` if it is none.

    Read with the card language's own TLV codec: a kiosk does not load a library of certificates (RFC 5280, 4.1).
    """
    try:
        # Certificate { tbsCertificate { [0] version, serialNumber, signature, issuer, validity { from, to }, ...
        parts = parse_one(der, _SEQUENCE).children()[0].children()
        begin, end = parts[4].children()
        return _seconds(begin), _seconds(end)
    except (ValueError, IndexError) as wrong:
        raise Malformed("this is not a certificate") from wrong


def _first(text: str) -> str:
    end = "-----END CERTIFICATE-----"
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return text[begin : text.index(end, begin) + len(end)]


def _seconds(time: TLV) -> float:
    text = time.value.decode("ascii")
    if time.tag == _UTC_TIME:  # two digits of the year: 50 to 99 are 19xx
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
