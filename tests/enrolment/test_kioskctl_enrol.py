"""`kioskctl enrol` at a terminal: what it refuses, and that whatever breaks off leaves what was there."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges.certificates import Issued, create_ca, issue_server
from kioskd.edges.enrolling import EnrollingAuthority, fingerprint_of
from kioskd.edges.enrolment_door import serve_enrolment
from kioskd.edges.signing_request import new_key, read_request, signing_request
from kioskd.edges.tls import enrolment_server_context
from kioskd.errors import EnrolmentRefused
from kioskd.private_file import write_private
from kioskd.rekey.bundle import in_words
from kioskd.rekey.enrolment import WHOAMI, Enrolled
from kioskd.shape import to_plain
from tests.enrolment.desk import Desk, open_desk
from tests.enrolment.keyboard import Keyboard, Proxy
from tests.enrolment.offices import new_terminal
from tests.loopback import HOST, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path / "house") as opened:
        yield opened


@pytest.fixture
def kiosk(desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Keyboard:
    """A new machine, k1, that nobody has enrolled."""
    return Keyboard(new_terminal(tmp_path, "k1", desk.port), capsys, monkeypatch)


def url(desk: Desk) -> str:
    """Where terminals enrol."""
    return f"https://{HOST}:{desk.door}"


def fingerprint(desk: Desk) -> str:
    """The true server's."""
    return fingerprint_of(desk.house.server.certificate)


async def test_a_technician_compares_the_fingerprint_says_yes_and_types_the_code(desk: Desk, kiosk: Keyboard) -> None:
    said = await kiosk.enrol(url(desk), typing=f"yes\n{str(await desk.code('k1')).lower()}\n")
    assert (said.code, said.err) == (0, "")
    assert in_words(bytes.fromhex(fingerprint(desk))) in said.out
    terminal = kiosk.terminal
    assert (await desk.under(Issued(terminal.identity, terminal.identity)).ask("GET", WHOAMI))["name"] == "k1"


@pytest.mark.parametrize("answer", ["no\n", "\n", "", "y\n"])
async def test_whoever_does_not_say_yes_has_sent_nothing(desk: Desk, kiosk: Keyboard, answer: str) -> None:
    before = kiosk.files()
    said = await kiosk.enrol(url(desk), typing=answer + str(await desk.code("k1")))
    assert said.code == 2
    assert said.err.endswith("Nothing was sent. Ask the operator which fingerprint is right.\n")
    assert (kiosk.files(), await desk.given()) == (before, [])


async def test_a_server_with_another_fingerprint_hears_nothing(desk: Desk, kiosk: Keyboard, tmp_path: Path) -> None:
    heard: list[Any] = []

    async def listen(body: Any) -> Any:
        heard.append(body)

    create_ca(tmp_path / "other", "other-authority")
    impostor = issue_server(tmp_path / "other", "access.test", ("access.test",), tmp_path / "other")
    port, tls = free_port(), enrolment_server_context(impostor.certificate, impostor.key)
    before = kiosk.files()
    async with serve_enrolment(HOST, port, tls, listen):
        said = await kiosk.enrol(
            f"https://{HOST}:{port}", "--fingerprint", fingerprint(desk), typing=str(await desk.code("k1"))
        )
    assert said.code == 2 and "nothing was sent" in said.err and said.err.count("\n") == 1
    assert in_words(bytes.fromhex(fingerprint_of(impostor.certificate))) in said.err
    assert (heard, kiosk.files()) == ([], before)


async def test_a_code_comes_from_a_private_file_or_the_keyboard_and_from_nowhere_else(
    desk: Desk, kiosk: Keyboard, tmp_path: Path
) -> None:
    loose, tight = tmp_path / "loose", tmp_path / "tight"
    code = str(await desk.code("k1"))
    loose.write_text(code)
    loose.chmod(0o644)
    write_private(tight, code.encode())
    how = (url(desk), "--fingerprint", fingerprint(desk), "--code-file")
    said = await kiosk.enrol(*how, str(loose))
    assert said.code == 2 and "make it 0600" in said.err
    assert (await kiosk.enrol(*how, str(tight))).code == 0


async def test_a_wrong_code_is_one_sentence_and_leaves_nothing_behind(desk: Desk, kiosk: Keyboard) -> None:
    await desk.code("k1")
    before = kiosk.files()
    how = (url(desk), "--fingerprint", fingerprint(desk))
    said = await kiosk.enrol(*how, typing="0000-0000-0000-0000")
    assert said.code == 2
    assert said.err == "the code is wrong, used, expired or void; have the operator give out a new one\n"
    assert (await kiosk.enrol(*how, typing="nonsense")).err.startswith("the code: needs 16 letters and digits")
    assert kiosk.files() == before


async def test_the_code_of_another_terminal_is_refused_and_stays_good(desk: Desk, kiosk: Keyboard) -> None:
    code = await desk.code("k2")
    said = await kiosk.enrol(url(desk), "--fingerprint", fingerprint(desk), typing=str(code))
    assert said.err == "the code was made for k2, and this terminal is called k1\n"
    await desk.enrol(code)


async def test_an_identity_that_is_there_is_replaced_only_on_demand(desk: Desk, kiosk: Keyboard) -> None:
    how = (url(desk), "--fingerprint", fingerprint(desk))
    assert (await kiosk.enrol(*how, typing=str(await desk.code("k1")))).code == 0
    first, code = kiosk.files(), await desk.code("k1")
    said = await kiosk.enrol(*how, typing=str(code))
    assert said.code == 2 and "--replace puts a new one in its place" in said.err
    assert kiosk.files() == first
    assert (await kiosk.enrol(*how, "--replace", typing="0000-0000-0000-0000")).code == 2
    assert kiosk.files() == first, "what broke off has left the old identity"
    assert (await kiosk.enrol(*how, "--replace", typing=str(code))).code == 0
    assert kiosk.files()["kiosk.pem"] != first["kiosk.pem"]


async def lied_to(desk: Desk, kiosk: Keyboard, answer: Any) -> str:
    """What kioskctl says where the server of the right fingerprint answers something else."""
    port = free_port()
    tls = enrolment_server_context(desk.house.server.certificate, desk.house.server.key)
    before = kiosk.files()
    async with serve_enrolment(HOST, port, tls, answer):
        how = ("--fingerprint", fingerprint(desk), "--replace")
        said = await kiosk.enrol(f"https://{HOST}:{port}", *how, typing="0000-0000-0000-0000")
    assert said.code == 2 and said.err.count("\n") == 1 and said.out.count("\n") == 0
    assert kiosk.files() == before
    return said.err


async def test_whatever_a_server_answers_the_old_identity_stays(desk: Desk, kiosk: Keyboard, tmp_path: Path) -> None:
    await kiosk.enrol(url(desk), "--fingerprint", fingerprint(desk), typing=str(await desk.code("k1")))
    assert "kiosk.pem" in kiosk.files()
    authority, other = desk.registrar.authority, tmp_path / "other"
    create_ca(other, "other-authority")
    foreign = EnrollingAuthority(other / "ca.crt", other / "ca.key", other / "ca.crt", 1.0)

    def answering(name: str, role: str, of: EnrollingAuthority, ca: str, *, own_key: bool = True) -> Any:
        async def answer(body: Any) -> Any:
            csr = body["csr"] if own_key else signing_request(new_key(), "kiosk", "k1").decode()
            return to_plain(Enrolled(of.sign(read_request(csr)[0], role, name).pem, ca))

        return answer

    async def garbage(_: Any) -> Any:
        return to_plain(Enrolled("no certificate", "no authority"))

    async def something(_: Any) -> Any:
        return ["unexpected"]

    async def no(_: Any) -> Any:
        raise EnrolmentRefused("because")

    ours = authority.trusted
    assert "is for k2, and this terminal is called k1" in await lied_to(
        desk, kiosk, answering("k2", "kiosk", authority, ours)
    )
    assert "not accepted under" in await lied_to(desk, kiosk, answering("k1", "kiosk", foreign, ours))
    assert "not a certificate and its key" in await lied_to(
        desk, kiosk, answering("k1", "kiosk", authority, ours, own_key=False)
    )
    assert "is not a certificate authority's file" in await lied_to(desk, kiosk, garbage)
    assert "is no enrolment server" in await lied_to(desk, kiosk, something)
    assert await lied_to(desk, kiosk, no) == "because\n"


async def test_a_terminal_behind_a_proxy_enrols_and_is_let_in_and_the_proxy_sees_no_code(
    desk: Desk, kiosk: Keyboard
) -> None:
    code = str(await desk.code("k1"))
    async with Proxy().open() as proxy:
        said = await kiosk.enrol(url(desk), "--fingerprint", fingerprint(desk), "--proxy", proxy.url, typing=code)
        assert (said.code, said.err) == (0, "")
        assert proxy.seen.startswith(f"CONNECT {HOST}:{desk.door} ".encode())
        assert code.encode() not in proxy.seen and b"enrol" not in proxy.seen
        identity = kiosk.terminal.identity
        server = replace(desk.under(Issued(identity, identity)), proxy=proxy.url)
        assert (await server.ask("GET", WHOAMI))["name"] == "k1"
        assert f"CONNECT {HOST}:{desk.port} ".encode() in proxy.seen


async def test_a_proxy_that_lets_nobody_through_is_one_sentence(desk: Desk, kiosk: Keyboard) -> None:
    async with Proxy(answer="403 Forbidden").open() as proxy:
        said = await kiosk.enrol(url(desk), "--proxy", proxy.url)
    assert said.code == 2
    assert said.err == f"the proxy does not let us through to {HOST}:{desk.door}: HTTP 403\n"


async def test_a_proxy_that_does_not_answer_is_one_sentence(desk: Desk, kiosk: Keyboard) -> None:
    said = await kiosk.enrol(url(desk), "--proxy", f"http://{HOST}:{free_port()}")
    assert said.code == 2 and said.err.startswith("the proxy does not answer: ") and said.err.count("\n") == 1


async def test_nobody_at_the_address_is_one_sentence(kiosk: Keyboard) -> None:
    said = await kiosk.enrol(f"https://{HOST}:{free_port()}", typing="yes\n")
    assert said.code == 2 and said.err.count("\n") == 1


@pytest.mark.parametrize(
    "url", ["http://access", "access:8445", "https://", "https://a/b", "https://u:p@a", "https://a:x"]
)
async def test_what_is_no_address_is_one_sentence(kiosk: Keyboard, url: str) -> None:
    said = await kiosk.enrol(url)
    assert said.code == 2 and said.err.count("\n") == 1


async def test_a_configuration_with_two_files_is_told_what_to_do(kiosk: Keyboard) -> None:
    config = kiosk.terminal.config
    config.write_text(config.read_text().replace(f"key: {kiosk.terminal.identity}", "key: credential:kiosk.key"))
    said = await kiosk.enrol("https://access")
    assert said.code == 2 and "let certificate and key both name it" in said.err
