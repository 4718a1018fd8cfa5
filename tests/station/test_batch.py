"""The rules of a batch: what counts, what is set aside, and what is to be done next."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.edges.batch_file import BatchFile, CardRow, CardState, read_batch
from kioskd.errors import JournalFailed
from kioskd.outcomes import CATALOGUE, outcome
from kioskd.ports import ReaderState
from kioskd.station.batch import AGAIN, Batch, begun, ended, interrupted, key_of
from kioskd.station.board import PACE_S, Mood, pace
from kioskd.terminal.tap import TapRecord

CARDS = ("cplc:4790D600AAAA00000001", "cplc:4790D600AAAA00000002", "iin-cin:0102030405")


def tap(name: str, card: str = CARDS[0], reader: str = "R1") -> TapRecord:
    """A tap that has ended."""
    return TapRecord("0a0b0c0d", reader, card=card, outcome=name)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """A batch of two cards, with two empty readers."""
    made = Batch(BatchFile(tmp_path / "b.batch", "b", 2))
    for name in ("R1", "R2"):
        made.reader(name, ReaderState.EMPTY)
    return made


async def put_in(batch: Batch, ends: str, card: str = CARDS[0], reader: str = "R1", *, changed: bool = True) -> bool:
    """A card from its arrival to its tap's end; it stays in the reader."""
    batch.reader(reader, ReaderState.CARD)
    assert batch.admits(reader, "0a0b0c0d")
    if changed:
        await batch.begins(tap("", card, reader))
    return await batch.ends(tap(ends, card, reader))


# --- what counts ------------------------------------------------------------------------------------------------------


async def test_an_issued_card_counts_and_the_last_one_ends_the_batch(batch: Batch) -> None:
    assert not await put_in(batch, "issued")
    assert await put_in(batch, "issued", CARDS[1], "R2")
    assert (batch.issued, batch.board().next_step.mood) == (2, Mood.DONE)


@pytest.mark.parametrize("again", ["already-issued", "issued", "card-pulled", "link-lost"])
async def test_a_card_that_comes_again_is_not_counted_twice_and_stays_counted(batch: Batch, again: str) -> None:
    await put_in(batch, "issued")
    assert not await put_in(batch, again, changed=False)
    assert (batch.issued, len(batch.rows), batch.rows[key_of(CARDS[0])].tries) == (1, 1, 2)


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - {"issued", "already-issued"}))
async def test_every_other_outcome_sets_the_card_aside_with_its_reason(batch: Batch, name: str) -> None:
    await put_in(batch, name)
    (row,) = batch.rows.values()
    assert (row.state, row.code, row.reason) == (CardState.ASIDE, outcome(name).code, outcome(name).technician)
    assert batch.issued == 0 and row.advice


async def test_a_card_that_was_set_aside_counts_once_when_it_is_issued_later(batch: Batch) -> None:
    await put_in(batch, "card-pulled-in-doubt")
    assert batch.board().aside[0].advice == AGAIN
    await put_in(batch, "issued", reader="R2")
    (row,) = batch.rows.values()
    assert (row.state, row.tries, row.reader, row.reason) == (CardState.ISSUED, 2, "R2", "")
    assert batch.issued == 1 and batch.board().aside == ()


async def test_already_issued_counts_for_a_card_that_this_batch_began_and_for_no_other(batch: Batch) -> None:
    await put_in(batch, "already-issued", CARDS[1], changed=False)
    assert batch.issued == 0, "somebody else issued it"
    await put_in(batch, "link-lost")
    await put_in(batch, "already-issued", changed=False)
    assert batch.issued == 1
    await put_in(batch, "already-issued", CARDS[1], "R2", changed=False)
    assert batch.issued == 1


async def test_a_counted_card_that_is_begun_anew_counts_again_only_by_proof(batch: Batch) -> None:
    await put_in(batch, "issued")
    await put_in(batch, "card-pulled-in-doubt")
    assert batch.issued == 0, "the store was put back, and the card is in the midst of its second issuance"
    await put_in(batch, "issued")
    assert (batch.issued, len(batch.rows)) == (1, 1)


async def test_a_card_that_never_said_who_it_is_is_no_card_of_the_batch(batch: Batch) -> None:
    await put_in(batch, "card-pulled", "", changed=False)
    assert batch.rows == {}
    batch.reader("R1", ReaderState.EMPTY)
    assert batch.board().next_step.words == "Put the same card into reader 1 again"


@given(
    events=st.lists(
        st.tuples(st.sampled_from(CARDS), st.booleans(), st.sampled_from(sorted(CATALOGUE)), st.booleans()), max_size=30
    )
)
def test_whatever_happens_a_card_has_one_row_and_counts_by_proof_alone(
    events: list[tuple[str, bool, str, bool]],
) -> None:
    rows: dict[str, CardRow] = {}
    proven: set[str] = set()
    began: set[str] = set()
    for at, (card, changes, name, killed) in enumerate(events, 1):
        if changes:
            rows[card] = begun(rows.get(card), tap("", card), "R1", at)
            began.add(card)
            proven.discard(card)
        if killed:
            rows = {key: interrupted(row) if row.state is CardState.BEGUN else row for key, row in rows.items()}
            continue
        rows[card] = ended(rows.get(card), tap(name, card), "R1", at)
        if name == "issued" or (name == "already-issued" and card in began):
            proven.add(card)
        assert {key for key, row in rows.items() if row.state is CardState.ISSUED} == proven
        assert rows[card].state is not CardState.BEGUN
        assert bool(rows[card].issued) == (card in proven)


# --- on disk ----------------------------------------------------------------------------------------------------------


async def test_what_was_begun_when_the_station_died_is_set_aside_by_the_next(batch: Batch) -> None:
    batch.reader("R1", ReaderState.CARD)
    batch.admits("R1", "0a0b0c0d")
    await batch.begins(tap(""))
    assert read_batch(batch.file.path).rows[0].state is CardState.BEGUN
    batch.file.close()
    with BatchFile(batch.file.path, "b", 0) as file:
        again = Batch(file)
        await again.resume()
        assert read_batch(file.path).rows[0].state is CardState.ASIDE
        assert not await again.ends(tap("already-issued"))
        assert again.issued == 1, "the proof that the dead station did not hear"


async def test_a_card_that_cannot_be_written_down_is_not_begun_and_does_not_count(batch: Batch) -> None:
    batch.file._worker.submit(batch.file._connection.close).result()
    batch.reader("R1", ReaderState.CARD)
    batch.admits("R1", "0a0b0c0d")
    with pytest.raises(JournalFailed):
        await batch.begins(tap(""))
    assert not await batch.ends(tap("issued"))
    assert (batch.issued, batch.rows) == (0, {})
    assert batch.board().next_step.words == "Take the card out of reader 1 and put it in again"


# --- what to do next --------------------------------------------------------------------------------------------------


def next_words(batch: Batch) -> str:
    """The one next step."""
    return batch.board().next_step.words


async def test_the_next_step_leads_through_a_batch(batch: Batch) -> None:
    assert next_words(batch) == "Put the next card into reader 1"
    batch.reader("R1", ReaderState.CARD)
    batch.admits("R1", "t1")
    assert next_words(batch) == "Put the next card into reader 2"
    batch.reader("R2", ReaderState.CARD)
    batch.admits("R2", "t2")
    assert next_words(batch) == "Wait: leave the cards in"
    await batch.ends(tap("issued", CARDS[0], "R1"))
    assert next_words(batch) == "Take the card out of reader 1: done"
    batch.reader("R1", ReaderState.EMPTY)
    assert next_words(batch) == "Wait: leave the cards in", "the other one is the last"
    batch.reader("R2", ReaderState.EMPTY)
    await batch.ends(tap("card-pulled-in-doubt", CARDS[1], "R2"))
    assert next_words(batch) == "Put the same card into reader 2 again"
    await put_in(batch, "issued", CARDS[1], "R2")
    assert next_words(batch) == "All 2 cards are issued"


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("scp-unsupported", "Take the card out of reader 1 and set it aside"),
        ("not-finished", "Take the card out of reader 1 and put it in again"),
        ("server-down", "Take the card out of reader 1, then: Check the network and the access server."),
    ],
)
async def test_a_card_that_failed_says_what_to_do_with_it(batch: Batch, ends: str, words: str) -> None:
    await put_in(batch, ends, changed=False)
    assert next_words(batch) == words
    assert outcome(ends).technician in batch.board().next_step.why


async def test_a_card_that_the_batch_does_not_need_is_not_tapped(batch: Batch) -> None:
    await put_in(batch, "issued")
    batch.reader("R2", ReaderState.CARD)
    assert batch.admits("R2", "t")
    batch.reader("R3", ReaderState.CARD)
    assert not batch.admits("R3", "t"), "one is issued, one under way, and two are wanted"
    batch.reader("R1", ReaderState.EMPTY)
    assert next_words(batch) == "Take the card out of reader 3"
    batch.reader("R3", ReaderState.EMPTY)
    assert next_words(batch) == "Wait: leave the cards in"


async def test_a_mute_card_and_readers_that_go_are_said(batch: Batch) -> None:
    batch.reader("R2", ReaderState.MUTE)
    assert next_words(batch) == "Take the card out of reader 2 and set it aside"
    batch.reader("", ReaderState.DOWN)
    assert next_words(batch) == outcome("pcscd-down").advice
    batch.reader("R2", ReaderState.EMPTY)
    assert next_words(batch) == "Put the next card into reader 1", "it is the only one now"
    batch.reader("R2", ReaderState.GONE)
    assert next_words(batch) == outcome("no-reader").advice


async def test_the_view_and_its_status_hear_of_every_change(batch: Batch) -> None:
    heard: list[str] = []
    batch.on_change = lambda: heard.append(next_words(batch))
    await put_in(batch, "issued")
    assert heard[-1] == "Take the card out of reader 1: done"
    told = batch.tell()["batch"]
    assert (told["issued"], told["wanted"], told["next"]) == (1, 2, heard[-1])
    assert told["readers"] == {"R1": "done: take the card out", "R2": "free"}


def test_the_pace_looks_at_the_last_minutes_of_this_day() -> None:
    assert pace([], 0, 100) == 0
    assert pace([10, 20, 30], 0, 60) == pytest.approx(3)
    assert pace([-50, 10], 0, 60) == pytest.approx(1), "yesterday's do not count"
    assert pace([10, 1000], 0, 1000) == pytest.approx(60 / PACE_S)


async def test_two_cards_at_once_do_not_mix(batch: Batch) -> None:
    for reader in ("R1", "R2"):
        batch.reader(reader, ReaderState.CARD)
        batch.admits(reader, reader)
    await asyncio.gather(
        *(batch.begins(tap("", card, reader)) for card, reader in zip(CARDS, ("R1", "R2"), strict=False))
    )
    await asyncio.gather(batch.ends(tap("issued", CARDS[0], "R1")), batch.ends(tap("issued", CARDS[1], "R2")))
    assert batch.issued == 2
    assert {row.reader for row in read_batch(batch.file.path).rows} == {"R1", "R2"}
