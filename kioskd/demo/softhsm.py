"""SoftHSM2 for an installation in one folder: its own configuration, tokens and PIN files, nothing of the system's."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from kioskd.demo.roles import Roles
from kioskd.edges.pkcs11.open_vault import open_vault
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.errors import HsmGone
from kioskd.private_file import read_passphrase, write_private

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """SoftHSM2 with a configuration of its own; a process can use one configuration only."""

    configuration: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "SoftHsm":
        """A new one, without tokens."""
        (folder / "tokens").mkdir(mode=0o700, parents=True)
        configuration = folder / "softhsm2.conf"
        configuration.write_text(
            f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        return cls(configuration)

    @property
    def module(self) -> str:
        """Where the PKCS#11 module is; `HsmGone` if SoftHSM2 is not installed."""
        found = next((one for one in MODULES if Path(one).is_file()), None)
        if found is None:
            raise HsmGone("SoftHSM2 is not installed: apt-get install softhsm2")
        return found

    def make_token(self, roles: Roles, folder: Path, label: str) -> None:
        """A new token by the command line, with its PINs in private files of the folder."""
        for name in ("so-pin", "pin"):
            write_private(folder / f"{label}.{name}", secrets.token_hex(16).encode() + b"\n")
        pins = ("--so-pin-file", str(folder / f"{label}.so-pin"), "--pin-file", str(folder / f"{label}.pin"))
        roles.run(
            *("hsm", "init", "--module", self.module, "--label", label),
            *("--configuration", str(self.configuration), *pins),
        )

    def section(self, folder: Path, label: str) -> str:
        """The lines of access.yaml that name the token."""
        return (
            f"  token: {{module: {self.module}, label: {label}, pin: {folder}/{label}.pin,"
            f" configuration: {self.configuration}}}\n"
        )

    def options(self, folder: Path, label: str) -> tuple[str, ...]:
        """The words of a command line that name the token."""
        pin, configuration = str(folder / f"{label}.pin"), str(self.configuration)
        return ("--module", self.module, "--token", label, "--pin-file", pin, "--configuration", configuration)

    def open_vault(self, folder: Path, label: str) -> TokenVault:
        """The vault in a token, for proofs in this process."""
        pin = read_passphrase(folder / f"{label}.pin")
        return open_vault(self.module, label, pin, configuration=str(self.configuration))
