"""`kioskd kms` from the first command to the bundle, and what it says to bad input."""

import shutil
import time
from pathlib import Path

import pytest

from kioskd.kms.cli import main
from kioskd.private_file import write_private
from kioskd.secret import Secret
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

PHRASE = Secret(b"a")


class Desk:
    """A folder with a passphrase file and an access server's transport key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str, *words: str) -> int:
        """One command on this folder's vault; `@name` is a file of the folder."""
        paths = [str(self.folder / word[1:]) if word.startswith("@") else word for word in words]
        vault, phrase = str(self.folder / "kms"), str(self.folder / "phrase")
        return main([command, "--vault", vault, "--passphrase-file", phrase, *paths])

    def release(self, *words: str) -> int:
        """An issue bundle of generation 1 and epoch 1, unless the words say otherwise."""
        usual = ("--purpose", "issue", "--generation", "1", "--epoch", "1", "--to", "@transport.pem", "--out", "@b")
        return self.run("release", *usual, *words)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk's files with generation 1 and epoch 1: one for all tests, since RSA pairs take long to make."""
    desk = Desk(tmp_path_factory.mktemp("stock"))
    write_private(desk.folder / "phrase", b"correct horse\n")
    access = SoftVault.create(desk.folder / "access", PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
    (desk.folder / "transport.pem").write_bytes(access.transport_key())
    assert desk.run("init") == desk.run("generate") == desk.run("epoch", "--rsa-bits", "2048") == 0
    return desk.folder


@pytest.fixture
def stocked(stock: Path, tmp_path: Path) -> Desk:
    return Desk(Path(shutil.copytree(stock, tmp_path / "desk")))


def test_the_way_from_nothing_to_an_imported_bundle(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk = stocked
    (desk.folder / "kms").unlink()
    access = SoftVault.open(desk.folder / "access", PHRASE)
    for command in (
        ("init",),
        ("generate",),
        ("epoch", "--rsa-bits", "2048"),
        ("export", "--out", "@kms.pem"),
    ):
        assert desk.run(*command) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert said.out.count("Next: ") == 1
    assert desk.release("--confirm", access.transport_fingerprint().hex()) == 0
    bundle, key = (desk.folder / "b").read_bytes(), (desk.folder / "kms.pem").read_bytes()
    assert access.import_bundle(bundle, key, int(time.time())).epoch == 1
    assert desk.run("list") == 0
    said = capsys.readouterr()
    assert "Epochs that issue: 1\n" in said.out
    assert "issue, generation 1, epoch 1" in said.out


def test_a_replace_bundle_says_that_the_epoch_is_armed(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.release("--purpose", "replace") == 0
    assert "Epoch 1 is armed" in capsys.readouterr().out
    assert stocked.release("--out", "@other") == 2
    assert "released for replacement" in capsys.readouterr().err
    assert not (stocked.folder / "other").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--generation", "2"), "generation 2: there is none"),
        (("--epoch", "9"), "epoch 9: there is none"),
        (("--generation", "one"), "invalid int"),
        (("--purpose", "steal"), "invalid choice"),
        (("--to", "@absent.pem"), "absent.pem: cannot be read"),
        (("--to", "@phrase"), "transport key: is not a public key"),
        (("--confirm", "00"), "fingerprint is not the confirmed one"),
        (("--out", "@phrase"), "phrase: exists already"),
        (("--out", "@no/such/folder"), "cannot be written"),
        (("--hours", "0"), "1 to 8784 hours"),
    ],
)
def test_a_bad_release_is_a_sentence_and_exit_code_2(
    stocked: Desk, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stocked.release(*words) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_bad_files_are_a_sentence_and_exit_code_2(stocked: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    phrase = stocked.folder / "phrase"
    assert stocked.run("init") == 2
    assert "kms: exists already" in capsys.readouterr().err
    assert stocked.run("epoch", "--rsa-bits", "512") == 2
    assert "2048" in capsys.readouterr().err
    phrase.write_bytes(b"wrong horse\n")
    assert stocked.run("list") == 2
    assert "wrong passphrase" in capsys.readouterr().err
    phrase.chmod(0o644)
    assert stocked.run("list") == 2
    assert "phrase: others may use it (mode 0644)" in capsys.readouterr().err
    (stocked.folder / "kms").write_bytes(b"garbage")
    phrase.chmod(0o600)
    assert stocked.run("list") == 2
    assert "is not a sealed file" in capsys.readouterr().err
    assert main([]) == 2
