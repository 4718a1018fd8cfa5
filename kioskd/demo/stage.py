"""A whole installation in one folder: pcscd with virtual readers, certificates, KMS, access server, kiosk, station.

Every part is the real one, started by its own command line. Nothing outside the folder is touched.
"""

import contextlib
import secrets
import socket
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kioskd.demo.custodians import Custodians
from kioskd.demo.roles import Roles, StageFailed
from kioskd.demo.softhsm import SoftHsm
from kioskd.edges.certificates import Role, create_ca, issue_client, issue_server
from kioskd.ports import KeptVault
from kioskd.private_file import read_passphrase, write_private
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vault import SoftVault
from kioskd.virtual.vpcd import CardInReader, Mouth, Pace

START_S = 20.0
TAP_S = 60.0
QUIET_PORTS = range(20_000, 32_000)
SERVER_NAME = "access.demo"
FACTORY_FILE = "".join(f"{name} {bytes(range(0x40, 0x50)).hex().upper()}\n" for name in ("ENC", "MAC", "DEK"))


@dataclass(slots=True)
class Stage:
    """The installation. Enter it to set it up; leaving it ends every process that it started."""

    folder: Path
    rsa_bits: int = 3072
    p256: bool = False  # the epoch's pair is P-256, not RSA
    readers: int = 1  # each of two slots
    hsm: SoftHsm | None = None  # where the servers' tokens are; None: the software vault
    pcscd: PrivatePcscd = field(init=False)
    port: int = field(init=False)
    roles: Roles = field(init=False)
    custodians: Custodians = field(init=False)
    _acts: int = field(init=False, default=0)
    mouths: tuple[Mouth, Mouth] = field(init=False, default_factory=lambda: (Mouth(), Mouth()))

    def __post_init__(self) -> None:
        self.pcscd = PrivatePcscd(self.folder / "pcsc", self.readers)
        self.port = quiet_port()
        self.roles = Roles(self.folder, self.pcscd.environment)
        self.custodians = Custodians(self.folder / "ceremony")

    def __enter__(self) -> Self:
        (self.folder / "pcsc").mkdir(parents=True)
        (self.folder / "log").mkdir()
        self.pcscd.__enter__()
        try:
            self.pcscd.serve_this_process()
            self._make_certificates()
            self._write_configurations()
        except BaseException:
            self.pcscd.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.roles.stop_all()
        self.pcscd.__exit__(kind, error, trace)

    # --- keys -------------------------------------------------------------------------------------------------------

    def make_keys(self) -> None:
        """The KMS with generation 1 and epoch 1; the access server's vault with the factory set; the issue bundle."""
        for name in ("kms", "access"):
            write_private(self.folder / f"{name}.pass", secrets.token_urlsafe(24).encode() + b"\n")
        write_private(self.folder / "factory.keys", FACTORY_FILE.encode())
        if self.hsm is not None:
            self.hsm.make_token(self.roles, self.folder, self._token("kms"))
        self.custodians.make()
        self.kms("init", *self.custodians.options)
        self.kms("generate")
        self.kms("epoch", *(("--p256",) if self.p256 else ("--rsa-bits", str(self.rsa_bits))))
        self.kms("export", "--out", self._path("kms.pem"))
        if self.hsm is not None:
            self.hsm.make_token(self.roles, self.folder, self._token("access"))
        self.access(
            *("init", "--factory-keys", self._path("factory.keys")), *("--transport-key", self._path("transport.pem"))
        )
        self.release("issue", generation=1)

    def kms(self, command: str, *args: str) -> str:
        """One command of the KMS; `generate` and `epoch` are asked for, approved and executed. What it printed."""
        if command in ("generate", "epoch"):
            return self._approved(command, args, ())
        return self.roles.run("kms", *command.split(), *self._kms_vault(), *args)

    def _kms_vault(self) -> tuple[str, ...]:
        transcript = ("--transcript", self._path("kms.transcript"))
        if self.hsm is not None:
            return (*self.hsm.options(self.folder, self._token("kms")), *transcript)
        return ("--vault", self._path("kms.vault"), "--passphrase-file", self._path("kms.pass"), *transcript)

    def _approved(self, act: str, args: tuple[str, ...], how: tuple[str, ...]) -> str:
        """The whole way of an act: the request, two custodians' approvals, the execution; what that printed."""
        self._acts += 1
        request = self.folder / "ceremony" / f"request-{self._acts}.json"
        self.kms(f"request {act}", *args, "--out", str(request))
        return self.kms("execute", str(request), *map(str, self.custodians.approve(request)), *how)

    def access(self, command: str, *args: str) -> str:
        """One command of the access server; what it printed."""
        return self.roles.run("access", command, "--config", self._path("access.yaml"), *args)

    def release(self, purpose: str, generation: int, epoch: int = 1) -> str:
        """Has the KMS release a bundle and the access server import it; what the import printed."""
        bundle = self._path(f"{purpose}-{generation}-{epoch}.bundle")
        act = "arm" if purpose == "replace" else "release"
        to = ("--to", self._path("transport.pem"))
        what = ("--generation", str(generation), "--epoch", str(epoch), *to)
        self._approved(act, what, (*to, "--out", bundle))
        return self.access("import", bundle)

    def vault(self) -> KeptVault:
        """The access server's vault, for proofs: it holds what the server holds."""
        if self.hsm is not None:
            return self.hsm.open_vault(self.folder, self._token("access"))
        return SoftVault.open(self.folder / "access.vault", read_passphrase(self.folder / "access.pass"))

    def _token(self, role: str) -> str:
        """The label of a role's token: no other installation on this machine has it."""
        return f"{role}-{sha256(str(self.folder).encode()).hexdigest()[:8]}"

    # --- roles ------------------------------------------------------------------------------------------------------

    def start_access(self) -> None:
        """Starts the access server."""
        self.roles.start("access", "access", "serve", "--config", self._path("access.yaml"))

    def start_terminal(self, name: str) -> None:
        """Starts the terminal `kiosk` or `station`, and waits for its link."""
        self.roles.start(name, name, "--config", self._path(f"{name}.yaml"))
        self.roles.until(
            lambda: bool((self.roles.status(name) or {})["link"]["connected"]), f"{name} has no link", START_S
        )

    # --- cards ------------------------------------------------------------------------------------------------------

    def new_card(self, name: str = "card") -> VirtualCard:
        """A card as it comes from the factory, its memory in a file of the folder."""
        return VirtualCard(self.folder / f"{name}.json", CardOptions(serial=secrets.token_bytes(4)))

    def holder(self, card: VirtualCard, terminal: str, pace: Pace | None = None) -> CardInReader:
        """A hand that can put the card into a terminal's reader and pull it out."""
        number = 0 if terminal == "kiosk" else 1
        slot = self.pcscd.slots[number]
        return CardInReader(card, lambda: self.pcscd.connect_card(slot), pace or Pace(), mouth=self.mouths[number])

    def tap(self, hand: CardInReader, terminal: str) -> dict[str, Any]:
        """Inserts the card, waits for the tap's end, and takes the card out; the tap as the status tells it."""
        before = self._tap_count(terminal)
        try:
            hand.insert()
        except OSError as wrong:
            raise StageFailed("the reader is gone, for its pcscd has ended: quit, and begin anew") from wrong
        try:
            self.roles.until(lambda: self._tap_count(terminal) > before, f"no tap at the {terminal}", TAP_S)
        finally:
            hand.pull()
        last: dict[str, Any] = (self.roles.status(terminal) or {})["taps"][-1]
        return last

    def _tap_count(self, terminal: str) -> int:
        """How many taps a terminal has seen."""
        return sum((self.roles.status(terminal) or {"outcomes": {}})["outcomes"].values())

    # --- files ------------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> str:
        """A file of the folder, as text for a command line."""
        return str(self.folder / name)

    def _make_certificates(self) -> None:
        authority, out = self.folder / "ca", self.folder / "tls"
        create_ca(authority, "demo-authority")
        issue_server(authority, SERVER_NAME, (SERVER_NAME,), out)
        issue_client(authority, Role.KIOSK, "kiosk", out)
        issue_client(authority, Role.STATION, "station", out)

    def _write_configurations(self) -> None:
        tls = "tls:\n  ca: {0}/ca/ca.crt\n  certificate: {0}/tls/{1}.crt\n  key: {0}/tls/{1}.key\n"
        for slot, name in enumerate(("kiosk", "station")):
            (self.folder / f"{name}.yaml").write_text(
                f"name: {name}\n"
                f"server: {{host: 127.0.0.1, port: {self.port}, name: {SERVER_NAME}}}\n"
                + tls.format(self.folder, name)
                + f"journal: {self.folder}/{name}.journal\n"
                f"socket: {self.folder}/{name}.sock\n"
                f"reader: {{name_contains: '{self.pcscd.slots[slot].name}'}}\n"
            )
        (self.folder / "access.yaml").write_text(
            f"listen: {{host: 127.0.0.1, port: {self.port}}}\n"
            + tls.format(self.folder, SERVER_NAME)
            + f"store: sqlite:///{self.folder}/access.db\n"
            f"socket: {self.folder}/access.sock\n"
            f"vault:\n  kms_key: {self.folder}/kms.pem\n" + self._vault_section()
        )

    def _vault_section(self) -> str:
        if self.hsm is not None:
            return self.hsm.section(self.folder, self._token("access"))
        return f"  file: {self.folder}/access.vault\n  passphrase: {self.folder}/access.pass\n"


def quiet_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, below those that Linux gives to connections: it is free a moment later, too."""
    while True:
        port = secrets.choice(QUIET_PORTS)
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            return port
