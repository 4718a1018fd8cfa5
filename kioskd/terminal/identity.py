"""A terminal's identity: key and certificate in one private file, so that both change in one step.

`tls.certificate` and `tls.key` of its configuration name that file. A new identity is written beside it, tried as TLS
would, and only then put in its place; whatever breaks off before leaves the old one.
"""

from dataclasses import dataclass
from pathlib import Path

from kioskd.config import CREDENTIAL, TlsSection
from kioskd.edges.sealed_credential import TPM, seal
from kioskd.edges.tls import Certified, examine
from kioskd.errors import BadConfiguration, VaultError
from kioskd.private_file import read_private, write_private
from kioskd.public_file import read_public
from kioskd.secret import Secret


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where the identity is, and the authorities that the terminal trusts."""

    identity: Path
    ca: Path

    @property
    def pending(self) -> Path:
        """The key that waits for its certificate."""
        return self.identity.with_name(f"{self.identity.name}.pending")

    @property
    def place(self) -> Path:
        """Where the identity stays."""
        return self.identity

    def exists(self) -> bool:
        """Whether there is an identity."""
        return self.place.exists()

    def put(self, key: Secret, certificate: str, ca: str, name: str, role: str = "") -> Certified:
        """Makes key and certificate (PEM) the identity, and `ca` what is trusted; the old one stays if it is refused.

        `BadConfiguration` if TLS would not take it, or if it is for another terminal's name or (if given) role.
        """
        try:
            told = self.stage(key, certificate, ca, name, role)
            self.adopt()
        finally:
            self.discard()
        return told

    def stage(self, key: Secret, certificate: str, ca: str, name: str, role: str = "") -> Certified:
        """Writes a new identity beside the old one, and looks at it as TLS would; `BadConfiguration` as for `put`."""
        new = self.staged
        self._write(new.identity, key.reveal().rstrip(b"\n") + b"\n" + certificate.encode())
        self._write(new.ca, ca.encode())
        try:
            told = examine(new.ca, new.identity, new.identity)
        except BadConfiguration as wrong:
            # The person knows the certificate, not the file that it is tried in.
            words = str(wrong).replace(str(new.identity), "the certificate").replace(str(new.ca), "the authorities")
            raise BadConfiguration(words) from wrong
        if told.name != name:
            raise BadConfiguration(
                f"the certificate is for {told.name or 'nobody'}, and this terminal is called {name}"
            )
        if told.role != (role or told.role) or not told.role:
            raise BadConfiguration(f"the certificate's organisational unit is {told.role!r:.40}, it must be {role}")
        return told

    def adopt(self) -> None:
        """Puts the staged identity in the place of the old one."""
        new = self.staged
        ca, old = new.ca.read_bytes(), self.ca.read_bytes() if self.ca.exists() else b""
        # Between the steps both authorities are trusted: whichever identity is there, its server is known.
        if old.strip() != ca.strip():
            self._write(self.ca, ca.rstrip(b"\n") + b"\n" + old)
        self.keep(new.identity.read_bytes())
        if old.strip() != ca.strip():
            self._write(self.ca, ca)

    def keep(self, content: bytes) -> None:
        """Puts the identity where it stays."""
        self._write(self.place, content)

    def discard(self) -> None:
        """Takes away what is staged."""
        self.staged.identity.unlink(missing_ok=True)
        self.staged.ca.unlink(missing_ok=True)

    @property
    def staged(self) -> "IdentityFiles":
        """Where a new identity is written before it is adopted."""
        beside = self.identity.with_name
        return IdentityFiles(beside(f".{self.identity.name}.new"), beside(f".{self.identity.name}.ca"))

    def read_pending(self) -> Secret:
        """The key that waits for its certificate; `BadConfiguration` if none does."""
        if not self.pending.exists():
            raise BadConfiguration(f"{self.pending}: is not there; `kioskctl enrol --csr-out FILE` makes it")
        return read_private(self.pending)

    def write_pending(self, key: Secret, *, replace: bool) -> None:
        """Keeps a key until its certificate comes; `BadConfiguration` if another waits already."""
        if self.pending.exists() and not replace:
            raise BadConfiguration(f"{self.pending}: a key waits for its certificate already; --replace drops it")
        self._write(self.pending, key.reveal())

    def trusted(self) -> str:
        """The authorities that are trusted by now, PEM."""
        return read_public(self.ca).decode("ascii", "replace")

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        try:
            write_private(path, content, for_owner_of_folder=True)
        except VaultError as wrong:
            raise BadConfiguration(str(wrong)) from wrong


@dataclass(frozen=True, slots=True)
class SealedIdentity(IdentityFiles):
    """An identity that is in the clear only while it is tried, and stays as a credential sealed to the TPM."""

    sealed: Path
    name: str
    key: str = TPM

    @property
    def place(self) -> Path:
        """Where the identity stays."""
        return self.sealed

    def keep(self, content: bytes) -> None:
        """Seals the identity."""
        self._write(self.place, seal(self.name, Secret(content), self.key))


def identity_files(tls: TlsSection) -> IdentityFiles | None:
    """The identity that a configuration keeps in one file of its own; None if it is in two files, or a credential."""
    if tls.certificate != tls.key or any(text.startswith(CREDENTIAL) for text in (tls.ca, tls.key)):
        return None
    return IdentityFiles(Path(tls.key), Path(tls.ca))
