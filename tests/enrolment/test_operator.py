"""`kioskd access enrolment` for the operator: what it says, and what it will not begin."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from kioskd.access.cli import main
from kioskd.edges.certificates import Role, create_ca, issue_client
from kioskd.edges.https import HttpsServer
from kioskd.edges.tls import client_context
from kioskd.private_file import write_private
from kioskd.rekey.enrolment import WHOAMI
from tests.enrolment.offices import Registry, offer_in
from tests.loopback import HOST, NAME

pytestmark = pytest.mark.slow


def said(registry: Registry, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """`kioskd access enrolment ARGS`: exit code, output, error."""
    code = main(["enrolment", *args, "--config", f"{registry.folder}/access.yaml"])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_list_tells_where_each_code_and_each_certificate_stands(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.ask(offer_in(said(registry, capsys, "add", "one", "--role", "station")[1]))
    said(registry, capsys, "add", "two")
    _, again, _ = said(registry, capsys, "add", "one")
    assert f"kioskd access enrolment revoke one --config {registry.folder}/access.yaml" in again
    code, told, _ = said(registry, capsys, "list")
    rows = [line.split() for line in told.splitlines()]
    assert code == 0
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("one", "station", "code"),
        ("one", "kiosk", "code"),
        ("two", "kiosk", "code"),
        ("one", "station", "certificate"),
    ]
    assert rows[0][-1] == "used" and rows[1][-4:] == ["waits", "for", "its", "kiosk"] and rows[3][-2] == "good,"
    code, told, _ = said(registry, capsys, "revoke", "one")
    assert (code, told.splitlines()) == (
        0,
        [
            "one is refused from its next message on.",
            "Certificates on record: 1; any other of its name is refused as well.",
            "Its code that was not used is void.",
        ],
    )
    told = said(registry, capsys, "list")[1]
    assert "revoked," in told and "every certificate from before" in told


@pytest.mark.parametrize(
    "wrong", [["add", "-x"], ["add", "a b"], ["add", "k", "--valid", "8d"], ["add", "k", "--valid", "x"]]
)
def test_what_cannot_be_is_refused(wrong: list[str], registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said(registry, capsys, *wrong)
    assert (code, out) == (2, "") and "Traceback" not in err


def test_without_its_section_enrolment_is_off_and_says_so(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.write(enrolment=False)
    try:
        code, out, err = said(registry, capsys, "add", "kiosk-9")
        assert (code, out) == (2, "")
        assert "there is no such section, so that enrolment is off" in err and err.count("\n") == 1
        registry.restart()
        assert "enrolment is off" in registry.log
    finally:
        registry.write()
        registry.restart()


def test_an_authority_that_the_server_itself_does_not_trust_signs_nothing(
    registry: Registry, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = create_ca(tmp_path / "other", "other-authority")
    config = registry.folder / "access.yaml"
    usual = config.read_text()
    config.write_text(usual.replace(f"ca: {registry.house.ca}, ca_key", f"ca: {other.certificate}, ca_key"))
    assert config.read_text() != usual
    try:
        assert "ca.key is not the key of ca.crt" in said(registry, capsys, "add", "kiosk-9")[2]
        config.write_text(config.read_text().replace(f"{registry.folder}/ca/ca.key", str(other.key)))
        assert "what it signs would not be let in here" in said(registry, capsys, "add", "kiosk-9")[2]
        other.key.chmod(0o640)
        assert "make it 0600" in said(registry, capsys, "add", "kiosk-9")[2]
    finally:
        config.write_text(usual)


def test_a_terminal_of_the_customers_own_authority_is_let_in_beside_ours_and_revoked_like_ours(
    registry: Registry, tmp_path: Path
) -> None:
    create_ca(tmp_path / "customer", "customer-authority")
    theirs = issue_client(tmp_path / "customer", Role.KIOSK, "theirs", tmp_path / "customer")
    trusted, usual = registry.house.ca, registry.house.ca.read_bytes()
    (registry.folder / "ours.crt").write_bytes(usual)
    trusted.write_bytes(usual + (tmp_path / "customer" / "ca.crt").read_bytes())
    registry.restart()
    try:
        tls = client_context(registry.folder / "ours.crt", theirs.certificate, theirs.key)
        server = HttpsServer(HOST, registry.port, NAME, tls)
        assert asyncio.run(server.ask("GET", WHOAMI))["name"] == "theirs"
        registry.command("revoke", "theirs")
        with pytest.raises(Exception, match="the certificate of theirs was revoked"):
            asyncio.run(server.ask("GET", WHOAMI))
        terminal = registry.terminal("ours")
        assert terminal.enrol(registry.add("ours")).code == 0
        assert terminal.ca.read_bytes() == trusted.read_bytes()
    finally:
        trusted.write_bytes(usual)
        registry.restart()


@pytest.mark.usefixtures("root_only")
def test_what_root_writes_belongs_to_the_service_whose_folder_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, 12345, 12346)
    write_private(folder / "identity", b"secret", for_owner_of_folder=True)
    facts = (folder / "identity").stat()
    assert (facts.st_uid, facts.st_gid, facts.st_mode & 0o777) == (12345, 12346, 0o600)
    write_private(folder / "mine", b"secret")
    assert (folder / "mine").stat().st_uid == os.geteuid()
