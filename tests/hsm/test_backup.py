"""A KMS token is lost; a second one, restored under the custodians, recovers a card that was issued before."""

from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.edges.pkcs11.kms import TokenKms
from kioskd.edges.pkcs11.kms_backup import back_up, make_restore_key, restore
from kioskd.errors import BadBundle, VaultError
from kioskd.kms.release import release
from kioskd.private_file import write_private
from kioskd.rekey.backup import Backup
from kioskd.rekey.bundle import BundlePurpose
from tests.hsm.houses import House, empty_vault
from tests.hsm.kms_tokens import kms_token, new_token
from tests.kms.desk import Desk
from tests.rekey.proofs import assert_issued, assert_replaced
from tests.vault.contract.keepers import PIN, SOFTHSM, softhsm_configuration

pytestmark = [pytest.mark.slow]

ISSUE, REPLACE = BundlePurpose.ISSUE, BundlePurpose.REPLACE
NOW, WINDOW = 1000, (0, 2000)


@pytest.fixture(params=["RSA", "P-256"])
def kms(request: pytest.FixtureRequest) -> TokenKms:
    """A server with two generations and one epoch, of either kind of pair."""
    made = kms_token()
    epoch = made.new_p256_epoch() if request.param == "P-256" else made.new_epoch(2048)
    assert (made.generate(), epoch, made.generate()) == (1, 1, 2)
    return made


async def test_a_restored_server_recovers_a_card_that_was_issued_before(kms: TokenKms, tmp_path: Path) -> None:
    access = empty_vault("softhsm2", tmp_path / "access")
    bundle = release(kms, ISSUE, 1, 1, access.transport_key(), WINDOW, NOW)
    access.import_bundle(bundle, kms.public_key(), NOW)
    house, second = House(tmp_path), kms_token()
    assert await house.issue(access) == "issued"
    await assert_issued(house.rig(access))

    restore(second, back_up(kms, make_restore_key(second, 2048)), kms.public_key())
    for one in list(kms.token.session.get_objects()):
        one.destroy()
    assert second.holdings().generations == (1, 2)
    bundle = release(second, REPLACE, 2, 1, access.transport_key(), WINDOW, NOW)
    access.import_bundle(bundle, second.public_key(), NOW)
    assert await house.replace(access) == "done"
    await assert_replaced(house.rig(access))
    await house.close()


def test_what_was_armed_stays_armed_in_the_second_token(kms: TokenKms, tmp_path: Path) -> None:
    access, second = empty_vault("softhsm2", tmp_path / "access"), kms_token()
    release(kms, REPLACE, 2, 1, access.transport_key(), WINDOW, NOW)
    restore(second, back_up(kms, make_restore_key(second, 2048)), kms.public_key())
    assert (second.holdings().issuing, second.holdings().armed) == ((), (1,))
    with pytest.raises(VaultError, match="was released for replacement"):
        release(second, ISSUE, 1, 1, access.transport_key(), WINDOW, NOW)


def test_a_backup_is_taken_in_by_its_token_alone_as_it_was_made_and_only_if_that_is_empty(kms: TokenKms) -> None:
    second, third = kms_token(), kms_token()
    backup = back_up(kms, make_restore_key(second, 2048))
    for changed, key, words in (
        (backup, third.public_key(), "of another key management server"),
        (replace(backup, armed=(1,)), kms.public_key(), "altered"),
        (replace(backup, signature=bytes(64)), kms.public_key(), "altered"),
    ):
        with pytest.raises(BadBundle, match=words):
            restore(second, changed, key)
    with pytest.raises(BadBundle, match="is for another token"):
        restore(third, backup, kms.public_key())
    raw = backup.encode()
    for other in (raw.rstrip(), b" " + raw, b"{}", b"\xff", raw[:-9]):
        with pytest.raises(BadBundle):
            Backup.decode(other)
    restore(second, Backup.decode(raw), kms.public_key())
    with pytest.raises(VaultError, match="has keys of its own"):
        restore(second, backup, kms.public_key())


class TokenDesk(Desk):
    """The command line's desk, on a token."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir()
        self.label = new_token("backup")
        write_private(folder / "phrase", b"correct horse\n")
        write_private(folder / "pin", PIN.reveal() + b"\n")

    @property
    def vault(self) -> tuple[str, ...]:
        """The words that name the token."""
        token = ("--module", SOFTHSM, "--token", self.label, "--pin-file", "@pin")
        return (*token, "--configuration", softhsm_configuration(), "--transcript", "@transcript")


def test_backup_and_restore_take_the_custodians_of_both_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = TokenDesk(tmp_path / "first"), TokenDesk(tmp_path / "second")
    for desk in (first, second):
        desk.make_people()
        assert desk.init() == 0
    assert first.act("generate") == first.act("epoch", "--rsa-bits", "2048") == 0
    assert first.run("export", "--out", "@kms.pem") == 0
    assert second.run("restore-key", "--out", "@restore.pem") == 0
    to = ("--to", f"{second.folder}/restore.pem")
    assert first.act("backup", *to, how=(*to, "--out", "@backup")) == 0
    assert "Wrap EVERY block and private key" in capsys.readouterr().out
    what = ("--backup", f"{first.folder}/backup", "--kms-key", f"{first.folder}/kms.pem")
    assert second.ask("restore", *what) == second.approve("alice") == 0
    assert second.execute(*what, who=("alice",)) == 2
    assert "1 of 2 have approved" in capsys.readouterr().err
    assert second.approve("bob") == 0
    assert second.execute(*what) == 0
    capsys.readouterr()
    assert second.run("list") == 0
    said = capsys.readouterr().out
    assert "Generations: 1\n" in said and "Epoch 1: generated\n" in said


def test_a_sealed_file_is_copied_not_backed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path)
    write_private(tmp_path / "phrase", b"correct horse\n")
    desk.make_people()
    assert desk.init() == 0
    assert desk.run("restore-key", "--out", "@restore.pem") == 2
    assert "the vault is a sealed file: copy it" in capsys.readouterr().err
