"""`kioskd access serve --check` as a process: it looks at every file that the server needs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kioskd.private_file import write_private
from kioskd.secret import Secret
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.loopback import House, build_house

pytestmark = pytest.mark.slow  # each test starts a process


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    made = build_house(tmp_path_factory.mktemp("house"))
    write_private(made.folder / "pass", b"word\n")
    write_private(made.folder / "other.pass", b"other\n")
    SoftVault.create(made.folder / "vault", Secret(b"word"), cost=Cost(n=16), rsa_bits=2048)
    (made.folder / "kms.pem").write_bytes(made.ca.read_bytes())
    return made


@pytest.fixture
def good(house: House) -> str:
    return (
        "listen: {host: 127.0.0.1, port: 8443}\n"
        f"tls: {{ca: {house.ca}, certificate: {house.server.certificate}, key: {house.server.key}}}\n"
        f"store: sqlite:///{house.folder}/access.db\n"
        f"vault: {{file: {house.folder}/vault, passphrase: {house.folder}/pass, kms_key: {house.folder}/kms.pem}}\n"
        f"socket: {house.folder}/access.sock\n"
    )


def check(text: str, tmp_path: Path, *role: str) -> subprocess.CompletedProcess[str]:
    """`kioskd ROLE --check` of that configuration."""
    (tmp_path / "it.yaml").write_text(text)
    command = [sys.executable, "-m", "kioskd", *(role or ("access", "serve")), "--config", str(tmp_path / "it.yaml")]
    return subprocess.run([*command, "--check"], capture_output=True, text=True, check=False, timeout=30)


def refused(text: str, tmp_path: Path) -> str:
    """The one sentence of a refusal."""
    done = check(text, tmp_path)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_server_that_has_all_it_needs_is_usable(good: str, house: House, tmp_path: Path) -> None:
    done = check(good, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    profiles, enrolment, usable = done.stdout.splitlines()
    assert profiles == f"{tmp_path}/it.yaml: card profiles: gp-scp03-aes128"
    assert enrolment.startswith(f"{tmp_path}/it.yaml: enrolment: there is no such section, so that enrolment is off")
    assert usable == f"{tmp_path}/it.yaml: usable; issuing none, armed none"
    assert not (house.folder / "access.db").exists(), "a check leaves nothing behind"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda h: (str(h.server.key), str(h.kiosk.key)),
            "are not a certificate and its key: the key is another certificate's",
        ),
        (
            lambda h: (f"ca: {h.ca}", f"ca: {h.server.key}"),
            "is not a certificate authority's file: a certificate, or a key",
        ),
        (lambda h: (f"{h.folder}/pass", f"{h.folder}/other.pass"), "passphrase"),
        (lambda h: (f"{h.folder}/vault", f"{h.folder}/absent"), "absent: cannot be read"),
        (lambda h: (f"{h.folder}/vault", f"{h.folder}/kms.pem"), "kms.pem: "),
        (lambda h: (f"sqlite:///{h.folder}/access.db", "sqlite:///access.db"), "store: access.db is not an absolute"),
        (lambda h: (f"sqlite:///{h.folder}/access.db", "sqlite://"), "store: nothing is not an absolute path"),
        (lambda h: (f"sqlite:///{h.folder}/access.db", "sqlite:////nowhere/a.db"), "store: /nowhere is not a folder"),
        (lambda _: ("port: 8443", "port: 8443.5"), "it.yaml: listen.port: needs a whole number"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_what_it_should_be_is_one_sentence(
    good: str, house: House, tmp_path: Path, change: Callable[[House], tuple[str, str]], says: str
) -> None:
    old, new = change(house)
    assert old in good
    said = refused(good.replace(old, new, 1), tmp_path)
    assert says in said


@pytest.mark.parametrize("role", ["kiosk", "station"])
def test_a_terminal_refuses_in_one_sentence_too(house: House, tmp_path: Path, role: str) -> None:
    done = check(f"name: k1\nserver: {{host: h, port: 1}}\njournal: {tmp_path}/j\n", tmp_path, role)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr in (f"{tmp_path}/it.yaml: tls: is missing\n", f"{tmp_path}/it.yaml: socket: is missing\n")


def test_a_kiosk_that_is_not_enrolled_yet_says_how_that_is_done(house: House, tmp_path: Path) -> None:
    tls = f"{{ca: {house.ca}, certificate: {tmp_path}/kiosk.pem, key: {tmp_path}/kiosk.pem}}"
    config = f"name: k1\nserver: {{host: h, port: 1}}\ntls: {tls}\njournal: {tmp_path}/j\nsocket: {tmp_path}/s\n"
    done = check(config, tmp_path, "kiosk")
    assert (done.returncode, done.stdout) == (2, "")
    words = "kiosk.pem cannot be read: No such file or directory; a new terminal gets it by `kioskctl enrol`"
    assert done.stderr == f"{tmp_path}/it.yaml: tls.certificate: {tmp_path}/{words}\n"


@pytest.mark.parametrize(
    ("url", "says"), [("foo://u:hunter2@h/d", "foo"), ("postgresql+psycopg://u:hunter2@h:x/d", ""), ("://", "")]
)
def test_a_database_that_cannot_be_opened_is_one_sentence_without_its_password(
    good: str, house: House, tmp_path: Path, url: str, says: str
) -> None:
    (tmp_path / "it.yaml").write_text(good.replace(f"sqlite:///{house.folder}/access.db", url))
    command = [sys.executable, "-m", "kioskd", "access", "serve", "--config", str(tmp_path / "it.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr and "hunter2" not in done.stderr
