"""Rotation with the real store and journal: campaigns that end, an epoch that nobody relies on, a store put back."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kioskd.edges import campaigns as book
from kioskd.edges.card_index import cards_of_epochs, issued_cards, open_cases
from kioskd.edges.store import BEGIN_WRITING, SqlStore, hand_back, mark_restored
from kioskd.kms.release import release
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.campaign import CampaignState
from kioskd.virtual.faults import Faults, When
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.vault import SoftVault
from tests.rekey.conftest import NOW, PASSPHRASE, Template
from tests.rekey.proofs import assert_holds, assert_replaced
from tests.rig import Rig

MakeRig = Callable[[], Rig]
PUT = (
    7  # the relay's steps of a rotation alone: four reads, INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, the note, PUT KEY
)


@pytest.fixture
def due(issued_card: MakeRig, template: Template, tmp_path: Path) -> Rig:
    """A card of generation 1 and epoch 1; the server is armed for both, issues under epoch 2, and rotates."""
    for name in ("kms", "armed"):
        shutil.copy(template.folder / name, tmp_path / name)
    kms, vault = SoftKms.open(tmp_path / "kms", PASSPHRASE), SoftVault.open(tmp_path / "armed", PASSPHRASE)
    epoch = kms.new_epoch(rsa_bits=2048)
    raw = release(kms, BundlePurpose.ISSUE, 2, epoch, vault.transport_key(), (NOW - 60, NOW + 60), NOW)
    vault.import_bundle(raw, kms.public_key(), NOW)
    rig = issued_card()
    rig.vault, rig.rotates = vault, True
    return rig


async def assert_rotated(rig: Rig) -> None:
    """The card holds generation 2 and a KRK of epoch 2, and its case is closed."""
    state = await rig.state()
    assert state.closed is not None and not state.open
    assert (state.closed.krk.epoch, state.closed.master.generation) == (2, 2)
    assert_holds(rig, {0x3F, 0x32})


async def test_no_card_relies_on_the_old_epoch_once_all_are_rotated(due: Rig) -> None:
    assert await due.store.run(cards_of_epochs) == {1: 1}
    assert await due.tap() == "done"
    await assert_rotated(due)
    assert await due.store.run(cards_of_epochs) == {2: 1}
    (row,) = await due.store.run(issued_cards)
    assert (row.epoch, row.generation, row.open) == (2, 2, False)


async def test_a_rotation_that_is_under_way_is_an_open_case_and_relies_on_both_epochs(due: Rig) -> None:
    await cut_in_rotation(due)
    assert await due.store.run(cards_of_epochs) == {1: 1, 2: 1}
    (case,) = await due.store.run(lambda connection: open_cases(connection, (1,)))
    assert case.epoch == 1
    assert await due.tap() in ("done", "nothing-to-do")
    await assert_rotated(due)


async def cut_in_rotation(rig: Rig) -> None:
    """The terminal dies right after the card took the new KRK."""
    rig.rotates = False
    assert await rig.tap() == "done"
    rig.rotates = True
    assert await rig.tap(faults=Faults(cut_at=PUT, when=When.AFTER), side="relay") == "cut"
    assert rig.key_information().kvns == {0x3F, 0x32}


async def test_a_campaign_that_is_being_disarmed_begins_no_rotation_and_the_replacement_stands(due: Rig) -> None:
    due.rotates = False
    assert await due.tap() == "done"
    await due.store.run(lambda c: book.set_state(c, "leak", CampaignState.DISARMING), BEGIN_WRITING)
    due.rotates = True
    assert await due.tap() == "already-done"
    await assert_replaced(due)


async def test_a_rotation_of_a_lost_store_is_found_by_its_cryptogram_in_the_journal(due: Rig, tmp_path: Path) -> None:
    (file,) = tmp_path.glob("issued-*/access.db")
    due.store.close()
    shutil.copy(file, tmp_path / "backup.db")
    due.store = SqlStore(f"sqlite:///{file}")
    assert await due.tap() == "done"
    await assert_rotated(due)
    lost = await due.state()
    due.store.close()
    for name in ("", "-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", file)
    due.store = SqlStore(f"sqlite:///{file}")
    assert await due.store.run(mark_restored, BEGIN_WRITING) == (1, 1)
    given = [one for _, one in await due.journal.cryptograms()]
    await due.store.run(lambda c: [hand_back(c, due.card_id(), one) for one in given], BEGIN_WRITING)
    assert lost.closed is not None and lost.closed.krk in (await due.state()).krk_candidates
    # Epoch 2 is not armed, so nobody computes its KRK: the card waits as it is.
    assert await due.tap() == "not-armed"
    assert_holds(due, {0x3F, 0x32})
    arm_epoch_two(due, tmp_path)
    assert await due.tap() == "done"
    state = await due.state()
    assert state.closed is not None and not state.open
    assert (state.closed.krk.epoch, state.closed.master.generation) == (2, 2)
    assert_holds(due, {0x3F, 0x32})


def arm_epoch_two(rig: Rig, folder: Path) -> None:
    """The custodians release the private key of epoch 2, for generation 3."""
    kms = SoftKms.open(folder / "kms", PASSPHRASE)
    assert kms.generate() == 3
    vault = SoftVault.open(folder / "armed", PASSPHRASE)
    raw = release(kms, BundlePurpose.REPLACE, 3, 2, vault.transport_key(), (NOW - 60, NOW + 60), NOW)
    vault.import_bundle(raw, kms.public_key(), NOW)
    rig.vault = vault
