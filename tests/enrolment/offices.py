"""An access server that gives out certificates, as a process, and a folder for each terminal that enrols."""

import asyncio
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kioskd.demo.roles import Roles
from kioskd.edges.enrolment_client import EnrolmentServer, read_fingerprint
from kioskd.private_file import write_private
from kioskd.rekey.enrolment import Enrolled, Enrolling
from kioskd.secret import Secret
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.enrolment.desk import request
from tests.loopback import HOST, NAME, House, build_house, free_port


@dataclass(frozen=True, slots=True)
class Offer:
    """What `kioskd access enrolment add` showed."""

    code: str
    url: str
    fingerprint: str


def offer_in(printed: str) -> Offer:
    """What `add` printed, read as a technician reads it."""
    words = printed.split()
    at = words.index("kioskctl")
    (code,) = [word for word in words if word.count("-") == 3 and len(word) == 19]
    return Offer(code, words[at + 2], words[at + 4])


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(slots=True)
class Terminal:
    """A machine that may become a terminal: its folder and its configuration."""

    folder: Path
    name: str

    @property
    def config(self) -> Path:
        """Its YAML file."""
        return self.folder / "kiosk.yaml"

    @property
    def identity(self) -> Path:
        """Where its key and certificate are kept."""
        return self.folder / "kiosk.pem"

    @property
    def ca(self) -> Path:
        """Whom it trusts."""
        return self.folder / "ca.crt"

    def kioskctl(self, *args: str, typing: str = "") -> Said:
        """`kioskctl enrol ARGS` as a process, with somebody at its keyboard."""
        command = [sys.executable, "-m", "kioskd.kiosk.kioskctl", "enrol", "--config", str(self.config), *args]
        done = subprocess.run(command, input=typing, capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def enrol(self, offer: Offer, *args: str) -> Said:
        """Enrols with the code of an offer, typed."""
        return self.kioskctl(offer.url, "--fingerprint", offer.fingerprint, *args, typing=offer.code)


def new_terminal(folder: Path, name: str, port: int) -> Terminal:
    """A machine of that name, not enrolled."""
    made = Terminal(folder / f"machine-{name}", name)
    made.folder.mkdir()
    made.config.write_text(
        f"name: {name}\n"
        f"server: {{host: {HOST}, port: {port}, name: {NAME}}}\n"
        f"tls: {{ca: {made.ca}, certificate: {made.identity}, key: {made.identity}}}\n"
        f"journal: {made.folder}/journal\n"
        f"socket: {made.folder}/sock\n"
    )
    return made


@dataclass(slots=True)
class Registry:
    """The house: enter it to start the access server."""

    folder: Path
    days: float = 30.0
    house: House = field(init=False)
    roles: Roles = field(init=False)
    port: int = field(init=False, default_factory=free_port)
    door: int = field(init=False, default_factory=free_port)

    def __enter__(self) -> Self:
        (self.folder / "log").mkdir(parents=True)
        self.house, self.roles = build_house(self.folder), Roles(self.folder, {})
        write_private(self.folder / "pass", b"word\n")
        SoftVault.create(self.folder / "vault", Secret(b"word"), cost=Cost(n=16), rsa_bits=2048)
        (self.folder / "kms.pem").write_bytes(self.house.ca.read_bytes())
        self.write()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.roles.stop_all()

    def write(self, *, enrolment: bool = True) -> None:
        """The server's configuration."""
        ca, server, at = self.house.ca, self.house.server, self.folder
        section = (
            f"enrolment: {{port: {self.door}, ca: {ca}, ca_key: {at}/ca/ca.key, days: {self.days}, "
            f"url: '{self.url}'}}\n"
        )
        (at / "access.yaml").write_text(
            f"listen: {{host: {HOST}, port: {self.port}}}\n"
            f"tls: {{ca: {ca}, certificate: {server.certificate}, key: {server.key}}}\n"
            f"store: sqlite:///{at}/access.db\n"
            f"vault: {{file: {at}/vault, passphrase: {at}/pass, kms_key: {at}/kms.pem}}\n"
            f"socket: {at}/access.sock\n" + (section if enrolment else "")
        )

    @property
    def url(self) -> str:
        """Where terminals enrol."""
        return f"https://{HOST}:{self.door}"

    def start(self) -> None:
        """Starts the access server."""
        self.roles.start("access", "access", "serve", "--config", f"{self.folder}/access.yaml")

    def restart(self) -> None:
        """Starts it anew."""
        self.roles.stop("access")
        self.start()

    def command(self, *args: str) -> str:
        """`kioskd access enrolment ARGS`; what it printed."""
        return self.roles.run("access", "enrolment", *args, "--config", f"{self.folder}/access.yaml")

    def add(self, name: str, *args: str) -> Offer:
        """Makes a code for a terminal."""
        return offer_in(self.command("add", name, *args))

    def terminal(self, name: str) -> Terminal:
        """A machine of that name, not enrolled."""
        return new_terminal(self.folder, name, self.port)

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return self.roles.log("access").read_text()

    def ask(self, offer: Offer, csr: str | None = None, *, code: str = "") -> Enrolled:
        """What a program of one's own may ask for, in place of kioskctl."""
        csr = request() if csr is None else csr
        server = EnrolmentServer(HOST, self.door)
        return asyncio.run(server.enrol(read_fingerprint(offer.fingerprint), Enrolling(code or offer.code, csr)))
