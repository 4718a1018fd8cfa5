"""Published figures, reproduced; how many is itself a test, so that a record left out turns it red."""

import json

import pytest

from tests.gp.figures import TALLY, VECTORS, Figure, Record, Tally, figures_of, records

EXPECTED = Tally(records=76, figures=343, failures=0)

CARRIED = records()


def ids(record: Record) -> str:
    """A record as the tests name it."""
    return str(record["id"])


def compared(record: Record) -> list[Figure]:
    """The figures of a record, computed."""
    return list(figures_of(record))


@pytest.mark.parametrize("record", CARRIED, ids=ids)
def test_a_published_figure_is_reproduced(record: Record) -> None:
    figures = compared(record)
    assert figures
    assert [(one.name, one.ours) for one in figures] == [(one.name, one.published) for one in figures]


@pytest.mark.parametrize("record", CARRIED, ids=ids)
def test_a_record_names_where_it_was_published(record: Record) -> None:
    assert len(record["source"]) > 10


def test_no_record_is_carried_twice() -> None:
    carried = [ids(record) for record in CARRIED]
    assert len(set(carried)) == len(carried)


def test_every_file_of_figures_is_read() -> None:
    read = {str(record["id"]) for record in CARRIED}
    lists = (json.loads(file.read_text(encoding="utf-8")) for file in VECTORS.glob("*.json"))
    assert {str(record["id"]) for one in lists if isinstance(one, list) for record in one} == read


def test_every_carried_record_was_compared(pytestconfig: pytest.Config) -> None:
    figures = [(ids(record), one) for record in CARRIED for one in compared(record)]
    # A value that is computed twice, by the host's end and by the card's, counts once.
    published = {(record, repr(one.published)) for record, one in figures}
    failures = sum(one.ours != one.published for _, one in figures)
    tally = Tally(len(CARRIED), len(published), failures)
    pytestconfig.stash[TALLY] = tally
    assert tally == EXPECTED
