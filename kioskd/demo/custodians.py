"""Three people with keys of their own, two of whom approve each act of the demo's KMS."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from kioskd.edges.personal_key import create_personal_key, open_personal_key
from kioskd.private_file import read_passphrase, write_private
from kioskd.rekey.ceremony import Approval, Request, approval_text
from kioskd.rekey.papers import read_paper, write_paper

PEOPLE = ("alice", "bob", "carol")
QUORUM = 2


@dataclass(frozen=True, slots=True)
class Custodians:
    """Alice, Bob and Carol, their keys in one folder: on one machine only because this is a demo."""

    folder: Path

    def make(self) -> None:
        """Makes their keys."""
        self.folder.mkdir()
        for name in PEOPLE:
            write_private(self.folder / f"{name}.pass", secrets.token_hex(16).encode() + b"\n")
            passphrase = read_passphrase(self.folder / f"{name}.pass")
            (self.folder / f"{name}.pem").write_bytes(create_personal_key(self.folder / f"{name}.key", passphrase))

    @property
    def options(self) -> tuple[str, ...]:
        """The words that make them the KMS's custodians."""
        people = (("--custodian", f"{name}={self.folder}/{name}.pem") for name in PEOPLE)
        return (*(word for words in people for word in words), "--quorum", str(QUORUM))

    def approve(self, request: Path) -> list[Path]:
        """Two of them approve; their approvals' files."""
        asked = read_paper(Request, request.read_bytes(), str(request))
        files = []
        for name in PEOPLE[:QUORUM]:
            sign = open_personal_key(self.folder / f"{name}.key", read_passphrase(self.folder / f"{name}.pass"))
            file = request.with_suffix(f".{name}")
            write_private(file, write_paper(Approval(asked.digest, name, sign(approval_text(asked, name)))), new=True)
            files.append(file)
        return files
