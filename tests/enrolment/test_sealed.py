"""`kioskctl enrol --seal`: a sealed identity, as far as a machine without a TPM can show it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kioskd.edges.certificates import Issued, Role, create_ca, issue_client
from kioskd.edges.sealed_credential import check_tpm, seal
from kioskd.errors import BadConfiguration
from kioskd.private_file import read_private
from kioskd.secret import Secret
from kioskd.terminal.identity import SealedIdentity
from tests.enrolment.keyboard import Keyboard
from tests.enrolment.offices import new_terminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("systemd-creds") is None, reason="no systemd-creds on this machine"),
]

ABSENT = "tpm2-absent"
"""systemd-creds seals with no secret at all then: what is under test is the way, not the TPM."""


def has_tpm() -> bool:
    """Whether this machine has one."""
    try:
        check_tpm()
    except BadConfiguration:
        return False
    return True


def opened(sealed: Path, name: str) -> bytes:
    """What systemd would hand to the service."""
    command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    """A kiosk's certificate and key."""
    create_ca(tmp_path / "ca", "test-authority")
    return issue_client(tmp_path / "ca", Role.KIOSK, "k1", tmp_path / "tls")


async def test_a_machine_without_a_tpm_says_so_and_sends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_tpm():
        pytest.skip("this machine has a TPM")
    said = await Keyboard(new_terminal(tmp_path, "k1", 1), capsys, monkeypatch).enrol("https://192.0.2.1", "--seal")
    assert said.code == 2
    assert said.err == "--seal: this machine has no TPM that systemd can use; enrol without --seal\n"


def test_a_sealed_identity_is_what_was_tried_and_the_old_one_stays_if_it_is_refused(
    tmp_path: Path, issued: Issued
) -> None:
    memory, kept = tmp_path / "memory", tmp_path / "etc"
    memory.mkdir(mode=0o700)
    kept.mkdir()
    files = SealedIdentity(memory / "kiosk.pem", kept / "ca.crt", kept / "kiosk.pem.cred", "kiosk.pem", ABSENT)
    key, ca = read_private(issued.key), (tmp_path / "ca" / "ca.crt").read_text()
    assert not files.exists()
    told = files.put(key, issued.certificate.read_text(), ca, "k1")
    assert told.name == "k1" and files.exists()
    identity = opened(files.place, "kiosk.pem")
    assert identity == key.reveal() + issued.certificate.read_bytes()
    assert key.reveal() not in files.place.read_bytes()
    assert list(memory.iterdir()) == []
    before = files.place.read_bytes()
    with pytest.raises(BadConfiguration, match="this terminal is called k2"):
        files.put(key, issued.certificate.read_text(), ca, "k2")
    assert files.place.read_bytes() == before


def test_what_cannot_be_sealed_is_one_sentence() -> None:
    if has_tpm():
        pytest.skip("this machine has a TPM")
    with pytest.raises(BadConfiguration, match="the old one stays"):
        seal("kiosk.pem", Secret(b"identity"))
