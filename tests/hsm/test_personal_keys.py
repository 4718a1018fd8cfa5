"""A custodian's key signs alike wherever it is: in a file under a passphrase, or on a token of their own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pkcs11 import Attribute, ObjectClass, exceptions

from kioskd.custodian.cli import main
from kioskd.edges.pkcs11.personal_token import create_personal_key
from kioskd.edges.pkcs11.signing import make_signing_pair
from kioskd.edges.pkcs11.token import Token
from kioskd.errors import VaultError
from kioskd.private_file import write_private
from kioskd.rekey.bundle_check import ed25519_raw, ed25519_verifies
from kioskd.rekey.ceremony import Act, Approval, Detail, Request, approval_text
from kioskd.rekey.papers import read_paper, write_paper
from tests.hsm.kms_tokens import new_token
from tests.vault.contract.keepers import (
    NSS,
    NSS_LABEL,
    PIN,
    SOFTHSM,
    nss_parameters,
    prepare_nss,
    softhsm_configuration,
)

pytestmark = [pytest.mark.slow]

ASKED = Request(bytes(16), Act.GENERATE, (Detail("generation", "1"),), 1, 0, 100)


@dataclass(frozen=True)
class Holder:
    """Where a key is, in a command line's words."""

    folder: Path
    words: tuple[str, ...]

    def run(self, command: str, *more: str, words: tuple[str, ...] | None = None) -> int:
        """One command of the custodian."""
        return main([command, *(self.words if words is None else words), *more])

    def approve(self, words: tuple[str, ...] | None = None) -> int:
        """Approves the request."""
        more = ("--name", "alice", "--out", f"{self.folder}/approval", "--yes", ASKED.fingerprint)
        return self.run("approve", f"{self.folder}/request", *more, words=words)


def _file(folder: Path) -> Holder:
    write_private(folder / "phrase", b"correct horse\n")
    return Holder(folder, ("--key", f"{folder}/me.key", "--passphrase-file", f"{folder}/phrase"))


def _token(folder: Path) -> Holder:
    write_private(folder / "pin", PIN.reveal())
    words = ("--token", new_token("alice"), "--module", SOFTHSM, "--pin-file", f"{folder}/pin")
    return Holder(folder, (*words, "--configuration", softhsm_configuration()))


HOLDERS: dict[str, Callable[[Path], Holder]] = {"file": _file, "token": _token}


@pytest.fixture(params=list(HOLDERS))
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> Holder:
    made = HOLDERS[request.param](tmp_path)
    (tmp_path / "request").write_bytes(write_paper(ASKED))
    return made


def test_what_it_signs_is_an_approval_of_exactly_that_request(holder: Holder) -> None:
    assert holder.run("new-key", "--public", f"{holder.folder}/me.pem") == 0
    assert holder.approve() == 0
    approval = read_paper(Approval, (holder.folder / "approval").read_bytes(), "approval")
    key = ed25519_raw((holder.folder / "me.pem").read_bytes())
    assert ed25519_verifies(key, approval.signature, approval_text(ASKED, "alice"))
    assert not ed25519_verifies(key, approval.signature, approval_text(ASKED, "bob"))


def test_a_second_key_is_not_made_in_the_same_place(holder: Holder, capsys: pytest.CaptureFixture[str]) -> None:
    assert holder.run("new-key", "--public", f"{holder.folder}/me.pem") == 0
    before = (holder.folder / "me.pem").read_bytes()
    assert holder.run("new-key", "--public", f"{holder.folder}/other.pem") == 2
    assert "already" in capsys.readouterr().err
    assert not (holder.folder / "other.pem").exists()
    assert holder.approve() == 0, "the first key still signs"
    assert (holder.folder / "me.pem").read_bytes() == before


def test_without_a_key_nothing_is_approved(holder: Holder, capsys: pytest.CaptureFixture[str]) -> None:
    assert holder.approve() == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (holder.folder / "approval").exists()


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda one: (*one, "--key", "me.key"), "needs either --key and --passphrase-file, or --token"),
        (lambda one: one[:-4], "needs either --key"),
        (lambda one: ("--token", "nobody", *one[2:]), "gone"),
        (lambda one: (*one[:2], "--module", "/nowhere.so", *one[4:]), "nowhere.so"),
        (lambda one: (*one[:4], "--pin-file", str(Path(one[5]).with_name("wrong")), *one[6:]), "refuses the PIN"),
    ],
    ids=["file and token", "no PIN", "no such token", "no such module", "wrong PIN"],
)
def test_a_token_that_cannot_be_used_is_one_sentence(
    tmp_path: Path,
    bend: Callable[[tuple[str, ...]], tuple[str, ...]],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    holder = _token(tmp_path)
    write_private(tmp_path / "wrong", b"0000")
    assert holder.run("new-key", "--public", f"{tmp_path}/me.pem", words=bend(holder.words)) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "me.pem").exists()


def test_the_key_on_a_token_does_not_leave_it(tmp_path: Path) -> None:
    label = new_token("alice")
    create_personal_key(SOFTHSM, label, PIN, softhsm_configuration())
    key = Token(SOFTHSM, label, PIN, "", softhsm_configuration()).find(ObjectClass.PRIVATE_KEY, "custodian")
    assert key is not None and not key[Attribute.EXTRACTABLE]
    with pytest.raises(exceptions.PKCS11Error):
        _ = key[Attribute.VALUE]


def test_nss_has_no_ed25519_and_says_so() -> None:
    prepare_nss()
    with pytest.raises(VaultError, match="refuses"):
        make_signing_pair(Token(NSS, NSS_LABEL, PIN, nss_parameters()), "custodian")
