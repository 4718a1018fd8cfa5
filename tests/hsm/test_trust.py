"""What the security officer marks, and what a private key unwraps: held by the token, whoever has the user's PIN."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pkcs11 import Attribute, ObjectClass, exceptions

from kioskd.access.vaults import open_vault as access_vault
from kioskd.config import load_access
from kioskd.edges.certificates import create_ca, issue_server
from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.open_vault import open_vault
from kioskd.edges.pkcs11.trust import epoch_key, mark_trusted
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.edges.pkcs11.wrapping import unwrap_by, wrap_to
from kioskd.errors import HsmPin, NotArmed, VaultError
from kioskd.hsm import cli
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BundlePurpose
from kioskd.secret import Secret
from tests.hsm.houses import P256, RSA_2048, bring, empty_vault
from tests.hsm.kms_tokens import new_token
from tests.vault.contract.keepers import KRK as KRK_OF_3
from tests.vault.contract.keepers import PIN, SO_PIN, SOFTHSM, softhsm_configuration

pytestmark = [pytest.mark.slow]

PAIRS = [RSA_2048, P256]
KRK = type(KRK_OF_3)("KRK", 1, 1, "gp-scp03-aes128", 0x3E, KRK_OF_3.card)


class Officer:
    """A token with an epoch of that kind of pair, and its security officer."""

    def __init__(self, pair: str) -> None:
        self.label = new_token("trust")
        self.vault: TokenVault = open_vault(SOFTHSM, self.label, PIN, configuration=softhsm_configuration())
        self.vault.prepare(2048)
        bring(self.vault, BundlePurpose.ISSUE, 1, pair)

    @property
    def public(self) -> bytes:
        """The epoch's public key."""
        return epoch_key(SOFTHSM, self.label, 1, softhsm_configuration())

    def mark(self, pin: Secret = SO_PIN, public: bytes = b"") -> None:
        """Marks it, while the user is logged out: a token of one process has one login."""
        self.vault._token.session.close()
        try:
            mark_trusted(SOFTHSM, self.label, pin, 1, public or self.public, softhsm_configuration())
        finally:
            self.vault = open_vault(SOFTHSM, self.label, PIN, configuration=softhsm_configuration())
            self.vault.trusted_only = True


@pytest.mark.parametrize("pair", PAIRS)
def test_a_vault_that_demands_trust_mints_only_for_a_key_that_the_officer_has_marked(pair: str) -> None:
    officer = Officer(pair)
    officer.vault.trusted_only = True
    with pytest.raises(VaultError, match="not marked as trusted"):
        officer.vault.mint_krk(KRK)
    officer.mark()
    _, cryptogram = officer.vault.mint_krk(KRK)
    bring(officer.vault, BundlePurpose.REPLACE, 2, pair)
    assert officer.vault.recover_krk(cryptogram, KRK)


def test_who_has_the_pin_cannot_have_rnd_wrapped_to_a_key_of_their_own(tmp_path: Path) -> None:
    officer = Officer(RSA_2048)
    officer.mark()
    session, token = officer.vault._token.session, officer.vault._token
    ours = token.find(ObjectClass.PUBLIC_KEY, "E 1")
    assert ours is not None
    theirs, _ = session.generate_keypair(
        ours.key_type, 2048, store=False, public_template={Attribute.WRAP: True}, private_template={}
    )
    rnd = session.generate_key(
        token.find(ObjectClass.SECRET_KEY, "KRKDB 1").key_type,  # type: ignore[union-attr]
        256,
        store=False,
        template=templates.rnd(trusted=True),
    )
    assert wrap_to(ours, rnd)
    with pytest.raises(exceptions.PKCS11Error):
        wrap_to(theirs, rnd)
    with pytest.raises(exceptions.PKCS11Error):
        theirs[Attribute.TRUSTED] = True
    # The trusted one can be taken away, and another put in its place: then nothing is minted.
    ours.destroy()
    token.seen(("something else",))
    session.create_object(
        templates.wrapping_public("E 1", bytes(theirs[Attribute.MODULUS]), bytes(theirs[Attribute.PUBLIC_EXPONENT]))
    )
    with pytest.raises(VaultError, match="not marked as trusted"):
        officer.vault.mint_krk(KRK)


def test_marking_twice_a_wrong_pin_another_key_and_a_missing_epoch() -> None:
    officer = Officer(RSA_2048)
    before = officer.public
    with pytest.raises(HsmPin):
        officer.mark(Secret(b"0000"))
    with pytest.raises(VaultError, match="another one by now"):
        officer.mark(public=b"another")
    officer.mark()
    officer.mark()
    assert officer.public == before
    assert officer.vault.mint_krk(KRK)
    with pytest.raises(NotArmed, match="epoch 2: its public key is not here"):
        epoch_key(SOFTHSM, officer.label, 2, softhsm_configuration())


@pytest.mark.parametrize("which", ["transport", "E 1"])
def test_what_a_private_key_unwraps_is_never_readable(which: str) -> None:
    officer = Officer(RSA_2048)
    bring(officer.vault, BundlePurpose.REPLACE, 2)
    token = officer.vault._token
    session = token.session
    public, private = token.find(ObjectClass.PUBLIC_KEY, which), token.find(ObjectClass.PRIVATE_KEY, which)
    assert public is not None and private is not None
    modulus, exponent = bytes(public[Attribute.MODULUS]), bytes(public[Attribute.PUBLIC_EXPONENT])
    usable = session.create_object(templates.transport_public(modulus, exponent))
    key_type = token.find(ObjectClass.SECRET_KEY, "KRKDB 1").key_type  # type: ignore[union-attr]
    wrapped = wrap_to(usable, session.generate_key(key_type, 256, store=False, template=templates.rnd()))
    assert unwrap_by(private, wrapped, templates.recovered_rnd())
    good = templates.recovered_rnd()
    bent: tuple[Callable[[], templates.Template], ...] = (
        lambda: good | {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        lambda: good | {Attribute.EXTRACTABLE: True},
        lambda: good | {Attribute.SENSITIVE: False},
    )
    for template in bent:
        with pytest.raises(exceptions.PKCS11Error):
            unwrap_by(private, wrapped, template())


def test_a_token_that_marks_nothing_refuses_to_mint_where_trust_is_demanded(tmp_path: Path) -> None:
    vault = empty_vault("nss", tmp_path / "vault")
    assert isinstance(vault, TokenVault)
    bring(vault, BundlePurpose.ISSUE, 1)
    assert vault.mint_krk(KRK)
    vault.trusted_only = True
    with pytest.raises(VaultError):
        vault.mint_krk(KRK)


def _configured(officer: Officer, folder: Path) -> Path:
    """The access server's configuration."""
    create_ca(folder / "ca", "authority")
    issue_server(folder / "ca", "access.example", ("access.example",), folder)
    write_private(folder / "pin", PIN.reveal())
    write_private(folder / "so.pin", SO_PIN.reveal())
    (folder / "kms.pem").write_text("any")
    token = f"module: {SOFTHSM}, label: {officer.label}, pin: {folder}/pin, configuration: {softhsm_configuration()}"
    file = folder / "access.yaml"
    file.write_text(
        f"""
listen: {{host: 127.0.0.1, port: 1}}
tls: {{ca: {folder}/ca/ca.crt, certificate: {folder}/access.example.crt, key: {folder}/access.example.key}}
store: sqlite:///{folder}/access.db
vault: {{kms_key: {folder}/kms.pem, token: {{{token}, trusted: true}}}}
socket: {folder}/access.sock
"""
    )
    return file


def test_the_officer_types_the_fingerprint_that_the_key_management_server_showed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    officer = Officer(RSA_2048)
    officer.vault._token.session.close()
    file = _configured(officer, tmp_path)
    words = ["trust", "--config", str(file), "--epoch", "1", "--so-pin-file", f"{tmp_path}/so.pin", "--yes"]
    assert cli.main([*words, "00"]) == 2
    said = capsys.readouterr()
    assert "nothing was changed" in said.err
    fingerprint = said.out.splitlines()[1].strip()
    assert cli.main([*words, fingerprint]) == 0
    assert "It is trusted now." in capsys.readouterr().out
    vault = access_vault(load_access(file))
    assert isinstance(vault, TokenVault) and vault.trusted_only
    assert vault.mint_krk(KRK)
