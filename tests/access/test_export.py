"""The list of cards for the issuer's other systems: signed, checked by an independent program, and without a key."""

import subprocess
from pathlib import Path

import pytest

from kioskd.edges.certificates import create_ca, issue_server
from kioskd.edges.signed_export import sign, table_of, verify_command
from kioskd.errors import BadConfiguration
from kioskd.gp.cplc import CardId
from kioskd.rekey.campaign import CardRow

ROWS = (
    CardRow(CardId("cplc", b"0123456789"), epoch=1, generation=2, kvn=0x32, install=3, open=False),
    CardRow(CardId("cf", b"abcdefghij"), epoch=2, generation=1, kvn=0x31, install=1, open=True),
    CardRow(CardId("cf", b"bcdefghijk"), epoch=1, generation=2, kvn=0x22, install=4, open=False, keys="AES-128"),
)
TABLE = (
    b"card,generation,kvn,install,epoch,state,keys\n"
    b"cplc:30313233343536373839,2,32,3,1,proven,\n"
    b"cf:6162636465666768696A,1,31,1,2,open,\n"
    b"cf:62636465666768696A6B,2,22,4,1,proven,AES-128\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CA and the access server's certificate."""
    create_ca(tmp_path, "authority")
    issue_server(tmp_path, "access.example", ("access.example",), tmp_path)
    return tmp_path


def signed(folder: Path) -> bytes:
    """The table under the server's certificate."""
    return sign(
        table_of(ROWS), (folder / "access.example.crt").read_bytes(), (folder / "access.example.key").read_bytes()
    )


def verified(folder: Path, content: bytes) -> subprocess.CompletedProcess[bytes]:
    """What OpenSSL says of it."""
    (folder / "cards.p7m").write_bytes(content)
    words = verify_command(str(folder / "ca.crt"), str(folder / "cards.p7m")).split()
    return subprocess.run(words, capture_output=True, check=False, timeout=20)


def test_the_table_names_card_generation_slot_and_install_number() -> None:
    assert table_of(ROWS) == TABLE


def test_openssl_verifies_the_export_and_prints_the_table(folder: Path) -> None:
    found = verified(folder, signed(folder))
    assert (found.returncode, found.stdout) == (0, TABLE), found.stderr


def test_openssl_refuses_an_altered_export_and_another_authority(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = signed(folder)
    lines = raw.splitlines()
    lines[5] = lines[5][:-1] + (b"A" if lines[5][-1:] != b"A" else b"B")
    assert verified(folder, b"\n".join(lines)).returncode != 0
    create_ca(other := tmp_path_factory.mktemp("other"), "authority")
    assert verified(other, raw).returncode != 0


def test_a_key_that_cannot_sign_is_a_sentence(folder: Path) -> None:
    with pytest.raises(BadConfiguration, match="is not PEM"):
        sign(b"", b"nothing", b"nothing")
