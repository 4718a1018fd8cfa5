"""From 3DES to AES over a real store and journal: what is written, what is exported, and a store of before."""

from collections.abc import Callable

import pytest
import sqlalchemy as sql

from kioskd.edges.card_index import issued_cards
from kioskd.edges.signed_export import table_of
from kioskd.edges.store import BEGIN_WRITING
from kioskd.rekey.labels import KeyKind
from kioskd.virtual.faults import Faults, When
from tests.rekey.migrating import MACED, PLAIN
from tests.rekey.proofs import krk_opens, master_opens
from tests.rekey.test_single_cuts import SIDES, points_of
from tests.rig import Rig

MakeRig = Callable[[], Rig]
CARDS = pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str, indirect=True)


async def assert_migrated(rig: Rig, context: object = "") -> None:
    """The card holds its KRK and an AES master set of generation 2; both open it; the records and the index say so."""
    state = await rig.state()
    assert state.closed is not None and not state.open, context
    master = state.closed.master
    assert (master.generation, master.kind) == (2, KeyKind("AES", 128)), context
    assert master_opens(rig, master) and krk_opens(rig, state), context
    expected = rig.profile.entries(master.kvn, master.kind) | rig.profile.entries(state.closed.krk.kvn)
    assert set(rig.key_information().entries) == expected, context
    (row,) = await rig.store.run(issued_cards)
    assert (row.keys, row.open) == ("AES-128", False), context


@CARDS
async def test_a_tap_migrates_the_card_and_the_export_says_what_its_keys_are(issued_card: MakeRig) -> None:
    rig = issued_card()
    before = (await rig.state()).closed
    assert before is not None and master_opens(rig, before.master)
    assert table_of(await rig.store.run(issued_cards)).endswith(b",proven,\n")
    assert await rig.tap() == "done"
    await assert_migrated(rig)
    assert not master_opens(rig, before.master)
    assert table_of(await rig.store.run(issued_cards)).endswith(b",proven,AES-128\n")
    assert await rig.tap() == "already-done"


@CARDS
async def test_a_store_that_older_software_wrote_is_read(issued_card: MakeRig) -> None:
    rig = issued_card()

    def as_before(connection: sql.Connection) -> int:
        """Takes the words away that records have had since; how many rows that changed."""
        changed = 0
        for words in ('"kind":null', '"declined":false'):
            for old in (f",{words}", f"{words},"):
                texts = sql.text("UPDATE records SET body = replace(body, :old, '') WHERE instr(body, :old) > 0")
                changed += connection.execute(texts, {"old": old}).rowcount
        connection.execute(sql.text("ALTER TABLE cards DROP COLUMN aes_bits"))
        connection.execute(sql.text("UPDATE alembic_version SET version_num = '0001'"))
        return changed

    assert await rig.store.run(as_before, BEGIN_WRITING) > 3
    again = type(rig.store)(str(rig.store._engine.url))
    rig.store.close()
    rig.store = again
    bodies = await rig.store.run(lambda connection: connection.execute(sql.text("SELECT body FROM records")).all())
    assert not any('kind":null' in body or "declined" in body for (body,) in bodies)
    assert await rig.tap() == "done"
    await assert_migrated(rig)


@pytest.mark.slow
@CARDS
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("side", SIDES)
async def test_the_tap_after_a_cut_finishes_the_migration(issued_card: MakeRig, side: str, when: When) -> None:
    for at, name in enumerate(await points_of(issued_card, "replace", side)):
        rig = issued_card()
        await rig.tap(faults=Faults(cut_at=at, when=when), side=side)
        assert await rig.tap() in ("done", "already-done"), (at, name)
        await assert_migrated(rig, (at, name))
