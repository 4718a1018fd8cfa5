"""The store keeps what it was told, gives a card to one conversation at a time, and survives being reopened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.edges.store import BEGIN_WRITING, SqlStore, clear_charges
from kioskd.errors import LeaseLost, StoreFailed
from kioskd.gp.cplc import CardId
from kioskd.gp.keyinfo import KeyEntry
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.records import Act, Closed, Found, Greeting, Intent, MasterRef, Purpose, Receipt, Record, Registered
from kioskd.rekey.wire import End

CARD = CardId("cplc", bytes(9) + b"\x01")
ALIAS = CardId("cf", b"\x07" * 10)
REGISTERED = Registered(CARD, (ALIAS,), "gp-scp03-aes128", (KeyEntry(1, 0x73, ((0xA1, 128),)),))
CRYPTOGRAM = Cryptogram(1, 1, "SHA1", 0x3E, 2, b"\x05" * 384)


def intent(number: int) -> Intent:
    return Intent(
        number=number,
        digest=bytes(31) + bytes((number,)),
        purpose=Purpose.ISSUE_KRK,
        tap="t1",
        kiosk="k1",
        fence=1,
        opened=Greeting(0xFF, bytes(8)),
        opened_answer=bytes(32),
        acts=(Act.AUTHENTICATE, Act.PUT, Act.GREET),
        deletes=(),
        put_kvn=0x3E,
        master=None,
        cryptogram=CRYPTOGRAM,
        kcvs=(b"abc", b"def", b"ghi"),
        greetings=(Greeting(0x3E, bytes(8)),),
        marks=(),
        sealed=b"sealed",
    )


RECORDS: tuple[Record, ...] = (
    REGISTERED,
    intent(1),
    Found(1, End.COMPLETE, Receipt.MATCH, REGISTERED.bystanders, MasterRef(1, 0x31, 1), CRYPTOGRAM),
    Closed(1, Purpose.CONCLUDE, MasterRef(1, 0x31, 1), CRYPTOGRAM, Receipt.MATCH),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/access.db"


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    made = SqlStore(url)
    yield made
    made.close()


async def test_records_come_back_in_order_and_after_reopening(store: SqlStore, url: str) -> None:
    for record in RECORDS:
        await store.append(CARD, record, None)
    assert await store.records(CARD) == RECORDS
    again = SqlStore(url)
    assert await again.records(CARD) == RECORDS
    again.close()


async def test_a_registered_card_is_found_by_any_of_its_ids(store: SqlStore) -> None:
    assert await store.find((CARD, ALIAS)) is None
    await store.append(CARD, REGISTERED, None)
    assert await store.find((CARD,)) == CARD
    assert await store.find((CardId("cplc", b"other"), ALIAS)) == CARD


async def test_an_alias_that_two_cards_share_stays_with_the_first(store: SqlStore) -> None:
    second = CardId("cplc", b"second")
    await store.append(CARD, REGISTERED, None)
    await store.append(second, Registered(second, (ALIAS,), "gp-scp03-aes128", ()), None)
    assert await store.find((ALIAS,)) == CARD
    assert await store.find((second,)) == second


async def test_two_conversations_cannot_write_the_same_script_number(store: SqlStore) -> None:
    await store.append(CARD, intent(7), None)
    with pytest.raises(LeaseLost):
        await store.append(CARD, intent(7), None)
    await store.append(CardId("cplc", b"another"), intent(7), None)


async def test_a_lease_goes_only_to_who_has_seen_the_present_fence(store: SqlStore) -> None:
    assert await store.fence(CARD) == 0
    assert await store.firm_lease(CARD, "k1", "t1", seen=0) == 1
    with pytest.raises(LeaseLost):
        await store.firm_lease(CARD, "k2", "t2", seen=0)
    assert await store.firm_lease(CARD, "k2", "t3", seen=1) == 2


async def test_an_intent_under_a_lost_lease_is_refused_and_not_written(store: SqlStore) -> None:
    fence = await store.firm_lease(CARD, "k1", "t1", seen=0)
    await store.append(CARD, intent(1), fence)
    await store.firm_lease(CARD, "k2", "t2", seen=fence)
    with pytest.raises(LeaseLost):
        await store.append(CARD, intent(2), fence)
    assert len(await store.records(CARD)) == 1


async def test_wrong_cryptograms_are_charged_to_the_terminal_and_the_card_together(store: SqlStore) -> None:
    assert [await store.charge("k1", CARD) for _ in range(3)] == [1, 2, 3]
    assert await store.charges("k1", CARD) == 3
    assert await store.charges("k2", CARD) == 0


async def test_charges_are_forgiven_one_terminal_and_card_at_a_time(store: SqlStore) -> None:
    await store.charge("k1", CARD)
    await store.charge("k2", CARD)
    assert await store.run(lambda connection: clear_charges(connection, "k1", CARD), BEGIN_WRITING) == 1
    assert await store.charges("k1", CARD) == 0
    assert await store.charges("k2", CARD) == 1


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="unable to open database file"):
        SqlStore(f"sqlite:///{tmp_path}/missing/access.db")


async def test_a_record_that_does_not_read_is_named(store: SqlStore, url: str) -> None:
    import sqlite3

    await store.append(CARD, REGISTERED, None)
    with sqlite3.connect(url.removeprefix("sqlite:///")) as raw:
        raw.execute("UPDATE records SET body = '{}'")
    with pytest.raises(StoreFailed, match=r"registered\.card: is missing"):
        await store.records(CARD)
