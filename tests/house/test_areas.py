"""Every folder of tests counts for one area, and a run's time is shown by area."""

from collections import Counter
from pathlib import Path

import pytest

from tests.areas import AREAS, REST, area_of, lines

TESTS = Path(__file__).resolve().parents[1]
APART = {"bench", "nightly", "vectors"}  # no part of `make test`


def test_every_folder_of_tests_is_in_one_area() -> None:
    folders = {one.name for one in TESTS.iterdir() if one.is_dir() and any(one.glob("test_*.py"))} - APART
    counted = Counter(folder for area in AREAS for folder in area.folders)
    assert set(counted) >= folders
    assert set(counted.values()) == {1}
    assert all((TESTS / folder).is_dir() for folder in counted)


def test_the_areas_fit_into_a_run_of_25_minutes() -> None:
    assert sum(area.minutes for area in AREAS) <= 25


def report(test: str, seconds: float, when: str) -> pytest.TestReport:
    """What pytest tells of one phase of a test."""
    place = (test, None, "")
    return pytest.TestReport(test, place, {}, "passed", None, when, duration=seconds)  # type: ignore[arg-type]


def test_the_minutes_of_an_area_are_what_its_tests_took_with_their_set_up_by_the_number_of_processes() -> None:
    told = lines(
        [
            report("tests/gp/test_tlv.py::test_a", 60.0, "setup"),
            report("tests/gp/test_tlv.py::test_a", 60.0, "call"),
            report("tests/store/test_rows.py::test_b", 12.0, "call"),
            report("tests/test_shape.py::test_c", 6.0, "call"),
        ],
        processes=2,
    )
    assert [line.split() for line in told] == [
        ["area", "tests", "minutes", "of"],
        ["path", "and", "card", "language", "1", "1.0", "4"],
        ["fleet", "1", "0.1", "3"],
        ["the", "rest", "1", "0.1"],
    ]


def test_a_short_run_shows_none() -> None:
    assert lines([report("tests/gp/test_tlv.py::test_a", 1.0, "call")], processes=1) == []


def test_a_test_in_no_folder_is_of_the_rest() -> None:
    assert area_of("tests/test_shape.py::test_c") == REST
