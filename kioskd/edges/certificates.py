"""Certificates of a small installation: one CA, EC P-256, leaves for the access server and its clients.

A client's common name is its own name, its organisational unit is its role. Keys are written 0600 and never twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kioskd.errors import BadConfiguration, VaultError
from kioskd.private_file import read_private, write_private

CA_DAYS = 3650
SERVER_DAYS = 397
CLIENT_DAYS = 397
_CLOCK_SLACK = timedelta(minutes=5)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a client may be."""

    KIOSK = "kiosk"
    STATION = "station"
    OPERATOR = "operator"
    CUSTODIAN = "custodian"
    ACCESS = "access"  # an access server, where it is a client of the key management server


@dataclass(frozen=True, slots=True)
class Issued:
    """Where a certificate and its key were written."""

    certificate: Path
    key: Path


PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create_ca(ca_dir: Path, name: str, days: int = CA_DAYS, not_before: datetime | None = None) -> Issued:
    """A new CA in `ca_dir` (made if absent): ca.crt and ca.key; `BadConfiguration` if there is one already."""
    check_name(name)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key.public_key(), key.public_key(), _window(days, not_before))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    return _write(ca_dir, "ca", key, builder.sign(key, hashes.SHA256()))


def issue_server(
    ca_dir: Path,
    name: str,
    hosts: tuple[str, ...],
    out_dir: Path,
    days: int = SERVER_DAYS,
    not_before: datetime | None = None,
) -> Issued:
    """A server certificate for these DNS names and IP addresses: NAME.crt and NAME.key in `out_dir`."""
    check_name(name)
    if not hosts:
        raise BadConfiguration("a server certificate needs at least one host name or address")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    authority, key = _authority(ca_dir), ec.generate_private_key(ec.SECP256R1())
    window = _window(days, not_before)
    signed = _sign(authority, key.public_key(), subject, names, ExtendedKeyUsageOID.SERVER_AUTH, window)
    return _write(out_dir, name, key, signed)


def issue_client(
    ca_dir: Path, role: Role, name: str, out_dir: Path, days: int = CLIENT_DAYS, not_before: datetime | None = None
) -> Issued:
    """A client certificate, CN = name and OU = role: NAME.crt and NAME.key in `out_dir`."""
    authority, key = _authority(ca_dir), ec.generate_private_key(ec.SECP256R1())
    signed = sign_client(authority, key.public_key(), role, name, _window(days, not_before))
    return _write(out_dir, name, key, signed)


def sign_client(
    authority: Authority, key: PublicKey, role: Role, name: str, window: tuple[datetime, datetime]
) -> x509.Certificate:
    """A client's certificate for a key that is its own, CN = name and OU = role, valid in that window."""
    check_name(name)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    return _sign(authority, key, subject, None, ExtendedKeyUsageOID.CLIENT_AUTH, window)


def load_authority(certificate: Path, key: Path) -> Authority:
    """The CA of these two files, its key a private one; `BadConfiguration` if they are not a CA and its EC key."""
    pem = read_private(key).reveal()
    try:
        private = serialization.load_pem_private_key(pem, password=None)
        authority = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as wrong:
        raise BadConfiguration(f"{certificate}: cannot be read: {wrong.strerror}") from wrong
    except (ValueError, TypeError) as wrong:
        raise BadConfiguration(f"{certificate.parent}: {key.name} or {certificate.name} is damaged") from wrong
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != authority.public_key():
        raise BadConfiguration(f"{key.parent}: {key.name} is not the key of {certificate.name}")
    return Authority(authority, private)


def check_name(name: str) -> None:
    """`BadConfiguration` unless a terminal, server or person may have that name."""
    if not _NAME.fullmatch(name):
        raise BadConfiguration(f"name {name!r:.80}: 1 to 64 letters, digits, dots, dashes; no dot or dash in front")


def _authority(ca_dir: Path) -> Authority:
    return load_authority(ca_dir / "ca.crt", ca_dir / "ca.key")


def _sign(
    authority: Authority,
    key: PublicKey,
    subject: x509.Name,
    names: x509.SubjectAlternativeName | None,
    use: x509.ObjectIdentifier,
    window: tuple[datetime, datetime],
) -> x509.Certificate:
    builder = _builder(subject, authority.certificate.subject, key, authority.key.public_key(), window)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    window: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(window[0])
        .not_valid_after(window[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _window(days: int, not_before: datetime | None) -> tuple[datetime, datetime]:
    """From `not_before` (five minutes ago if absent: clocks differ) for so many days; may lie in the past."""
    if not 1 <= days <= 36500:
        raise BadConfiguration(f"a certificate is valid for 1 to 36500 days, not {days}")
    begin = (not_before or datetime.now(UTC) - _CLOCK_SLACK).replace(microsecond=0)
    return begin, begin + timedelta(days=days)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as wrong:
        raise BadConfiguration(f"host {host!r}: not a DNS name in ASCII, nor an address") from wrong


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Issued:
    issued = Issued(folder / f"{name}.crt", folder / f"{name}.key")
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if issued.certificate.exists():
            raise BadConfiguration(f"{issued.certificate}: exists already; move it and its key away first")
        write_private(issued.key, private, new=True)
        issued.certificate.write_bytes(certificate.public_bytes(pem))
        issued.certificate.chmod(0o644)
    except OSError as wrong:
        raise BadConfiguration(f"{folder}: cannot be written: {wrong.strerror}") from wrong
    except VaultError as wrong:
        raise BadConfiguration(str(wrong)) from wrong
    return issued
