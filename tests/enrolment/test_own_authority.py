"""The customer's own authority: a signing request goes out as a file, a certificate comes back as one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kioskd.edges.certificates import Authority, Role, create_ca, issue_server, load_authority, sign_client
from kioskd.edges.signing_request import new_key, read_request, signing_request
from kioskd.edges.tls import examine
from tests.enrolment.keyboard import Keyboard
from tests.enrolment.offices import new_terminal

pytestmark = pytest.mark.slow
DAY = timedelta(days=1)


@pytest.fixture
def kiosk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Keyboard:
    """A new machine, k1, far from any access server."""
    return Keyboard(new_terminal(tmp_path, "k1", 1), capsys, monkeypatch)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The customer's."""
    made = create_ca(tmp_path / "customer", "customer-authority")
    return load_authority(made.certificate, made.key)


def signed(
    authority: Authority,
    csr: str,
    name: str = "k1",
    role: Role = Role.KIOSK,
    begin: timedelta = -DAY,
    end: timedelta = DAY,
) -> str:
    """A certificate for a request."""
    now = datetime.now(UTC).replace(microsecond=0)
    made = sign_client(authority, read_request(csr)[0], role, name, (now + begin, now + end))
    return made.public_bytes(serialization.Encoding.PEM).decode()


def certified(name: str, by: Authority | None) -> Authority:
    """An authority that another one certifies, or it itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return Authority(builder.sign(by.key if by is not None else key, hashes.SHA256()), key)


async def install(kiosk: Keyboard, certificate: str, tmp_path: Path, *args: str) -> str:
    """Puts a certificate in; the sentence if it is refused."""
    (tmp_path / "back.crt").write_text(certificate)
    ca = ("--ca", str(tmp_path / "customer" / "ca.crt"))
    said = await kiosk.enrol("--install", str(tmp_path / "back.crt"), *ca, *args)
    assert (said.code == 0) == (said.err == "")
    return said.err


async def test_a_terminal_far_from_any_server_enrols_by_files(
    kiosk: Keyboard, authority: Authority, tmp_path: Path
) -> None:
    said = await kiosk.enrol("--csr-out", str(tmp_path / "k1.csr"))
    assert said.code == 0 and said.out.splitlines()[-1].startswith("Next: have your authority sign it")
    assert "PRIVATE" not in (tmp_path / "k1.csr").read_text()
    assert await install(kiosk, signed(authority, (tmp_path / "k1.csr").read_text()), tmp_path) == ""
    identity = kiosk.terminal.identity
    assert examine(kiosk.terminal.ca, identity, identity).name == "k1"
    assert sorted(kiosk.files()) == ["ca.crt", "kiosk.pem", "kiosk.yaml"]


async def test_the_next_certificate_takes_the_place_of_the_one_that_is_there_when_it_has_come(
    kiosk: Keyboard, authority: Authority, tmp_path: Path
) -> None:
    for number, how in enumerate(((), ("--replace",))):
        csr = tmp_path / f"{number}.csr"
        before = kiosk.files().get("kiosk.pem")
        assert (await kiosk.enrol("--csr-out", str(csr))).code == 0
        assert kiosk.files().get("kiosk.pem") == before, "the old one works until then"
        certificate = signed(authority, csr.read_text())
        if how:
            assert "--replace puts a new one in its place" in await install(kiosk, certificate, tmp_path)
        assert await install(kiosk, certificate, tmp_path, *how) == ""
        assert kiosk.files()["kiosk.pem"] != before


async def test_a_certificate_that_does_not_fit_is_refused_and_the_key_goes_on_waiting(
    kiosk: Keyboard, authority: Authority, tmp_path: Path
) -> None:
    assert "`kioskctl enrol --csr-out FILE` makes it" in await install(kiosk, "", tmp_path)
    await kiosk.enrol("--csr-out", str(tmp_path / "k1.csr"))
    csr, before = (tmp_path / "k1.csr").read_text(), kiosk.files()
    foreign_files = create_ca(tmp_path / "foreign", "foreign-authority")
    foreign = load_authority(foreign_files.certificate, foreign_files.key)
    server = issue_server(tmp_path / "customer", "k1", ("k1",), tmp_path / "server")
    for certificate, why in (
        (signed(authority, signing_request(new_key(), "kiosk", "k1").decode()), "are not a certificate and its key"),
        (signed(authority, csr, "k2"), "is for k2, and this terminal is called k1"),
        (signed(authority, csr, role=Role.OPERATOR), "organisational unit is 'operator', it must be kiosk"),
        (signed(authority, csr, begin=-2 * DAY, end=-DAY), "certificate has expired"),
        (signed(authority, csr, begin=DAY, end=2 * DAY), "certificate is not yet valid"),
        (signed(foreign, csr), "is not accepted under"),
        (server.certificate.read_text(), "are not a certificate and its key"),
        ("nothing", "are not a certificate and its key"),
    ):
        assert why in await install(kiosk, certificate, tmp_path)
        assert kiosk.files() == before
    assert await install(kiosk, signed(authority, csr), tmp_path) == ""


async def test_a_second_request_does_not_silently_drop_the_key_of_the_first(kiosk: Keyboard, tmp_path: Path) -> None:
    await kiosk.enrol("--csr-out", str(tmp_path / "first.csr"))
    before = kiosk.files()
    said = await kiosk.enrol("--csr-out", str(tmp_path / "second.csr"))
    assert said.code == 2 and "a key waits for its certificate already" in said.err
    assert kiosk.files() == before and not (tmp_path / "second.csr").exists()


async def test_an_intermediate_authority_comes_with_the_certificate(kiosk: Keyboard, tmp_path: Path) -> None:
    (tmp_path / "customer").mkdir()
    await kiosk.enrol("--csr-out", str(tmp_path / "k1.csr"))
    root = certified("root", None)
    middle = certified("middle", root)
    (tmp_path / "customer" / "ca.crt").write_bytes(root.certificate.public_bytes(serialization.Encoding.PEM))
    leaf = signed(middle, (tmp_path / "k1.csr").read_text())
    pem = middle.certificate.public_bytes(serialization.Encoding.PEM).decode()
    assert "is not accepted under" in await install(kiosk, leaf, tmp_path)
    assert await install(kiosk, leaf + pem, tmp_path) == ""
