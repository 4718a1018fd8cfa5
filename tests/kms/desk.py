"""The command line of a key management server as its operator and custodians use it."""

from pathlib import Path

from kioskd.custodian.cli import main as custodian
from kioskd.kms.cli import main
from kioskd.rekey.ceremony import Request
from kioskd.rekey.papers import read_paper
from kioskd.secret import Secret

PHRASE = Secret(b"a")
PEOPLE = ("alice", "bob", "carol")


class Desk:
    """A folder with a KMS, its three custodians' keys, and an access server's transport key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self, words: tuple[str, ...]) -> list[str]:
        """`@name` is a file of the folder."""
        return [word.replace("@", f"{self.folder}/") for word in words]

    def run(self, command: str, *words: str) -> int:
        """One command on this folder's vault."""
        return main([*command.split(), *self.paths((*self.vault, *words))])

    @property
    def vault(self) -> tuple[str, ...]:
        """The words that name the vault."""
        return ("--vault", "@kms", "--passphrase-file", "@phrase", "--transcript", "@transcript")

    def make_people(self) -> None:
        """Everybody makes a key."""
        for name in (*PEOPLE, "mallory"):
            keys = ("--key", f"@{name}.key", "--passphrase-file", "@phrase", "--public", f"@{name}.pem")
            assert custodian(["new-key", *self.paths(keys)]) == 0

    def init(self, *words: str) -> int:
        """Sets the KMS up with its three custodians."""
        people = (word for name in PEOPLE for word in ("--custodian", f"{name}=@{name}.pem"))
        return self.run("init", *people, "--quorum", "2", *words)

    def ask(self, act: str, *words: str, name: str = "request") -> int:
        """A request, in a file of that name."""
        return self.run(f"request {act}", *words, "--out", f"@{name}")

    def approve(self, who: str, name: str = "request", yes: str | None = None) -> int:
        """Somebody approves it, in a file NAME.WHO."""
        asked = read_paper(Request, (self.folder / name).read_bytes(), name)
        keys = ("--key", f"@{who}.key", "--passphrase-file", "@phrase", "--name", who)
        words = (f"@{name}", *keys, "--out", f"@{name}.{who}", "--yes", yes or asked.fingerprint)
        return custodian(["approve", *self.paths(words)])

    def act(self, act: str, *words: str, how: tuple[str, ...] = (), name: str = "request") -> int:
        """The whole way: asked, approved by two, executed."""
        for old in self.folder.glob(f"{name}*"):
            old.unlink()
        assert self.ask(act, *words, name=name) == 0
        assert self.approve("alice", name) == self.approve("bob", name) == 0
        return self.execute(*how, name=name)

    def execute(self, *how: str, name: str = "request", who: tuple[str, ...] = ("alice", "bob")) -> int:
        """Executes it with those approvals."""
        return self.run("execute", f"@{name}", *(f"@{name}.{one}" for one in who), *how)

    def release(self, *words: str, act: str = "release") -> int:
        """A bundle of generation 1 and epoch 1."""
        usual = ("--generation", "1", "--epoch", "1", "--to", "@transport.pem")
        return self.act(act, *usual, *words, how=("--to", "@transport.pem", "--out", "@b"))
