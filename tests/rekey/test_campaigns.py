"""A campaign's window and its end: they stop new cards only, and a begun card is always finished."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges import campaigns as book
from kioskd.edges.card_index import cards_of_epochs, issued_cards, open_cases
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.errors import BadBundle
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.campaign import CampaignState, OpenCase, digest_of
from kioskd.rekey.records import Intent
from kioskd.virtual.faults import Faults, When
from tests.rekey.conftest import CAMPAIGN
from tests.rekey.proofs import assert_replaced
from tests.rig import Rig

MakeRig = Callable[[], Rig]
CUT = 7  # the relay's steps: four reads, INITIALIZE UPDATE, the note, EXTERNAL AUTHENTICATE, DELETE


async def move(rig: Rig, not_before: int, not_after: int) -> None:
    """Gives the campaign another window."""
    other = Campaign("leak", 1, 2, (1,), not_before, not_after)
    await change(rig, lambda connection: book.forget(connection, "leak"))
    await change(rig, lambda connection: book.arm(connection, other))


async def change(rig: Rig, job: Callable[[book.Connection], Any]) -> Any:
    """One transaction in the server's store."""
    return await rig.store.run(job, BEGIN_WRITING)


async def begun(rig: Rig) -> Rig:
    """The terminal lost its power after the old master set was deleted."""
    assert await rig.tap(faults=Faults(cut_at=CUT, when=When.AFTER), side="relay") == "cut"
    assert (await rig.state()).open
    assert 0x31 not in rig.key_information().kvns
    return rig


async def test_a_card_that_is_not_begun_is_left_alone_after_the_window(issued_card: MakeRig) -> None:
    rig = issued_card()
    await move(rig, 0, 1)
    before = rig.key_information()
    assert await rig.tap() == "campaign-over"
    assert rig.messages == []
    assert rig.key_information() == before


async def test_a_card_that_is_not_begun_waits_for_the_window(issued_card: MakeRig) -> None:
    rig = issued_card()
    await move(rig, 2**39, 2**40)
    assert await rig.tap() == "nothing-to-do"
    assert rig.messages == []


async def test_a_begun_card_is_finished_after_the_window(issued_card: MakeRig) -> None:
    rig = await begun(issued_card())
    await move(rig, 0, 1)
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_a_finished_card_is_up_to_date_after_the_window(issued_card: MakeRig) -> None:
    rig = issued_card()
    assert await rig.tap() == "done"
    await move(rig, 0, 1)
    assert await rig.tap() == "already-done"


async def test_armed_keys_without_a_campaign_begin_no_card(issued_card: MakeRig) -> None:
    rig = issued_card()
    await change(rig, lambda connection: book.forget(connection, "leak"))
    assert await rig.tap() == "campaign-over"
    assert rig.messages == []


async def test_disarming_is_refused_with_the_list_while_a_card_is_begun(issued_card: MakeRig) -> None:
    rig = await begun(issued_card())
    cases = await change(rig, lambda connection: book.begin_disarming(connection, "leak", None))
    last = (await rig.state()).last
    assert last is not None
    assert cases == (OpenCase(rig.card_id(), 1, 1, last.number),)
    standing = (await change(rig, book.all_of))[0]
    assert standing.state is CampaignState.ARMED
    assert await rig.tap() == "done"
    assert await change(rig, lambda connection: book.begin_disarming(connection, "leak", None)) == ()


async def test_an_accepted_list_ends_the_campaign_and_any_other_list_does_not(issued_card: MakeRig) -> None:
    rig = await begun(issued_card())
    cases = await change(rig, lambda connection: open_cases(connection, (1,)))
    await change(rig, lambda connection: book.begin_disarming(connection, "leak", digest_of(())))
    assert (await change(rig, book.all_of))[0].state is CampaignState.ARMED
    await change(rig, lambda connection: book.begin_disarming(connection, "leak", digest_of(cases)))
    assert (await change(rig, book.all_of))[0].state is CampaignState.DISARMING


async def test_a_begun_card_is_finished_while_the_keys_are_still_here(issued_card: MakeRig) -> None:
    rig = await begun(issued_card())
    await change(rig, lambda connection: book.set_state(connection, "leak", CampaignState.DISARMING))
    assert await rig.tap() == "done"
    await assert_replaced(rig)


class Meanwhile(Faults):
    """Has the campaign disarmed in the midst of a tap, just before its intent is written."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def wrap(self, what: Any, *names: str) -> Any:
        """The store with the disarming in front of the first intent."""
        return _Disarming(self._rig.store) if what is self._rig.store else what


class _Disarming:
    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, card: Any, record: Any, fence: int | None) -> None:
        """Writes a record; an intent comes too late."""
        if isinstance(record, Intent):
            ended: Any = lambda connection: book.begin_disarming(connection, "leak", None)  # noqa: E731
            assert await self._store.run(ended, BEGIN_WRITING) == ()
        await self._store.append(card, record, fence)


async def test_a_campaign_that_is_disarmed_during_a_tap_begins_no_card(issued_card: MakeRig) -> None:
    rig = issued_card()
    before = rig.key_information()
    assert await rig.tap(faults=Meanwhile(rig), side="server") == "campaign-over"
    assert rig.key_information() == before
    assert not (await rig.state()).open


async def test_a_campaign_that_was_disarmed_does_not_stand_in_the_way_of_the_next(issued_card: MakeRig) -> None:
    rig = issued_card()
    await change(rig, lambda connection: book.set_state(connection, "leak", CampaignState.DISARMED))
    assert await rig.tap() == "campaign-over"
    await change(rig, lambda connection: book.arm(connection, replace(CAMPAIGN, id="next")))
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_of_two_campaigns_with_one_goal_the_one_that_lasts_longer_counts(issued_card: MakeRig) -> None:
    rig = issued_card()
    await move(rig, 0, 1)
    await change(rig, lambda connection: book.arm(connection, replace(CAMPAIGN, id="next")))
    assert await rig.tap() == "done"


async def test_the_index_says_what_a_card_holds_and_which_epoch_it_relies_on(issued_card: MakeRig) -> None:
    rig = issued_card()
    assert await rig.tap() == "done"
    closed = (await rig.state()).closed
    assert closed is not None
    (row,) = await change(rig, issued_cards)
    assert (row.card, row.epoch, row.open) == (rig.card_id(), 1, False)
    assert (row.generation, row.kvn, row.install) == (2, closed.master.kvn, closed.master.install)
    assert await change(rig, cards_of_epochs) == {1: 1}


async def test_the_index_of_an_older_store_is_made_from_its_records(issued_card: MakeRig, tmp_path: Path) -> None:
    rig = await begun(issued_card())
    before = await change(rig, lambda connection: (issued_cards(connection), open_cases(connection, (1,))))
    await change(rig, lambda connection: connection.exec_driver_sql("DROP TABLE cards"))
    await change(rig, lambda connection: connection.exec_driver_sql("DROP TABLE alembic_version"))
    (file,) = tmp_path.glob("issued-*/access.db")
    again = SqlStore(f"sqlite:///{file}")
    assert await again.run(lambda connection: (issued_cards(connection), open_cases(connection, (1,)))) == before
    again.close()


async def test_two_campaigns_under_one_id_are_refused(issued_card: MakeRig) -> None:
    rig = issued_card()
    assert await change(rig, lambda connection: book.arm(connection, CAMPAIGN)) is False
    with pytest.raises(BadBundle, match="another under this id"):
        await move_without_forgetting(rig)


async def move_without_forgetting(rig: Rig) -> None:
    """Another campaign under the same id."""
    await change(rig, lambda connection: book.arm(connection, Campaign("leak", 1, 2, (1, 2), 0, 2**40)))
