"""A configuration that is not usable: one sentence with file and key, exit code 2, never a traceback."""

import re
from pathlib import Path

import pytest

from kioskd.__main__ import main
from kioskd.config import AccessConfig, file_of, load_access, load_terminal
from kioskd.errors import BadConfiguration
from tests.loopback import House, build_house

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.fixture
def good(house: House, tmp_path: Path) -> str:
    """A kiosk's configuration that is right."""
    return (
        "name: k1\n"
        "server: {host: access.test, port: 8443}\n"
        "tls:\n"
        f"  ca: {house.ca}\n"
        f"  certificate: {house.kiosk.certificate}\n"
        f"  key: {house.kiosk.key}\n"
        f"journal: {tmp_path}/kiosk.journal\n"
        f"socket: {tmp_path}/kiosk.sock\n"
    )


def refusal(text: str | bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], role: str = "kiosk") -> str:
    """The one sentence that the command line says about a file, without the file's name."""
    file = tmp_path / "it.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    assert main([role, "--config", str(file), "--check"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith(f"{file}: ")
    return err.strip().removeprefix(f"{file}: ")


@pytest.mark.parametrize("role", ["kiosk", "station"])
def test_a_right_configuration_is_said_to_be_right(
    good: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], role: str
) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(good)
    assert main([role, "--config", str(file), "--check"]) == 0
    assert capfd.readouterr().out == f"{file}: {role} k1 is configured well\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("name: k1", "name: k1\ncolour: red"), r"colour: unknown key; known here: name, "),
        (("port: 8443", "port: 8443, ssl: no"), r"server\.ssl: unknown key"),
        (("name: k1", "Name: k1"), r"Name: unknown key"),
        (("name: k1\n", ""), r"name: is missing"),
        (("port: 8443", "port: '8443'"), r"server\.port: needs a whole number, not text"),
        (("port: 8443", "port: true"), r"server\.port: needs a whole number, not true or false"),
        (("port: 8443", "port: 70000"), r"server\.port: 70000 is not a port"),
        (("port: 8443", "port: 0"), r"server\.port: 0 is not a port"),
        (("name: k1", "name: 17"), r"name: needs text, not a number"),
        (("name: k1", "name: ''"), r"name: needs 1 to 64 letters"),
        (("name: k1", "name: 'k 1'"), r"name: needs 1 to 64 letters"),
        (("name: k1", "name: 2026-01-01"), r"name: needs text"),
        (("name: k1", "name: 2026-99-01"), r"is not YAML"),
        (("name: k1", "name: 0b_"), r"is not YAML"),
        (("name: k1", "name: k1\nname: k2"), r"line 1: name is given twice"),
        (("port: 8443", "port: 8443, port: 8444"), r"line 2: port is given twice"),
        (("name: k1", "name: [k1"), r"line \d: "),
        (("name: k1", "name: !!python/object:os.system k1"), r"line 1: could not determine a constructor"),
        (("name: k1", "? [a]\n: b\nname: k1"), r"line 1: found unhashable key"),
        (("host: access.test", "host: 'https://access.test:1'"), r"server\.host: needs a host name or address"),
        (("host: access.test", "host: ''"), r"server\.host: needs a host name"),
        (("port: 8443", "port: 8443, patience_s: -1"), r"server\.patience_s: needs a number of seconds above 0"),
        (("port: 8443", "port: 8443, patience_s: .inf"), r"server\.patience_s: needs a number of seconds above 0"),
        (("name: k1", "reader: {transmit_timeout_s: .nan}\nname: k1"), r"reader\.transmit_timeout_s: needs a number"),
        (("name: k1", "reader: {transmit_timeout_s: soon}\nname: k1"), r"reader\.transmit_timeout_s: needs a number"),
        (("port: 8443", "port: 8443, proxy: 'proxy:3128'"), r"server\.proxy: the proxy needs http://HOST:PORT"),
        (("port: 8443", "port: 8443, proxy: 'http://u:p@proxy:1'"), r"server\.proxy: the proxy needs http://HOST:PORT"),
        (("name: k1", "status: {readers: ''}\nname: k1"), r"status\.readers: needs the name of a group"),
        (("name: k1", "status: {technicians: 17}\nname: k1"), r"status\.technicians: needs text"),
        (("name: k1", "reader: 5\nname: k1"), r"reader: needs a group of keys, not a number"),
        (("name: k1", "policy: {level: 33}\nname: k1"), r"policy\.level: needs text, not a number"),
        (("name: k1", "policy: {level: '00'}\nname: k1"), r"policy\.level: needs one of 01, 03, 11, 13, 33"),
        (("name: k1", "policy: {tags: ['9F 7F']}\nname: k1"), r"policy\.tags: needs 1 to 2 bytes in hex"),
        (("name: k1", "policy: {tags: 9F7F}\nname: k1"), r"policy\.tags: needs a list, not text"),
        (("name: k1", "policy: {aids: ['A000']}\nname: k1"), r"policy\.aids: needs 5 to 16 bytes in hex"),
        (("name: k1", "policy: {aids: [66]}\nname: k1"), r"policy\.aids\[0\]: needs text, not a number"),
        (("journal: /", "journal: "), r"journal: \S+ is not an absolute path"),
        (("journal: /", "journal: /nowhere/"), r"journal: /nowhere/\S+ is not a folder"),
        (("socket: /", "socket: ./"), r"socket: \S+ is not an absolute path"),
        (("ca.crt", "cb.crt"), r"tls\.ca: \S+ cannot be read: No such file"),
        (("k1.crt", "k2.crt"), r"tls\.certificate: \S+ cannot be read: No such file"),
        (("k1.key", "k2.key"), r"tls\.key: \S+ cannot be read: No such file"),
        (("tls/k1.key", "tls"), r"tls\.key: \S+ "),
    ],
)
def test_what_is_wrong_is_said_with_its_key(
    good: str, change: tuple[str, str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert change[0] in good, "this test changes something"
    assert re.match(says, refusal(good.replace(*change, 1), tmp_path, capfd))


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "\x00", b"\xff\xfe\xfa", "a: &a [*a]\n", "{" * 3000])
def test_a_file_that_is_no_configuration_at_all_is_one_sentence(
    text: str | bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refusal(text, tmp_path, capfd)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for file in (tmp_path / "none.yaml", tmp_path):
        assert main(["kiosk", "--config", str(file), "--check"]) == 2
        assert re.fullmatch(rf"{file}: cannot be read: [\w ]+\n", capfd.readouterr().err)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_use_is_refused(
    good: str, house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: int
) -> None:
    loose = tmp_path / "loose.key"
    loose.write_bytes(house.kiosk.key.read_bytes())
    loose.chmod(mode)
    said = refusal(good.replace(str(house.kiosk.key), str(loose)), tmp_path, capfd)
    assert said == f"tls.key: {loose}: others may use it (mode {mode:04o}); make it 0600"


def test_a_file_that_is_no_certificate_or_no_key_of_it_is_refused(
    good: str, house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for old, new in (
        (house.kiosk.certificate, house.server.certificate),  # not the key's
        (house.kiosk.certificate, house.kiosk.key),
        (house.kiosk.key, house.server.key),
        (house.ca, house.kiosk.key),
    ):
        file = tmp_path / "it.yaml"
        file.write_text(good.replace(str(old), str(new)))
        assert main(["kiosk", "--config", str(file), "--check"]) == 2
        err = capfd.readouterr().err
        assert err.count("\n") == 1 and str(new) in err, err


def test_a_systemd_credential_stands_for_a_file(
    good: str, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    text = good.replace(str(house.kiosk.key), "credential:k1.key")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    said = refusal(text, tmp_path, capfd)
    assert said == "tls.key: credential:k1.key is a systemd credential, and systemd did not start this"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(house.kiosk.key.parent))
    (tmp_path / "it.yaml").write_text(text)
    assert file_of(load_terminal(tmp_path / "it.yaml").tls.key) == house.kiosk.key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("port: 8443", "port: -1"), r"listen\.port: -1 is not a port"),
        (("host: 0.0.0.0", "host: 'a b'"), r"listen\.host: needs a host name"),
        (("store: sqlite:", "store: /"), r"store: needs a database URL"),
        (("access.secret", "absent.secret"), r"vault\.passphrase: \S+ cannot be read"),
        (("kms.pem", "absent.pem"), r"vault\.kms_key: \S+ cannot be read"),
        (("  file: /", "  file: /nowhere/"), r"vault\.file: \S+ is not a folder"),
        (("  kms_key:", "  kms:"), r"vault\.kms: unknown key"),
    ],
)
def test_the_access_server_says_what_is_wrong_too(
    change: tuple[str, str],
    says: str,
    house: House,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "etc" / "kioskd"))
    text = example("access", house, tmp_path)
    assert change[0] in text
    file = tmp_path / "it.yaml"
    file.write_text(text.replace(*change, 1))
    assert main(["access", "serve", "--config", str(file), "--check"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert re.match(rf"{file}: {says}", err), err


def example(name: str, house: House, tmp_path: Path) -> str:
    """A shipped example, with the folders that it names moved into the test's."""
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    for folder in set(re.findall(r": (/\S+)/[\w.-]+(?=\s|$)", text)) | set(re.findall(r"sqlite:///(/\S+)/", text)):
        (tmp_path / folder[1:]).mkdir(parents=True, exist_ok=True)
        text = text.replace(f"{folder}/", f"{tmp_path}{folder}/")
    etc = tmp_path / "etc" / "kioskd"
    for target, source in (
        ("ca.crt", house.ca),
        *((f"{one}.crt", house.kiosk.certificate) for one in ("kiosk", "station", "access")),
        *((f"{one}.key", house.kiosk.key) for one in ("kiosk", "station", "access", "kms")),
        ("kms.pem", house.ca),
        ("access.secret", house.kiosk.key),
    ):
        (etc / target).write_bytes(source.read_bytes())
        (etc / target).chmod(0o600)
    if name == "kiosk":  # enrolled: key and certificate are one file
        state = tmp_path / "var" / "lib" / "kioskd"
        (state / "ca.crt").write_bytes(house.ca.read_bytes())
        (state / "kiosk.pem").write_bytes(house.kiosk.key.read_bytes() + house.kiosk.certificate.read_bytes())
        (state / "kiosk.pem").chmod(0o600)
    return text


@pytest.mark.parametrize("name", ["kiosk", "station"])
def test_the_examples_of_terminals_are_usable(
    name: str, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "etc" / "kioskd"))
    file = tmp_path / "it.yaml"
    file.write_text(example(name, house, tmp_path))
    assert load_terminal(file).server.port == 8443


@pytest.mark.parametrize("name", ["kiosk", "station"])
def test_what_an_example_leaves_out_is_shown_with_its_default(
    name: str, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "etc" / "kioskd"))
    plain, full = tmp_path / "plain.yaml", tmp_path / "full.yaml"
    text = example(name, house, tmp_path)
    plain.write_text(text)
    shown = re.sub(r"^( *)# (reader:|policy:|status:|  \w+: .*|patience_s: .*)$", r"\1\2", text, flags=re.MULTILINE)
    assert shown.count("#") < text.count("#") - 6
    full.write_text(shown)
    assert load_terminal(full) == load_terminal(plain)


def test_the_example_of_the_access_server_is_usable(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "etc" / "kioskd"))
    file = tmp_path / "it.yaml"
    file.write_text(example("access", house, tmp_path))
    assert isinstance(load_access(file), AccessConfig)


def test_the_sentence_does_not_repeat_what_may_be_a_secret(good: str, tmp_path: Path) -> None:
    file = tmp_path / "it.yaml"
    file.write_text(good.replace("port: 8443", "port: hunter2hunter2"))
    with pytest.raises(BadConfiguration) as refused:
        load_terminal(file)
    assert "hunter2" not in str(refused.value)
