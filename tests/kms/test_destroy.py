"""An epoch is destroyed only when every access server that has its keys says that no card relies on it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.edges.certificates import Role, create_ca, issue_client, issue_server
from kioskd.edges.certified import certificate_of, check_certified, sign_with
from kioskd.errors import BadBundle, BadConfiguration
from kioskd.kms.cli import main
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.statement import STATEMENT_VERSION, Reliance, Statement
from tests.kms.desk import Desk

pytestmark = [pytest.mark.slow]


class Archive(Desk):
    """A desk whose epoch 1 is armed at one access server, with that server's certificate."""

    def statement(self, cards: int = 0, epoch: int = 1, age_s: int = 0, signer: str = "access.example") -> Statement:
        """What that server says, or what somebody else signs for it."""
        server = fingerprint_of(read_transport_key((self.folder / "transport.pem").read_bytes()))
        certificate = certificate_of((self.folder / f"{signer}.crt").read_bytes())
        counts = (Reliance(epoch, cards),)
        made = Statement(STATEMENT_VERSION, server, int(time.time()) - age_s, counts, certificate)
        key = (self.folder / f"{signer}.key").read_bytes()
        return replace(made, signature=sign_with(key, made.signed_part()))

    def destroy(self, *statements: Statement, epoch: int = 1) -> int:
        """The request."""
        words = []
        for number, one in enumerate(statements):
            (self.folder / f"statement-{number}").write_bytes(one.encode())
            words += ["--statement", f"@statement-{number}"]
        for old in self.folder.glob("request*"):
            old.unlink()
        return self.ask("destroy", "--epoch", str(epoch), "--ca", "@ca.crt", *words)


@pytest.fixture
def archive(stock: Path, tmp_path: Path) -> Archive:
    """Epoch 1 is armed."""
    made = Archive(Path(shutil.copytree(stock, tmp_path / "desk")))
    create_ca(made.folder, "authority")
    issue_server(made.folder, "access.example", ("access.example",), made.folder)
    issue_client(made.folder, Role.KIOSK, "kiosk", made.folder)
    assert made.release(act="arm") == 0
    return made


def test_an_epoch_without_cards_is_destroyed_and_its_number_is_never_given_again(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert archive.destroy(archive.statement()) == 0
    assert "Destroy epoch 1 for ever: its block and private key." in capsys.readouterr().out
    assert archive.approve("alice") == archive.approve("bob") == archive.execute() == 0
    capsys.readouterr()
    assert archive.run("list") == 0
    said = capsys.readouterr().out
    assert "Epoch 1: destroyed\n" in said
    assert archive.act("epoch", "--rsa-bits", "2048") == 0
    assert "Made epoch 2." in capsys.readouterr().out
    usual = ("--generation", "1", "--epoch", "1", "--to", "@transport.pem", "--out", "@new")
    assert archive.run("request arm", *usual) == 2
    assert "epoch 1: there is none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda a: a.statement(cards=1), "1 cards rely on epoch 1"),
        (lambda a: a.statement(age_s=90_000), "is older than a day"),
        (lambda a: a.statement(age_s=-900), "of the future"),
        (lambda a: replace(a.statement(cards=1), epochs=()), "not signed under this authority"),
        (lambda a: a.statement(signer="kiosk"), "certificate is not a server's"),
        (lambda a: replace(a.statement(), server=bytes(32)), "not signed under this authority"),
    ],
)
def test_a_statement_that_says_otherwise_is_old_altered_or_anothers_is_refused(
    archive: Archive, bend: Callable[[Archive], Statement], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (archive.folder / "transcript").read_bytes()
    assert archive.destroy(bend(archive)) == 2
    assert words in capsys.readouterr().err
    assert (archive.folder / "transcript").read_bytes() == before


def test_every_server_that_was_given_keys_must_speak(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(archive.statement(), server=b"o" * 32, signature=b"")
    other = replace(
        other, signature=sign_with((archive.folder / "access.example.key").read_bytes(), other.signed_part())
    )
    assert archive.destroy(other) == 2
    assert "no statement of the access server" in capsys.readouterr().err
    assert archive.destroy(other, archive.statement()) == 0


def test_an_epoch_that_may_still_issue_is_not_destroyed(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert archive.act("epoch", "--rsa-bits", "2048") == 0
    assert archive.destroy(archive.statement(epoch=2), epoch=2) == 2
    assert "epoch 2: is not armed: it may still issue cards" in capsys.readouterr().err
    assert main([]) == 2


def test_a_statement_under_another_authority_is_refused(archive: Archive, tmp_path: Path) -> None:
    create_ca(tmp_path / "other", "authority")
    one = archive.statement()
    with pytest.raises(BadConfiguration, match="not signed under this authority"):
        check_certified(
            one.signed_part(), one.signature, one.certificate, (tmp_path / "other" / "ca.crt").read_bytes(), one.at
        )


def test_a_statement_written_in_another_way_is_refused(archive: Archive) -> None:
    raw = archive.statement().encode()
    assert Statement.decode(raw).encode() == raw
    for other in (raw.rstrip(), b" " + raw, b"{}", b"\xff", raw * 2):
        with pytest.raises(BadBundle):
            Statement.decode(other)
