"""`kioskd hsm check` says what a token really does; strict refuses to start where a key would leave."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, exceptions

from kioskd.access.vaults import open_vault as access_vault
from kioskd.config import AccessConfig, ListenSection, TlsSection, TokenSection, VaultSection
from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.judgement import Place, judge, pin_holder
from kioskd.edges.pkcs11.open_vault import make_token, open_vault
from kioskd.edges.pkcs11.token import translated
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.errors import HsmGone, HsmPin, VaultError
from kioskd.hsm.cli import main
from kioskd.private_file import write_private
from kioskd.secret import Secret
from tests.hsm.houses import empty_vault
from tests.vault.contract.keepers import PIN, SOFTHSM, TokenKeeper, softhsm_configuration

pytestmark = [pytest.mark.slow]

SHIPPED = Path(__file__).parents[2] / "config" / "profiles"


def _every_error() -> list[type[exceptions.PKCS11Error]]:
    """Every error that the binding has a name for."""
    named = (one for one in vars(exceptions).values() if isinstance(one, type))
    return sorted((one for one in named if issubclass(one, exceptions.PKCS11Error)), key=lambda one: one.__name__)


@pytest.fixture(params=["softhsm2", "nss"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> TokenVault:
    """A vault on a real token."""
    made = empty_vault(request.param, tmp_path / "vault")
    assert isinstance(made, TokenVault)
    return made


def test_each_job_was_tried_and_no_object_stays_behind(vault: TokenVault) -> None:
    before = len(list(vault._token.session.get_objects()))
    found = {one.job: one.place for one in judge(vault._token)}
    assert len(list(vault._token.session.get_objects())) == before
    assert found["SCP03 session keys of AES-128"] is Place.INSIDE
    assert found["SCP03 session keys of AES-256"] is Place.CROSSES
    assert found["T_j of a KRK"] is Place.CROSSES
    assert found["PUT KEY fields"] is Place.INSIDE
    assert found["RND of a P-256 epoch: agreed on twice"] is Place.INSIDE
    assert found["3DES sets: derived, diversified"] is Place.INSIDE
    assert found["SCP02 session keys and MACs"] is Place.INSIDE
    softhsm = vault._token.bounded
    assert found["PUT KEY fields of SCP02"] is (Place.IMPOSSIBLE if softhsm else Place.INSIDE)


def test_what_a_pin_holder_could_do_was_tried_too(vault: TokenVault) -> None:
    said = " ".join(pin_holder(vault._token))
    assert "derive any card's master keys" in said
    assert ("this token is a stand-in" in said) is not vault._token.bounded


def test_strict_takes_128_bits_and_refuses_longer_keys(vault: TokenVault) -> None:
    vault.refuse_leaks(128)
    with pytest.raises(VaultError, match="strict: SCP03 session keys of AES-256: crosses"):
        vault.refuse_leaks(256)


def test_a_strict_server_looks_at_the_keys_of_every_card_profile(tmp_path: Path) -> None:
    keeper = TokenKeeper(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "a.yaml").write_text("name: small\n")
    write_private(tmp_path / "pin", PIN.reveal() + b"\n")
    token = TokenSection(
        SOFTHSM, keeper.vault._token.label, str(tmp_path / "pin"), softhsm_configuration(), strict=True
    )
    section = VaultSection(str(tmp_path / "kms.pem"), token=token)
    tls = TlsSection("", "", "")
    config = AccessConfig(ListenSection("", 0), tls, "", section, "", profiles=str(tmp_path / "profiles"))
    access_vault(config)
    (tmp_path / "profiles" / "b.yaml").write_text("name: large\nkey_bytes: 32\n")
    with pytest.raises(VaultError, match="strict: SCP03 session keys of AES-256: crosses"):
        access_vault(config)


def test_the_check_names_the_card_profiles_whose_keys_a_token_cannot_put(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = TokenKeeper(tmp_path)
    for name in ("pin", "ca", "crt", "key", "kms.pem"):  # only the PIN is read here
        write_private(tmp_path / name, PIN.reveal() + b"\n")
    token = (
        f"{{module: {SOFTHSM}, label: {keeper.vault._token.label}, pin: {tmp_path}/pin, "
        f"configuration: {softhsm_configuration()}}}"
    )
    (tmp_path / "access.yaml").write_text(
        "listen: {host: 127.0.0.1, port: 8443}\n"
        f"tls: {{ca: {tmp_path}/ca, certificate: {tmp_path}/crt, key: {tmp_path}/key}}\n"
        f"store: sqlite:///{tmp_path}/access.db\nsocket: {tmp_path}/access.sock\nprofiles: {SHIPPED}\n"
        f"vault: {{kms_key: {tmp_path}/kms.pem, token: {token}}}\n"
    )
    assert main(["check", "--config", str(tmp_path / "access.yaml")]) == 0
    told = capsys.readouterr().out
    assert "profiles are refused, for their keys cannot be put with it: gp-scp02-i55, gp-scp02-i15." in told


def test_a_block_does_one_thing_alone(tmp_path: Path) -> None:
    """SoftHSM2 holds a key to its mechanisms: a replacement block signs T_j and nothing else."""
    made = empty_vault("softhsm2", tmp_path / "vault")
    assert isinstance(made, TokenVault)
    template = templates.krkdb() | {Attribute.TOKEN: False}
    block: Any = made._token.session.generate_key(KeyType.AES, 256, store=False, template=template)
    refused = (exceptions.PKCS11Error, AttributeError)
    with pytest.raises(refused):
        block.encrypt(bytes(16), mechanism=Mechanism.AES_ECB)
    with pytest.raises(refused):
        block.derive_key(KeyType.AES, 128, mechanism=Mechanism.AES_ECB_ENCRYPT_DATA, mechanism_param=bytes(16))
    with pytest.raises(refused):
        block.wrap_key(block, mechanism=Mechanism.AES_KEY_WRAP)
    assert len(block.sign(b"T", mechanism=Mechanism.AES_CMAC)) == 16


def test_a_wrong_pin_an_absent_token_and_an_absent_module_are_one_sentence() -> None:
    configuration = softhsm_configuration()
    with pytest.raises(HsmGone, match="token nobody: the token or an object in it is gone"):
        open_vault(SOFTHSM, "nobody", Secret(b"1"), configuration=configuration)
    with pytest.raises(HsmGone, match="there is no such module"):
        open_vault("/nowhere/lib.so", "t", Secret(b"1"))
    with pytest.raises(HsmPin, match="refuses the PIN"):
        _new_token("wrong-pin", configuration)


def _new_token(label: str, configuration: str) -> None:
    make_token(SOFTHSM, label, Secret(b"56789"), Secret(b"12345"), configuration=configuration)
    open_vault(SOFTHSM, label, Secret(b"54321"), configuration=configuration)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("check", "--config", "{}/none.yaml"), "none.yaml: cannot be read"),
        (
            ("init", "--module", "/nowhere.so", "--label", "t", "--so-pin-file", "{}/pin", "--pin-file", "{}/pin"),
            "/nowhere.so: there is no such module",
        ),
        (
            ("init", "--module", "/nowhere.so", "--label", "t", "--so-pin-file", "{}/none", "--pin-file", "{}/pin"),
            "none: cannot be read",
        ),
    ],
)
def test_bad_input_on_the_command_line_is_one_sentence(tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    (tmp_path / "pin").write_text("12345\n")
    (tmp_path / "pin").chmod(0o600)
    command = [sys.executable, "-m", "kioskd", "hsm", *(one.format(tmp_path) for one in args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", _every_error(), ids=lambda error: error.__name__)
def test_every_error_of_the_binding_is_one_of_ours(error: type[exceptions.PKCS11Error]) -> None:
    with pytest.raises(VaultError, match=error.__name__), translated("a job"):
        raise error
