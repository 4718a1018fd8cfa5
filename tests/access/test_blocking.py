"""The list of blocked cards: kept in the store, newest word last, for cards that are known and for others."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.edges.store import BEGIN_WRITING, SqlStore, blocked_cards, grant_tries, note
from kioskd.gp.cplc import CardId
from kioskd.rekey.notices import Blocked, Greeted
from kioskd.rekey.profile import Profile
from kioskd.rekey.records import fold
from kioskd.rekey.tries import spent

ONE, OTHER = CardId("cplc", b"0123456789"), CardId("cf", b"abcdefghij")
COUNTING = Profile(greeting_tries=14)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(f"sqlite:///{tmp_path}/access.db")
    yield made
    made.close()


async def told(store: SqlStore, card: CardId, reason: str) -> None:
    """What the operators say of a card."""
    await store.run(lambda connection: note(connection, card, Blocked(reason)), BEGIN_WRITING)


async def test_the_newest_word_about_a_card_counts(store: SqlStore) -> None:
    await told(store, ONE, "reported stolen")
    await told(store, OTHER, "test card")
    assert dict(await store.run(blocked_cards)) == {ONE: "reported stolen", OTHER: "test card"}
    await told(store, ONE, "")
    assert dict(await store.run(blocked_cards)) == {OTHER: "test card"}
    assert fold(await store.records(ONE)).blocked == ""
    assert fold(await store.records(OTHER)).blocked == "test card"


async def test_it_is_there_after_the_server_was_started_anew(tmp_path: Path) -> None:
    first = SqlStore(f"sqlite:///{tmp_path}/access.db")
    await told(first, ONE, "reported stolen")
    await asyncio.to_thread(first.close)
    again = SqlStore(f"sqlite:///{tmp_path}/access.db")
    assert fold(await again.records(ONE)).blocked == "reported stolen"
    await asyncio.to_thread(again.close)


async def test_the_operators_forgive_what_a_card_was_greeted_before(store: SqlStore) -> None:
    for terminal in ("k1", "k2"):
        await store.append(ONE, Greeted(0x3E, terminal, 0), None)
    assert spent(COUNTING, fold(await store.records(ONE)), 0x3E) == 2
    assert await store.run(lambda connection: grant_tries(connection, ONE), BEGIN_WRITING) == 2
    assert spent(COUNTING, fold(await store.records(ONE)), 0x3E) == 0
    await store.append(ONE, Greeted(0x3E, "k1", 0), None)
    assert spent(COUNTING, fold(await store.records(ONE)), 0x3E) == 1


async def test_of_a_card_that_was_never_greeted_nothing_is_forgiven_or_written(store: SqlStore) -> None:
    assert await store.run(lambda connection: grant_tries(connection, ONE), BEGIN_WRITING) == 0
    assert await store.records(ONE) == ()
