"""`kioskd access domains`: what each card said last of security domains of others, in words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.access.domains_cli import lines_of
from kioskd.edges.store import SqlStore, listed_cards
from kioskd.gp.cplc import CardId
from kioskd.gp.registry import SecurityDomain
from kioskd.rekey.notices import Listed, ListEnd

ONE, OTHER = CardId("cplc", b"0123456789"), CardId("cf", b"abcdefghij")
BANK = SecurityDomain(bytes.fromhex("A000000151535041"), 0x0F, bytes.fromhex("A04000"))
LOCKED = SecurityDomain(bytes.fromhex("A000000151535042"), 0x8F, bytes.fromhex("80"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(f"sqlite:///{tmp_path}/access.db")
    yield made
    made.close()


async def test_the_newest_list_of_a_card_counts(store: SqlStore) -> None:
    whole = Listed((BANK, LOCKED), ListEnd.WHOLE, authentic=True)
    await store.append(ONE, Listed((BANK,), ListEnd.CUT, authentic=True), None)
    await store.append(OTHER, Listed((), ListEnd.REFUSED, authentic=True, sw=0x6A86), None)
    await store.append(ONE, whole, None)
    assert dict(await store.run(listed_cards))[ONE] == whole
    assert len(await store.run(listed_cards)) == 2
    assert await store.run(lambda connection: listed_cards(connection, ONE)) == ((ONE, whole),)


def test_each_domain_is_a_line_with_its_powers() -> None:
    assert lines_of(Listed((BANK, LOCKED), ListEnd.WHOLE, authentic=True)) == [
        "  A000000151535041                  PERSONALIZED  delegated management, authorized management",
        "  A000000151535042                  LOCKED        no power over others",
    ]


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (Listed((BANK,), ListEnd.WHOLE, authentic=False), "by the card's word alone"),
        (Listed((BANK,), ListEnd.CUT, authentic=True), "there are more"),
        (Listed((), ListEnd.REFUSED, authentic=True, sw=0x6A86), "refused GET STATUS with 6A86"),
        (Listed((), ListEnd.FORGED, authentic=True), "no right MAC"),
        (Listed((), ListEnd.UNREADABLE, authentic=True), "cannot be read"),
    ],
)
def test_what_is_not_known_is_said(listed: Listed, words: str) -> None:
    assert words in lines_of(listed)[-1]


def test_a_card_that_has_none_is_not_shown() -> None:
    assert lines_of(Listed((), ListEnd.WHOLE, authentic=False)) == []
