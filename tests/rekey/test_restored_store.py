"""A store that came back from a backup is not believed: every card is proven again, and no number is used twice."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.access.office import Office
from kioskd.edges.campaigns import begin_disarming
from kioskd.edges.card_index import open_cases
from kioskd.edges.store import BEGIN_WRITING, SqlStore, hand_back, mark_restored
from kioskd.rekey.notices import Restored
from kioskd.rekey.records import CardState, fold
from kioskd.virtual.faults import Faults, When
from tests.rekey.proofs import assert_replaced
from tests.rig import Rig

MakeRig = Callable[[], Rig]


class Backed:
    """A rig whose store can be put back to what it was."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig = rig
        (self.file,) = folder.glob("issued-*/access.db")
        self.kept = folder / "backup.db"

    def back_up(self) -> None:
        """A copy of the store as it is."""
        self.rig.store.close()
        shutil.copy(self.file, self.kept)
        self.rig.store = SqlStore(f"sqlite:///{self.file}")

    async def put_back(self, *, marked: bool = True) -> None:
        """The copy takes the store's place; whoever did it says so, or forgets to."""
        self.rig.store.close()
        for name in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + name).unlink(missing_ok=True)
        shutil.copy(self.kept, self.file)
        self.rig.store = SqlStore(f"sqlite:///{self.file}")
        if marked:
            assert await self.rig.store.run(mark_restored, BEGIN_WRITING) == (1, 1)


@pytest.fixture
def backed(issued_card: MakeRig, tmp_path: Path) -> Backed:
    """A card of generation 1, its store, and an armed server."""
    return Backed(issued_card(), tmp_path)


async def test_a_card_that_was_replaced_after_the_backup_is_proven_again(backed: Backed) -> None:
    rig = backed.rig
    backed.back_up()
    assert await rig.tap() == "done"
    await backed.put_back()
    state = await rig.state()
    assert state.doubtful and state.open
    assert await rig.tap() == "done"
    await assert_replaced(rig)
    assert not (await rig.state()).doubtful
    assert await rig.tap() == "already-done"


async def test_no_install_or_script_number_of_the_lost_store_is_used_again(backed: Backed) -> None:
    rig = backed.rig
    backed.back_up()
    assert await rig.tap() == "done"
    lost = await rig.state()
    await backed.put_back()
    assert await rig.tap() == "done"
    now = await rig.state()
    assert now.closed is not None and lost.closed is not None
    assert now.closed.master.install > 65536 > lost.closed.master.install
    assert {one.number for one in now.intents if one.number > 65536}
    assert not {one.number for one in lost.intents if one.number > 3} & {one.number for one in now.intents}


async def test_without_a_word_about_the_backup_the_same_master_set_would_be_put_twice(backed: Backed) -> None:
    """Why the word is needed: this is what it prevents."""
    rig = backed.rig
    backed.back_up()
    assert await rig.tap() == "done"
    lost = (await rig.state()).closed
    await backed.put_back(marked=False)
    assert await rig.tap() == "done"
    again = (await rig.state()).closed
    assert lost is not None and again is not None
    assert again.master.install == lost.master.install


async def test_a_card_that_holds_what_the_store_says_is_only_proven(backed: Backed) -> None:
    rig = backed.rig
    assert await rig.tap() == "done"
    before = rig.card.key_values()
    backed.back_up()
    await backed.put_back()
    assert await rig.tap() == "done"
    assert rig.card.key_values() == before, "nothing was put"
    await assert_replaced(rig)


@pytest.mark.parametrize("cut", range(4, 12))
async def test_a_card_that_was_torn_after_the_backup_is_finished(backed: Backed, cut: int) -> None:
    rig = backed.rig
    backed.back_up()
    await rig.tap(faults=Faults(cut_at=cut, when=When.AFTER), side="relay")
    await backed.put_back()
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_a_late_report_of_the_lost_store_does_not_end_the_doubt(backed: Backed) -> None:
    rig = backed.rig
    await rig.tap(faults=Faults(cut_at=11, when=When.AFTER), side="relay")
    backed.back_up()
    await backed.put_back()
    office = Office(rig.vault, rig.store, (rig.profile,))
    await rig.deliver(office)
    office.worker.shutdown()
    assert (await rig.state()).doubtful
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_cards_in_doubt_are_open_cases(backed: Backed) -> None:
    rig = backed.rig
    backed.back_up()
    await backed.put_back()
    (case,) = await rig.store.run(lambda connection: open_cases(connection, (1,)))
    assert case.card == rig.card_id()
    assert await rig.store.run(lambda connection: begin_disarming(connection, "leak", None), BEGIN_WRITING) == (case,)


async def test_a_cryptogram_that_is_handed_back_is_a_candidate_once(backed: Backed) -> None:
    rig = backed.rig
    state = await rig.state()
    newer = replace(state.krks[-1], install=99, value=b"n" * 256)

    def give(connection: object) -> bool:
        return hand_back(connection, rig.card_id(), newer)  # type: ignore[arg-type]

    assert await rig.store.run(give, BEGIN_WRITING) is True
    assert await rig.store.run(give, BEGIN_WRITING) is False
    assert (await rig.state()).krks == (*state.krks, newer)
    assert not await rig.store.run(lambda c: hand_back(c, rig.card_id(), state.krks[0]), BEGIN_WRITING)


async def test_each_restore_raises_the_floor(backed: Backed) -> None:
    rig = backed.rig
    for epoch in (1, 2):
        assert await rig.store.run(mark_restored, BEGIN_WRITING) == (epoch, 1)
        state = await rig.state()
        assert state.floor == epoch << 16
        assert state.next_install > state.floor and state.next_number > state.floor
    assert fold((Restored(2), Restored(1)), CardState()).store_epoch == 2
