"""The certificates of a small installation, as TLS itself judges them."""

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from kioskd.ca.cli import main
from kioskd.edges.certificates import Issued, Role, create_ca, issue_client, issue_server
from kioskd.errors import BadConfiguration


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    create_ca(tmp_path / "ca", "Test")
    return tmp_path / "ca"


def server_context(ca: Path, issued: Issued) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca / "ca.crt"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(issued.certificate, issued.key)
    return context


def client_context(ca: Path, issued: Issued) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca / "ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(issued.certificate, issued.key)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """The role and name that the server reads from the client's certificate; the handshake's error otherwise."""
    ours, theirs = socket.socketpair()
    seen: list[str] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as link:
                der = link.getpeercert(binary_form=True)
                assert der is not None
                subject = x509.load_der_x509_certificate(der).subject
                seen.append(" ".join(str(one.value) for one in subject))
                link.sendall(b"!")
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours, server_hostname=name) as link:
            if link.recv(1) != b"!":
                raise ssl.SSLError("the server closed")
    finally:
        ours.close()
        thread.join(10)
    return seen[0]


@pytest.mark.parametrize("role", list(Role))
def test_server_and_client_accept_each_other_and_the_server_reads_role_and_name(
    ca: Path, tmp_path: Path, role: Role
) -> None:
    server = server_context(ca, issue_server(ca, "access", ("localhost", "127.0.0.1"), tmp_path))
    client = client_context(ca, issue_client(ca, role, "hall-1", tmp_path))
    assert shake_hands(server, client, "localhost") == f"{role.value} hall-1"
    assert shake_hands(server, client, "127.0.0.1") == f"{role.value} hall-1"


def test_a_client_refuses_a_server_of_another_name(ca: Path, tmp_path: Path) -> None:
    server = server_context(ca, issue_server(ca, "access", ("localhost",), tmp_path))
    client = client_context(ca, issue_client(ca, Role.KIOSK, "hall-1", tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "elsewhere.example")


def test_an_expired_certificate_is_refused_on_either_side(ca: Path, tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=9)
    good_server = server_context(ca, issue_server(ca, "access", ("localhost",), tmp_path))
    good_client = client_context(ca, issue_client(ca, Role.KIOSK, "hall-1", tmp_path))
    old_server = server_context(ca, issue_server(ca, "old", ("localhost",), tmp_path, 2, past))
    old_client = client_context(ca, issue_client(ca, Role.KIOSK, "hall-2", tmp_path, 2, past))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(old_server, good_client, "localhost")
    with pytest.raises(OSError, match="expired"):
        shake_hands(good_server, old_client, "localhost")


def test_a_client_of_another_ca_is_refused(ca: Path, tmp_path: Path) -> None:
    create_ca(tmp_path / "other", "Other")
    server = server_context(ca, issue_server(ca, "access", ("localhost",), tmp_path))
    foreign = issue_client(tmp_path / "other", Role.KIOSK, "hall-1", tmp_path)
    with pytest.raises(OSError, match=r"unknown ca|UNKNOWN_CA"):
        shake_hands(server, client_context(ca, foreign), "localhost")


def test_a_client_certificate_does_not_make_a_server_nor_a_server_certificate_a_client(
    ca: Path, tmp_path: Path
) -> None:
    server = issue_server(ca, "access", ("localhost",), tmp_path)
    client = issue_client(ca, Role.KIOSK, "localhost", tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server_context(ca, client), client_context(ca, client), "localhost")
    with pytest.raises(OSError, match=r"unsupported certificate|UNSUPPORTED_CERTIFICATE"):
        shake_hands(server_context(ca, server), client_context(ca, server), "localhost")


def test_keys_are_for_their_owner_only_and_are_never_overwritten(ca: Path, tmp_path: Path) -> None:
    issued = issue_client(ca, Role.STATION, "desk", tmp_path)
    before = issued.key.read_bytes()
    for key in (issued.key, ca / "ca.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(BadConfiguration, match="exists already"):
        issue_client(ca, Role.STATION, "desk", tmp_path)
    with pytest.raises(BadConfiguration, match="exists already"):
        create_ca(ca, "Again")
    assert issued.key.read_bytes() == before


def test_a_ca_key_that_others_can_read_signs_nothing(ca: Path, tmp_path: Path) -> None:
    (ca / "ca.key").chmod(0o640)
    with pytest.raises(BadConfiguration, match=r"ca\.key: others may use it"):
        issue_client(ca, Role.KIOSK, "hall-1", tmp_path)


def test_the_command_makes_a_ca_and_signs_for_every_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ca, out = str(tmp_path / "ca"), str(tmp_path / "out")
    assert main(["init", "Town", "--dir", ca]) == 0
    assert main(["server", "access", "--dir", ca, "--out", out, "--host", "::1", "--host", "access.example"]) == 0
    for role in Role:
        assert main([role.value, f"{role.value}-1", "--dir", ca, "--out", out, "--days", "3"]) == 0
    assert capsys.readouterr().out.count("Next: ") == 2 + len(Role)
    made = x509.load_pem_x509_certificate((tmp_path / "out" / "kiosk-1.crt").read_bytes())
    assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=3)
    assert made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "kiosk-1"


@pytest.mark.parametrize(
    "argv",
    [
        ["kiosk", "hall-1", "--dir", "no-such-folder"],
        ["kiosk", "../hall", "--dir", "CA"],
        ["kiosk", "hall-1", "--dir", "CA", "--days", "-1"],
        ["kiosk", "hall-1", "--dir", "CA", "--not-before", "yesterday"],
        ["server", "access", "--dir", "CA"],
        ["server", "access", "--dir", "CA", "--host", "naïve.example"],
        ["kiosk", "hall-1", "--dir", "CA", "--out", "CA/ca.crt"],
        ["nobody", "hall-1"],
        [],
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(ca: Path, argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.replace("CA", str(ca)) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip()
    assert "Traceback" not in said.err
