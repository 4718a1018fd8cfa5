"""The sealed file: what a passphrase guards, and what happens to it on disk."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kioskd.errors import BadConfiguration, VaultError
from kioskd.private_file import read_passphrase, write_private
from kioskd.secret import Secret
from kioskd.virtual.sealed import Cost, SealedFile

CHEAP = Cost(n=2, r=1)
PHRASE = Secret(b"correct horse")
CONTENT = Secret(b"what nobody may read")


def sealed(path: Path, content: Secret = CONTENT) -> SealedFile:
    return SealedFile.create(path, "test", PHRASE, content, CHEAP)


def test_the_right_passphrase_opens_what_was_sealed(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    assert SealedFile.open(tmp_path / "vault", "test", PHRASE).content() == CONTENT


def test_the_default_cost_is_32_mebibytes_and_stands_in_the_header(tmp_path: Path) -> None:
    SealedFile.create(tmp_path / "vault", "test", PHRASE, CONTENT)
    assert b'"n":32768,' in (tmp_path / "vault").read_bytes()
    assert SealedFile.open(tmp_path / "vault", "test", PHRASE).content() == CONTENT


def test_a_wrong_passphrase_is_one_sentence(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    with pytest.raises(VaultError, match="wrong passphrase") as caught:
        SealedFile.open(tmp_path / "vault", "test", Secret(b"wrong horse"))
    assert "\n" not in str(caught.value)
    assert "horse" not in str(caught.value)


def test_the_file_is_its_owners_and_shows_nothing_of_the_content(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    assert stat.S_IMODE((tmp_path / "vault").stat().st_mode) == 0o600
    assert CONTENT.reveal() not in (tmp_path / "vault").read_bytes()


def test_a_vault_is_never_made_over_another(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    with pytest.raises(VaultError, match="exists already"):
        sealed(tmp_path / "vault", Secret(b"other"))
    assert SealedFile.open(tmp_path / "vault", "test", PHRASE).content() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]


def test_a_file_of_another_kind_is_refused_before_the_passphrase_is_tried(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    with pytest.raises(VaultError, match="is a test file, not a kms-vault file"):
        SealedFile.open(tmp_path / "vault", "kms-vault", PHRASE)


def test_a_change_by_one_process_is_seen_and_kept_by_another(tmp_path: Path) -> None:
    one = sealed(tmp_path / "vault", Secret(b"a"))
    other = SealedFile.open(tmp_path / "vault", "test", PHRASE)
    other.change(lambda old: Secret(old.reveal() + b"b"))
    assert one.content() == Secret(b"ab")
    one.change(lambda old: Secret(old.reveal() + b"c"))
    assert other.content() == Secret(b"abc")


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = sealed(tmp_path / "vault")
    before = (tmp_path / "vault").read_bytes()

    def fail(content: Secret) -> Secret:
        raise VaultError("no")

    with pytest.raises(VaultError, match="no"):
        file.change(fail)
    assert (tmp_path / "vault").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]


def test_every_seal_uses_a_fresh_nonce(tmp_path: Path) -> None:
    file = sealed(tmp_path / "vault")
    headers = set()
    for _ in range(20):
        file.change(lambda content: content)
        headers.add((tmp_path / "vault").read_bytes().partition(b"\n")[0])
    assert len(headers) == 20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_file_with_one_bit_changed_is_refused(tmp_path: Path, at: int, bit: int) -> None:
    path = tmp_path / "vault"
    if not path.exists():
        sealed(path)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] ^= 1 << bit
    (tmp_path / "changed").write_bytes(raw)
    with pytest.raises(VaultError):
        SealedFile.open(tmp_path / "changed", "test", PHRASE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(raw=st.binary(max_size=400))
def test_garbage_is_no_sealed_file(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "garbage").write_bytes(raw)
    with pytest.raises(VaultError):
        SealedFile.open(tmp_path / "garbage", "test", PHRASE)


def test_a_header_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path / "vault")
    raw = (tmp_path / "vault").read_bytes().replace(b'"n":2,', b'"n":1099511627776,')
    (tmp_path / "vault").write_bytes(raw)
    with pytest.raises(VaultError, match="not a sealed file"):
        SealedFile.open(tmp_path / "vault", "test", PHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_passphrase_file_that_others_may_use_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "passphrase"
    path.write_text("correct horse\n")
    path.chmod(mode)
    with pytest.raises(BadConfiguration, match=r"passphrase: others may use it"):
        read_passphrase(path)


def test_a_passphrase_is_the_file_without_its_line_end(tmp_path: Path) -> None:
    write_private(tmp_path / "passphrase", b"correct horse\n")
    assert read_passphrase(tmp_path / "passphrase") == PHRASE


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_passphrase_file_is_refused(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / "passphrase", content)
    with pytest.raises(BadConfiguration, match="holds no passphrase"):
        read_passphrase(tmp_path / "passphrase")


def test_an_absent_passphrase_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read: No such file"):
        read_passphrase(tmp_path / "passphrase")


def test_a_systemd_credential_is_accepted_with_its_group_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passphrase"
    path.write_text("correct horse")
    path.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_passphrase(path) == PHRASE
