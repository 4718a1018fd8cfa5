"""Which card an operator means: by any of its ids, or by the end that the terminals show."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kioskd.edges.card_names import card_named
from kioskd.edges.store import BEGIN_WRITING, SqlStore, note
from kioskd.errors import BadConfiguration
from kioskd.gp.cplc import CardId
from kioskd.rekey.notices import Blocked
from kioskd.rekey.records import Registered
from kioskd.terminal.status import shortened

FIRST, SECOND = (CardId("cplc", bytes.fromhex(f"4790D60084480A00000{number}")) for number in (1, 2))
IMAGE = CardId("iin-cin", bytes.fromhex("0102030411223344"))
STRANGER = CardId("cf", bytes.fromhex("99887766"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    made = SqlStore(f"sqlite:///{tmp_path}/access.db")
    await made.append(FIRST, Registered(FIRST, (IMAGE,), "default", ()), None)
    await made.append(SECOND, Registered(SECOND, (), "default", ()), None)
    await made.charge("k1", STRANGER)
    yield made
    made.close()


async def named(store: SqlStore, words: str, *, new: bool = False) -> CardId:
    """The card that these words name."""
    return await store.run(lambda connection: card_named(connection, words, new=new))


@pytest.mark.parametrize(
    ("words", "card"),
    [
        (str(FIRST), FIRST),
        (str(FIRST).lower(), FIRST),
        (str(FIRST).upper(), FIRST),
        (str(IMAGE), FIRST),
        (shortened(str(SECOND)), SECOND),
        ("0A000002", SECOND),
        ("0a000001", FIRST),
        ("223344", FIRST),
        ("887766", STRANGER),
        (str(STRANGER), STRANGER),
    ],
)
async def test_a_card_is_named_by_any_id_of_it_or_by_an_ids_end(store: SqlStore, words: str, card: CardId) -> None:
    assert await named(store, words) == card


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cplc:0102030405060708090A", "no card on record has this id"),
        ("DEADBEEF", "no card on record has an id that ends so"),
        ("00002", "needs one such as cplc:4790"),
        ("%%%%%%%%", "needs one such as cplc:4790"),
        ("", "needs one such as cplc:4790"),
        ("cplc:zz", "needs cplc:, iin-cin:, cf:, kdd: and hexadecimal digits"),
        ("nothing:00", "needs cplc:, iin-cin:, cf:, kdd: and hexadecimal digits"),
    ],
)
async def test_a_card_that_is_not_on_record_is_said_to_be_unknown(store: SqlStore, words: str, told: str) -> None:
    with pytest.raises(BadConfiguration, match=told):
        await named(store, words)


async def test_an_end_that_fits_two_cards_names_neither(store: SqlStore) -> None:
    third = CardId("cplc", bytes.fromhex("4790D60084490A000001"))
    await store.run(lambda connection: note(connection, third, Blocked("lost")), BEGIN_WRITING)
    with pytest.raises(BadConfiguration, match=r"2 cards on record have an id that ends so .*: say more of it"):
        await named(store, "0A000001")
    assert await named(store, "490A000001") == third


async def test_a_whole_id_may_be_that_of_a_card_that_has_never_come(store: SqlStore) -> None:
    new = CardId("cplc", bytes(10))
    assert await named(store, str(new), new=True) == new
    with pytest.raises(BadConfiguration, match="ends so"):
        await named(store, "00000000", new=True)
