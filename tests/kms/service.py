"""A key management server that runs as a service, with certificates for everybody who speaks with it."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.access.cli import main as access
from kioskd.custodian.cli import main as custodian
from kioskd.demo.roles import Roles
from kioskd.edges.certificates import Role, create_ca, issue_client, issue_server
from kioskd.edges.https import HttpsServer
from kioskd.edges.tls import client_context
from kioskd.kms.cli import main as kms
from kioskd.private_file import write_private
from tests.loopback import free_port

PEOPLE = ("alice", "bob", "carol")
HOST = "127.0.0.1"


@dataclass
class Service:
    """One folder: the service's files, one access server's, and everybody's keys."""

    folder: Path
    vault: str = "{file: @kms, passphrase: @phrase}"
    roles: Roles = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("log", "outbox"):
            (self.folder / name).mkdir(mode=0o700)
        self.port = free_port()
        self.roles = Roles(self.folder, {})
        create_ca(self.folder / "ca", "authority")
        issue_server(self.folder / "ca", "kms.example", ("kms.example", HOST), self.folder)
        for role in Role:
            issue_client(self.folder / "ca", role, role.value, self.folder)
        self.write("kms.yaml", self._service)

    @property
    def _service(self) -> str:
        return f"""
listen: {{host: {HOST}, port: {self.port}}}
tls: {{ca: @ca/ca.crt, certificate: @kms.example.crt, key: @kms.example.key}}
vault: {self.vault}
transcript: @transcript
outbox: @outbox
socket: @kms.sock
"""

    def write(self, name: str, text: str) -> None:
        """A file of the folder; `@` is the folder."""
        (self.folder / name).write_text(text.replace("@", f"{self.folder}/"))

    def write_access(self, vault: str, name: str = "access") -> None:
        """The configuration of an access server that fetches its bundles."""
        issue_server(self.folder / "ca", f"{name}.example", ("access.example",), self.folder)
        self.write(
            f"{name}.yaml",
            f"""
listen: {{host: {HOST}, port: 1}}
tls: {{ca: @ca/ca.crt, certificate: @{name}.example.crt, key: @{name}.example.key}}
store: sqlite:///@{name}.db
vault: {{kms_key: @kms.pem, {vault}}}
socket: @{name}.sock
kms: {{host: {HOST}, port: {self.port}, certificate: @access.crt, key: @access.key}}
""",
        )

    def start(self) -> None:
        """Starts the service."""
        self.roles.start("kms", "kms", "serve", "--config", str(self.folder / "kms.yaml"))

    def at(self, role: str) -> list[str]:
        """The options of a command line that speaks with the service."""
        files = ("--tls-ca", "ca/ca.crt", "--tls-certificate", f"{role}.crt", "--tls-key", f"{role}.key")
        words = (one if one.startswith("--") else str(self.folder / one) for one in files)
        return ["--at", f"{HOST}:{self.port}", *words]

    def ask(self, *words: str, name: str = "asked") -> int:
        """The operator asks for an act."""
        (self.folder / name).unlink(missing_ok=True)
        said = [one.replace("@", f"{self.folder}/") for one in words]
        return kms(["request", *said, "--out", str(self.folder / name), *self.at("operator")])

    def approve(self, who: str, fingerprint: str) -> int:
        """A custodian approves online."""
        keys = ("--key", f"{self.folder}/{who}.key", "--passphrase-file", f"{self.folder}/phrase", "--name", who)
        return custodian(["approve", fingerprint, *keys, "--yes", fingerprint, *self.at("custodian")])

    def execute(self, *words: str, name: str = "asked") -> int:
        """The operator has it done."""
        said = [one.replace("@", f"{self.folder}/") for one in words]
        return kms(["execute", str(self.folder / name), *said, *self.at("operator")])

    def fetch(self, name: str = "access") -> int:
        """The access server fetches what waits for it."""
        return access(["fetch", "--config", str(self.folder / f"{name}.yaml")])

    def as_role(self, role: str) -> HttpsServer:
        """The service, as a client with that certificate sees it."""
        tls = client_context(self.folder / "ca" / "ca.crt", self.folder / f"{role}.crt", self.folder / f"{role}.key")
        return HttpsServer(HOST, self.port, "", tls)

    def speak(self, role: str, method: str, path: str, body: Any = None) -> Any:
        """One request as that role."""
        return asyncio.run(self.as_role(role).ask(method, path, body))


def make_people(folder: Path) -> None:
    """Everybody makes a key."""
    write_private(folder / "phrase", b"correct horse\n")
    for who in PEOPLE:
        words = ("--key", f"{folder}/{who}.key", "--passphrase-file", f"{folder}/phrase")
        assert custodian(["new-key", *words, "--public", f"{folder}/{who}.pem"]) == 0
