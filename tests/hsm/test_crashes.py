"""The token is lost in the midst of an import or of the end of issue: the same call finishes it; nothing goes back."""

import json
from contextlib import suppress

import pytest
from pkcs11 import Attribute, ObjectClass, exceptions

from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.errors import KioskError
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.bundle_check import pem_of
from tests.hsm.faulty import Fate, Watched
from tests.hsm.houses import NOW, empty_vault, kms, known_bundle

pytestmark = [pytest.mark.slow]

ISSUE, REPLACE = BundlePurpose.ISSUE, BundlePurpose.REPLACE


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> TokenVault:
    """One token; each case takes an epoch of its own."""
    made = empty_vault("softhsm2", tmp_path_factory.mktemp("t") / "vault")
    assert isinstance(made, TokenVault)
    return made


def take_in(vault: TokenVault, purpose: BundlePurpose, epoch: int) -> None:
    """Imports a bundle of that epoch."""
    generation = 2 if purpose is REPLACE else 1
    raw = known_bundle(vault.transport_key(), purpose, generation, NOW, epoch)
    vault.import_bundle(raw, pem_of(kms().public_key()), NOW)


def lost_at(vault: TokenVault, at: int) -> object:
    """The token fails from its n-th call on; its real session."""
    real = vault._token.session
    vault._token.session = Watched(Fate(at, exceptions.DeviceError, lasting=True), real)
    return real


@pytest.mark.parametrize("at", range(0, 120, 4))
def test_an_arming_that_was_cut_is_finished_by_the_same_bundle_and_never_issues_again(
    vault: TokenVault, at: int
) -> None:
    epoch = 100 + at
    take_in(vault, ISSUE, epoch)
    real = lost_at(vault, at)
    with suppress(KioskError):
        take_in(vault, REPLACE, epoch)
    vault._token.session = real
    cut = vault.holdings()
    ended = epoch not in cut.issuing
    if epoch not in cut.armed:
        take_in(vault, REPLACE, epoch)
    assert epoch in vault.holdings().armed
    assert epoch not in vault.holdings().issuing
    if ended:
        with pytest.raises(KioskError):
            take_in(vault, ISSUE, epoch)


@pytest.mark.parametrize("at", range(0, 40, 2))
def test_an_end_of_issue_that_was_cut_is_not_taken_back(vault: TokenVault, at: int) -> None:
    epoch = 500 + at
    take_in(vault, ISSUE, epoch)
    real = lost_at(vault, at)
    with suppress(KioskError):
        vault.end_issue(epoch)
    vault._token.session = real
    if epoch in vault.holdings().issuing:
        vault.end_issue(epoch)
    assert epoch not in vault.holdings().issuing
    with pytest.raises(KioskError):
        take_in(vault, ISSUE, epoch)


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_of_two_notes_that_a_crash_left_the_one_that_says_ended_counts(
    vault: TokenVault, order: tuple[bool, bool]
) -> None:
    epoch = 900 + order[0]
    take_in(vault, ISSUE, epoch)
    for one in vault._token.session.get_objects({Attribute.LABEL: f"note: epoch {epoch}"}):
        one.destroy()
    for ended in order:
        body = json.dumps({"generation": 1, "ended": ended}).encode()
        vault._token.session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.APPLICATION: "kioskd",
                Attribute.LABEL: f"note: epoch {epoch}",
                Attribute.VALUE: body,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
            }
        )
    assert epoch not in vault.holdings().issuing
