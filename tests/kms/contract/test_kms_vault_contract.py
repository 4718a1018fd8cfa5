"""What every vault of a key management server must do, whatever stands behind the port."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kioskd.errors import VaultError
from kioskd.kms.release import release
from kioskd.ports import KmsVault
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.bundle_check import ed25519_raw, ed25519_verifies, fingerprint_of, read_kms_key
from kioskd.rekey.labels import KeyLabel
from kioskd.rekey.transcript import BEGINNING
from kioskd.virtual.vault import SoftVault
from tests.kms.contract.keepers import KMS_KEEPERS, KmsKeeper
from tests.vault.contract.keepers import CARD, PHRASE, fresh_vault_file

pytestmark = [pytest.mark.slow]

ISSUE, REPLACE = BundlePurpose.ISSUE, BundlePurpose.REPLACE
NOW, WINDOW = 1000, (900, 1100)


@pytest.fixture(params=list(KMS_KEEPERS))
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> KmsKeeper:
    return KMS_KEEPERS[request.param](tmp_path)


@pytest.fixture
def kms(keeper: KmsKeeper) -> KmsVault:
    """A vault with generations 1 and 2 and epoch 1."""
    made = keeper.vault
    assert (made.generate(), made.generate(), made.new_epoch(2048)) == (1, 2, 1)
    return made


@pytest.fixture
def access(tmp_path: Path) -> SoftVault:
    """The access server that bundles go to."""
    file = tmp_path / "access"
    file.write_bytes(fresh_vault_file())
    file.chmod(0o600)
    return SoftVault.open(file, PHRASE)


Send = Callable[[BundlePurpose, int, int], bytes]


@pytest.fixture
def send(kms: KmsVault, access: SoftVault) -> Send:
    """A bundle for the access server."""
    key = access.transport_key()
    return lambda purpose, generation, epoch: release(kms, purpose, generation, epoch, key, WINDOW, NOW)


def test_it_holds_what_was_made_and_says_so_after_it_was_opened_again(kms: KmsVault, keeper: KmsKeeper) -> None:
    for vault in (kms, keeper.again()):
        held = vault.holdings()
        assert (held.generations, held.issuing, held.armed, held.destroyed) == ((1, 2), (1,), (), ())
        assert (held.releases, held.next_epoch) == ((), 2)
        assert held.fingerprint == fingerprint_of(read_kms_key(vault.public_key()))


def test_what_it_seals_is_taken_in_and_armed_by_its_recipient(kms: KmsVault, send: Send, access: SoftVault) -> None:
    access.import_bundle(send(ISSUE, 1, 1), kms.public_key(), NOW)
    assert access.holdings().issuing == (1,)
    access.import_bundle(send(REPLACE, 2, 1), kms.public_key(), NOW)
    assert (access.holdings().issuing, access.holdings().armed) == ((), (1,))


def test_a_p256_epoch_is_sealed_taken_in_and_armed_and_its_keys_belong_together(
    kms: KmsVault, send: Send, access: SoftVault
) -> None:
    assert kms.new_p256_epoch() == 2
    access.import_bundle(send(ISSUE, 1, 2), kms.public_key(), NOW)
    label = KeyLabel("KRK", 2, 1, "gp-scp03-aes128", 0x3E, CARD)
    handle, cryptogram = access.mint_krk(label)
    minted = access._set(handle)
    assert cryptogram.scheme == 2
    access.import_bundle(send(REPLACE, 2, 2), kms.public_key(), NOW)
    assert access._set(access.recover_krk(cryptogram, label)) == minted
    assert kms.new_epoch(2048) == 3


def test_an_epoch_that_was_released_for_replacement_is_armed_and_issues_no_more(send: Send, keeper: KmsKeeper) -> None:
    send(ISSUE, 1, 1)
    send(REPLACE, 2, 1)
    for vault in (keeper.vault, keeper.again()):
        held = vault.holdings()
        assert (held.issuing, held.armed) == ((), (1,))
        assert {(one.purpose, one.generation, one.epoch) for one in held.releases} == {(ISSUE, 1, 1), (REPLACE, 2, 1)}
    with pytest.raises(VaultError, match="was released for replacement"):
        send(ISSUE, 1, 1)
    send(REPLACE, 2, 1)


@pytest.mark.parametrize(("generation", "epoch"), [(3, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("purpose", [ISSUE, REPLACE])
def test_what_is_not_held_is_not_released_and_nothing_is_noted(
    send: Send, kms: KmsVault, purpose: BundlePurpose, generation: int, epoch: int
) -> None:
    before = kms.holdings()
    with pytest.raises(VaultError, match="there is none"):
        send(purpose, generation, epoch)
    assert kms.holdings() == before


def test_only_an_armed_epoch_is_destroyed_and_its_number_is_never_given_again(
    send: Send, kms: KmsVault, keeper: KmsKeeper
) -> None:
    for wrong in (1, 2):
        with pytest.raises(VaultError, match="is not armed"):
            kms.destroy_epoch(wrong)
    send(REPLACE, 2, 1)
    kms.destroy_epoch(1)
    for vault in (kms, keeper.again()):
        held = vault.holdings()
        assert (held.issuing, held.armed, held.destroyed, held.next_epoch) == ((), (), (1,), 2)
    with pytest.raises(VaultError, match="there is none"):
        send(REPLACE, 2, 1)
    with pytest.raises(VaultError, match="is not armed"):
        kms.destroy_epoch(1)
    assert kms.new_epoch(2048) == 2


def test_its_signature_is_that_of_its_public_key(keeper: KmsKeeper) -> None:
    key = ed25519_raw(keeper.vault.public_key())
    signature = keeper.vault.sign(b"text")
    assert ed25519_verifies(key, signature, b"text")
    assert not ed25519_verifies(key, signature, b"test")
    assert keeper.again().public_key() == keeper.vault.public_key()


def test_it_remembers_the_newest_entry_of_the_transcript(keeper: KmsKeeper) -> None:
    assert keeper.vault.head() == (0, BEGINNING)
    for number in (1, 2, 10):
        keeper.vault.remember_head(number, bytes([number]) * 32)
        assert keeper.vault.head() == keeper.again().head() == (number, bytes([number]) * 32)
