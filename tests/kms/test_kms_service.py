"""The key management server over the network: who may ask for what, and the way of a bundle to its access server."""

import json
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.audit.cli import main as audit
from kioskd.edges.certificates import Role, create_ca, issue_client
from kioskd.errors import LinkLost, Refusal, ServerDown, ServerNotTrusted
from kioskd.kms.cli import main as kms
from kioskd.rekey.ceremony import Request
from kioskd.rekey.kms_wire import APPROVALS, EXECUTIONS, HOLDINGS, ONLINE, PAPERS, REQUESTS
from kioskd.rekey.papers import read_paper
from kioskd.shape import to_plain
from tests.kms.desk import Desk
from tests.kms.service import HOST, Service

pytestmark = [pytest.mark.slow]

RELEASE = ("release", "--generation", "1", "--epoch", "1", "--to", "@transport.pem")
ARM = ("arm", "--generation", "1", "--generation-from", "0", "--epoch", "1", "--to", "@transport.pem")


@pytest.fixture
def service(stock: Path, tmp_path: Path) -> Iterator[Service]:
    """A service with generation 1 and epoch 1, and an access server that knows it."""
    made = Service(Path(shutil.copytree(stock, tmp_path / "service")))
    shutil.copy(made.folder / "phrase", made.folder / "access.phrase")
    _repass(made)
    made.start()
    yield made
    made.roles.stop_all()


def _repass(service: Service) -> None:
    """The stock's access vault has a passphrase of its own."""
    (service.folder / "access.phrase").write_bytes(b"a")
    (service.folder / "access.phrase").chmod(0o600)
    service.write_access("file: @access, passphrase: @access.phrase")


def asked(service: Service, name: str = "asked") -> Request:
    """The request of a file."""
    return read_paper(Request, (service.folder / name).read_bytes(), name)


def approved(service: Service, *words: str) -> Request:
    """A request with its two approvals."""
    assert service.ask(*words) == 0
    request = asked(service)
    assert service.approve("alice", request.fingerprint) == service.approve("bob", request.fingerprint) == 0
    return request


def done(service: Service, *words: str, how: tuple[str, ...] = ()) -> None:
    """The whole way of an act, over the network."""
    approved(service, *words)
    assert service.execute(*how) == 0


def test_a_bundle_goes_from_the_request_to_the_access_server_without_a_file(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    done(service, "generate")
    done(service, "epoch", "--rsa-bits", "2048")
    done(service, *RELEASE, how=("--to", f"{service.folder}/transport.pem"))
    capsys.readouterr()
    assert service.fetch() == 0
    said = capsys.readouterr().out
    assert "Cards are issued under epoch 1 with generation 1 from now on." in said and "1 new" in said
    assert service.fetch() == 0
    assert capsys.readouterr().out == "Nothing new at the key management server; 1 used before.\n"
    done(service, *ARM, how=("--to", f"{service.folder}/transport.pem"))
    capsys.readouterr()
    assert service.fetch() == 0
    assert "Epoch 1 is armed: its cards get generation 1" in capsys.readouterr().out
    assert kms(["list", *service.at("operator")]) == 0
    said = capsys.readouterr().out
    assert "Epoch 1: released\n" in said and "Epoch 2: generated\n" in said and said.count(": Make ") == 4
    words = ["verify", f"{service.folder}/transcript", "--kms-key", f"{service.folder}/kms.pem"]
    assert audit(words) == 0


def test_an_order_to_disarm_comes_by_the_same_way_and_is_used_once(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ("--to", f"{service.folder}/transport.pem")
    done(service, *ARM, how=to)
    assert service.fetch() == 0
    empty = "4F53CDA18C2BAA0C0354BB5F9A3ECBE5ED12AB4D8E11BA873C2F11161202B945"  # the list of no open cases
    words = ("disarm", "--campaign", "generation-1", "--cases", empty, "--to", "@transport.pem")
    done(service, *words, how=to)
    capsys.readouterr()
    assert service.fetch() == 0
    assert "The campaign generation-1 is disarmed" in capsys.readouterr().out
    assert service.fetch() == 0
    assert "Nothing new" in capsys.readouterr().out


def test_a_custodian_sees_what_waits_and_approves_it_once(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    from kioskd.custodian.cli import main as custodian

    assert service.ask("generate") == 0
    capsys.readouterr()
    assert custodian(["requests", *service.at("custodian")]) == 0
    said = capsys.readouterr().out
    assert "approved by nobody: Make the master block of generation 2." in said
    fingerprint = said.split()[0]
    assert asked(service).fingerprint.startswith(fingerprint)
    whole = asked(service).fingerprint
    assert service.approve("alice", whole) == 0
    assert "Approved as alice; approved by alice." in capsys.readouterr().out
    assert service.approve("alice", whole) == 2
    assert "alice: has approved this request already" in capsys.readouterr().err
    assert service.execute() == 2
    assert "1 of 2 have approved (alice)" in capsys.readouterr().err
    assert service.approve("bob", whole) == 0
    assert service.execute() == 0
    assert custodian(["requests", *service.at("custodian")]) == 0
    assert "Nothing waits for approval." in capsys.readouterr().out


ALLOWED = {
    (Role.OPERATOR, "GET", HOLDINGS),
    (Role.CUSTODIAN, "GET", HOLDINGS),
    (Role.OPERATOR, "GET", REQUESTS),
    (Role.CUSTODIAN, "GET", REQUESTS),
    (Role.OPERATOR, "POST", REQUESTS),
    (Role.OPERATOR, "POST", APPROVALS),
    (Role.CUSTODIAN, "POST", APPROVALS),
    (Role.OPERATOR, "POST", EXECUTIONS),
    (Role.ACCESS, "GET", PAPERS),
}
DOORS = sorted({(method, path) for _, method, path in ALLOWED})


def test_each_role_is_let_through_its_own_doors_alone(service: Service) -> None:
    for role in Role:
        for method, path in DOORS:
            where = f"{path}/{'0' * 64}" if path == PAPERS else path
            try:
                service.speak(role.value, method, where)
                through = True
            except Refusal as no:
                through = "may not ask for this" not in str(no)
            assert through is ((role, method, path) in ALLOWED), (role, method, path)
    assert service.roles.status("kms") is not None


def test_an_access_server_gets_what_is_for_the_fingerprint_that_it_says(service: Service) -> None:
    done(service, *RELEASE, how=("--to", f"{service.folder}/transport.pem"))
    (folder,) = (service.folder / "outbox").iterdir()
    assert len(service.speak("access", "GET", f"{PAPERS}/{folder.name}")["papers"]) == 1
    assert service.speak("access", "GET", f"{PAPERS}/{'0' * 64}") == {"papers": []}
    for wrong in ("..", "%2e%2e", "0" * 63, "A" * 64, "*"):
        with pytest.raises((Refusal, ServerDown)):
            service.speak("access", "GET", f"{PAPERS}/{wrong}")


@pytest.mark.parametrize("act", ["destroy", "backup", "restore"])
def test_what_needs_files_that_are_looked_at_where_the_keys_are_is_not_asked_for_online(
    service: Service, act: str
) -> None:
    assert act not in [one.value for one in ONLINE]
    with pytest.raises(Refusal, match="is asked for at the key management server itself"):
        service.speak("operator", "POST", REQUESTS, {"act": act, "details": [], "days": 7})
    assert service.ask("generate") == 0
    forged = to_plain(asked(service)) | {
        "act": act,
        "details": [{"name": n, "value": "1"} for n in ("backup", "epoch", "recipient", "server", "servers")],
    }
    with pytest.raises(Refusal, match="is done at the key management server itself"):
        service.speak("operator", "POST", EXECUTIONS, {"request": forged, "approvals": [], "to": ""})


@pytest.mark.parametrize(
    ("act", "details", "words"),
    [
        ("generate", {"generation": "two"}, "generation cannot be 'two'"),
        ("generate", {"generation": "7"}, "the next generation is 2 by now"),
        ("generate", {}, "does not say 'generation'"),
        ("epoch", {"epoch": "2", "bits": "1024"}, "2048 to 8192 bits"),
        ("epoch", {"epoch": "2", "bits": "-1"}, "bits cannot be '-1'"),
        ("release", {"generation": "1", "epoch": "1", "hours": "9999", "recipient": "00" * 32}, "hours cannot be"),
        ("release", {"generation": "1", "epoch": "1", "hours": "1", "recipient": "00"}, "recipient cannot be"),
        ("release", {"generation": "1", "epoch": "9", "hours": "1", "recipient": "00" * 32}, "there is none"),
        (
            "arm",
            {
                "generation": "1",
                "epoch": "1",
                "hours": "1",
                "recipient": "00" * 32,
                "campaign": "c",
                "generation_from": "0",
                "window": "now",
            },
            "cannot be made",
        ),
    ],
)
def test_a_request_whose_words_could_not_be_done_is_refused_before_anybody_approves_it(
    service: Service, act: str, details: dict[str, str], words: str
) -> None:
    listed = [{"name": name, "value": details[name]} for name in sorted(details)]
    with pytest.raises(Refusal, match=words):
        service.speak("operator", "POST", REQUESTS, {"act": act, "details": listed, "days": 7})
    assert len(service.speak("operator", "GET", REQUESTS)) == 2


def test_a_forged_request_whose_words_are_no_numbers_is_refused_in_a_sentence(service: Service) -> None:
    assert service.ask("generate") == 0
    forged = to_plain(asked(service)) | {"details": [{"name": "generation", "value": "two"}]}
    with pytest.raises(Refusal, match="no such request was made here"):
        service.speak("operator", "POST", EXECUTIONS, {"request": forged, "approvals": [], "to": ""})
    assert "Traceback" not in service.roles.log("kms").read_text()


def raw(service: Service, path: str, body: bytes, method: str = "POST") -> tuple[int, bytes]:
    """What the operator's certificate gets for a body that no client of ours would send."""
    tls = ssl.create_default_context(cafile=str(service.folder / "ca" / "ca.crt"))
    tls.load_cert_chain(service.folder / "operator.crt", service.folder / "operator.key")
    request = urllib.request.Request(f"https://{HOST}:{service.port}{path}", data=body, method=method)
    try:
        with urllib.request.urlopen(request, context=tls, timeout=20) as response:  # noqa: S310 - our own service
            return response.status, response.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read()


def test_bodies_that_are_none_are_refused_in_a_sentence_and_the_service_lives(service: Service) -> None:
    bodies: tuple[Any, ...] = (b"{", b"[" * 100000, b'"x"', b"{}", b"null", b"\xff", b'{"act": "generate"}')
    for path in (REQUESTS, APPROVALS, EXECUTIONS):
        for body in bodies:
            status, said = raw(service, path, body)
            assert status == 400 and json.loads(said)["outcome"] == "bad-message", (path, body[:9])
        assert raw(service, path, b"x" * (2 << 20))[0] == 413
    assert raw(service, "/nothing", b"{}")[0] == 404
    assert raw(service, HOLDINGS, b"", "DELETE")[0] == 405
    assert service.roles.status("kms") is not None
    assert "Traceback" not in service.roles.log("kms").read_text()


def test_a_foreign_an_expired_and_no_certificate_are_not_spoken_with(service: Service) -> None:
    create_ca(service.folder / "other", "authority")
    issue_client(service.folder / "other", Role.OPERATOR, "foreign", service.folder)
    with pytest.raises(LinkLost):
        service.speak("foreign", "GET", HOLDINGS)
    with pytest.raises(LinkLost):  # a server's certificate is no client's
        service.speak("access.example", "GET", HOLDINGS)
    elsewhere = replace(service.as_role("operator"), name="other.example")
    import asyncio

    with pytest.raises(ServerNotTrusted):
        asyncio.run(elsewhere.ask("GET", HOLDINGS))
    service.roles.stop("kms")
    with pytest.raises(ServerDown):
        service.speak("operator", "GET", HOLDINGS)


def test_two_operators_who_ask_for_the_same_generation_do_not_both_get_it(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        assert service.ask("generate", name=name) == 0
        for who in ("alice", "bob"):
            assert service.approve(who, asked(service, name).fingerprint) == 0
    assert service.execute(name="one") == 0
    capsys.readouterr()
    assert service.execute(name="two") == 2
    assert "the next generation is 3 by now" in capsys.readouterr().err


def test_the_command_line_beside_the_running_service_works_on_the_same_transcript(service: Service) -> None:
    desk = Desk(service.folder)
    assert desk.ask("generate", name="beside") == 0
    fingerprint = asked(service, "beside").fingerprint
    assert service.approve("alice", fingerprint) == service.approve("carol", fingerprint) == 0
    assert desk.execute(name="beside", who=()) == 0
    assert service.speak("operator", "GET", HOLDINGS)["generations"] == [1, 2]


def test_a_service_that_was_killed_has_lost_nothing_that_it_said(service: Service) -> None:
    request = approved(service, *RELEASE)
    service.roles.kill("kms")
    service.start()
    listed = service.speak("operator", "GET", REQUESTS)
    assert listed[-1]["approved"] == ["alice", "bob"] and not listed[-1]["done"]
    assert service.execute("--to", "@transport.pem") == 0
    service.roles.kill("kms")
    service.start()
    assert service.speak("operator", "GET", REQUESTS)[-1]["done"], request.words
    assert service.fetch() == 0


def test_a_paper_that_cannot_be_used_any_more_is_not_given(service: Service) -> None:
    done(service, *RELEASE, how=("--to", f"{service.folder}/transport.pem"))
    (folder,) = (service.folder / "outbox").iterdir()
    (file,) = folder.iterdir()
    old = json.loads(file.read_bytes())
    old["header"] |= {"not_before": 100, "not_after": 200}
    file.write_bytes(json.dumps(old, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    assert service.speak("access", "GET", f"{PAPERS}/{folder.name}") == {"papers": []}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("outbox: @outbox", "outbox: @nowhere"), "outbox: "),
        (("transcript: @transcript", "transcript: @nothing"), "transcript: "),
        (("passphrase: @phrase", "passphrase: @kms.pem"), "vault.passphrase: "),
        (("port: ", "port: 7"), "listen.port: "),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_sentence(
    service: Service, change: tuple[str, str], words: str
) -> None:
    before, after = (one.replace("@", f"{service.folder}/") for one in change)
    text = (service.folder / "kms.yaml").read_text()
    assert before in text
    (service.folder / "kms.yaml").write_text(text.replace(before, after))
    command = [sys.executable, "-m", "kioskd", "kms", "serve", "--check", "--config", str(service.folder / "kms.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 2 and said.stderr.count("\n") == 1 and words in said.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--at", "nowhere"], "--at: needs HOST:PORT"),
        (["--at", "127.0.0.1:1"], "--tls-ca: is missing"),
        ([], "--transcript: is missing"),
    ],
)
def test_a_command_line_that_names_no_server_is_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kms(["list", *words]) == 2
    assert capsys.readouterr().err.startswith(sentence)
