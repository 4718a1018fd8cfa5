"""The enrolment door and the link's port of one access server in this process, over real TLS, with a real store."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

import kioskd.edges.enrolments as book
from kioskd.access.enrolment import SALT_BYTES, Registrar, slow_hash
from kioskd.edges.certificates import Issued
from kioskd.edges.enrolling import EnrollingAuthority, fingerprint_of
from kioskd.edges.enrolment_client import EnrolmentServer, read_fingerprint
from kioskd.edges.enrolment_door import serve_enrolment
from kioskd.edges.https import HttpsServer
from kioskd.edges.link_server import Peer, ServerLink, serve_links
from kioskd.edges.signing_request import new_key, signing_request
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.edges.tls import client_context, enrolment_server_context, server_context
from kioskd.private_file import write_private
from kioskd.rekey.enrolment import CODE_BYTES, RENEW, Code, Enrolled, Enrolling, Renewing, new_code
from kioskd.shape import from_plain, to_plain
from tests.loopback import HOST, NAME, House, build_house, free_port

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(slots=True)
class Desk:
    """Where certificates are given out."""

    house: House
    store: SqlStore
    registrar: Registrar
    door: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)

    async def code(self, name: str, role: str = "kiosk", valid_s: int = 3600) -> Code:
        """A one-time code, as the operator's command makes it."""
        code, salt = new_code(secrets.token_bytes(CODE_BYTES)), secrets.token_bytes(SALT_BYTES)
        entry = book.Entry(code.entry, name, role, salt, slow_hash(code, salt), int(time.time()) + valid_s)
        await self.store.run(lambda connection: book.add_entry(connection, entry), BEGIN_WRITING)
        return code

    async def enrol(self, code: object, csr: str | None = None) -> Enrolled:
        """Asks for a certificate, over TLS."""
        fingerprint = read_fingerprint(fingerprint_of(self.house.server.certificate))
        wanted = Enrolling(str(code), csr if csr is not None else request())
        return await EnrolmentServer(HOST, self.door).enrol(fingerprint, wanted)

    async def renew(self, identity: Issued, csr: str | None = None) -> Enrolled:
        """Asks for the next certificate under a present one."""
        body = to_plain(Renewing(csr if csr is not None else request()))
        return from_plain(Enrolled, await self.under(identity).ask("POST", RENEW, body))

    def under(self, identity: Issued) -> HttpsServer:
        """The access server, for whoever has this certificate."""
        tls = client_context(self.house.ca, identity.certificate, identity.key)
        return HttpsServer(HOST, self.port, NAME, tls)

    async def revoke(self, name: str) -> None:
        """Revokes a terminal."""
        await self.store.run(lambda connection: book.revoke(connection, name, int(time.time())), BEGIN_WRITING)

    async def given(self) -> list[str]:
        """For whom there are certificates."""
        return [one.name for one in await self.store.run(book.certificates)]

    async def terminal(self, name: str) -> Issued:
        """A terminal that has enrolled."""
        key = new_key()
        enrolled = await self.enrol(await self.code(name), signing_request(key, "kiosk", name).decode())
        return self.keep(f"{name}-{secrets.token_hex(4)}", key.reveal(), enrolled)

    def keep(self, name: str, key: bytes, enrolled: Enrolled) -> Issued:
        """Writes key and certificate into files."""
        made = Issued(self.house.folder / f"{name}.crt", self.house.folder / f"{name}.key")
        made.certificate.write_text(enrolled.certificate)
        write_private(made.key, key)
        return made


@asynccontextmanager
async def open_desk(folder: Path, days: float = 30.0) -> AsyncIterator[Desk]:
    """A desk that is open."""
    house = build_house(folder)
    store = SqlStore(f"sqlite:///{folder}/access.db")
    authority = EnrollingAuthority(house.ca, folder / "ca" / "ca.key", house.ca, days)
    desk = Desk(house, store, Registrar(store, authority, book.Revocations(store)))
    certificate, key = house.server.certificate, house.server.key
    try:
        async with (
            serve_enrolment(HOST, desk.door, enrolment_server_context(certificate, key), desk.registrar.enrol),
            serve_links(
                HOST,
                desk.port,
                server_context(house.ca, certificate, key),
                silent,
                desk.registrar.doors(),
            ),
        ):
            yield desk
    finally:
        store.close()


async def silent(_: Peer, __: ServerLink) -> None:
    """No terminal links here."""


def request(
    key: PrivateKey | None = None,
    subject: dict[x509.ObjectIdentifier, str] | None = None,
    *extensions: x509.ExtensionType,
) -> str:
    """A signing request with whatever somebody likes to have in a certificate."""
    key = key if key is not None else ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(kind, text) for kind, text in (subject or {}).items()])
    builder = x509.CertificateSigningRequestBuilder().subject_name(names)
    for one in extensions:
        builder = builder.add_extension(one, critical=False)
    made = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def named(name: str) -> dict[x509.ObjectIdentifier, str]:
    """A subject of that common name."""
    return {NameOID.COMMON_NAME: name}
