"""The authority that signs for terminals which enrol, and what people compare of the server's own certificate."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kioskd.edges.certificates import PublicKey, Role, load_authority, sign_client
from kioskd.edges.enrolments import Given, serial_text
from kioskd.errors import BadConfiguration, EnrolmentRefused
from kioskd.public_file import read_public

CLOCK_SLACK = timedelta(minutes=5)
SLACK_PART = 10
"""A certificate begins a tenth of its life ago, at most five minutes: clocks differ."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A new certificate, PEM, and what is written down of it."""

    pem: str
    given: Given


class EnrollingAuthority:
    """A CA whose certificates this access server itself takes from its terminals."""

    def __init__(self, certificate: Path, key: Path, trusted: Path, days: float) -> None:
        """`BadConfiguration` if it is no CA, has ended, or is not among those that `trusted` names."""
        self._authority = load_authority(certificate, key)
        self._life = timedelta(days=days)
        self.trusted = read_public(trusted).decode("ascii", "replace")
        ca = self._authority.certificate
        if not _is_ca(ca):
            raise BadConfiguration(f"{certificate}: is no certificate authority's")
        if ca.not_valid_after_utc <= datetime.now(UTC):
            raise BadConfiguration(f"{certificate}: has ended; no certificate can be given out under it")
        if ca not in _certificates(trusted):
            raise BadConfiguration(
                f"{certificate}: is not in {trusted}, so that what it signs would not be let in here"
            )

    def sign(self, key: PublicKey, role: str, name: str) -> Signed:
        """A certificate for a terminal's key, valid from now on; never longer than the authority itself."""
        now = datetime.now(UTC).replace(microsecond=0)
        ca = self._authority.certificate
        begin = max(now - min(CLOCK_SLACK, self._life / SLACK_PART), ca.not_valid_before_utc)
        end = min(now + self._life, ca.not_valid_after_utc)
        if end <= now:
            raise EnrolmentRefused("the access server's authority has ended; tell its operator")
        made = sign_client(self._authority, key, Role(role), name, (begin, end))
        begin, end = made.not_valid_before_utc, made.not_valid_after_utc
        given = Given(serial_text(made.serial_number), name, role, int(begin.timestamp()), int(end.timestamp()))
        return Signed(made.public_bytes(serialization.Encoding.PEM).decode(), given)


def fingerprint_of(certificate: Path) -> str:
    """The SHA-256 of a certificate file's first certificate, hex."""
    der = _certificates(certificate)[0].public_bytes(serialization.Encoding.DER)
    return sha256(der).hexdigest().upper()


def first_host(certificate: Path) -> str:
    """The first name or address that a server's certificate is for; empty if it gives none."""
    try:
        names = _certificates(certificate)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    hosts = [
        *(str(one) for one in names.get_values_for_type(x509.DNSName)),
        *(f"[{one}]" if one.version == 6 else str(one) for one in names.get_values_for_type(x509.IPAddress)),
    ]
    return hosts[0] if hosts else ""


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_public(file))
    except ValueError as wrong:
        raise BadConfiguration(f"{file}: has no certificate in PEM") from wrong


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
