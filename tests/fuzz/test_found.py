"""What bent inputs have found, each once more: refused by the one error of its reader."""

import json
from pathlib import Path

import pytest

from kioskd.config import load_terminal
from kioskd.errors import BadConfiguration, JournalFailed, Malformed, StoreFailed
from kioskd.rekey.trace import TracedCommand
from tests.fuzz.rows import CARD, JournalRows, StoreRows

DEEP = "[" * 1020


@pytest.mark.parametrize(
    "row",
    [
        [str(CARD), 7, 5, "complete", "[]"],
        [str(CARD), 7, "AB" * 16, "complete", DEEP * 10],
        [str(CARD), 7, "AB" * 16, "complete", 5],
    ],
    ids=["a digest that is a number", "answers that are too deep", "answers that are a number"],
)
def test_a_journal_row_of_the_wrong_kind_is_a_journal_that_failed(row: list[object], tmp_path: Path) -> None:
    with pytest.raises(JournalFailed):
        JournalRows(tmp_path).pending(json.dumps(row).encode())


def test_a_store_row_that_is_too_deep_is_a_store_that_failed(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed):
        StoreRows(tmp_path).records(json.dumps(["blocked", None, DEEP * 10]).encode())


def test_a_line_of_a_trace_that_is_too_deep_is_malformed() -> None:
    with pytest.raises(Malformed):
        TracedCommand.decode(DEEP)


def test_the_rows_are_read_where_they_are_right(tmp_path: Path) -> None:
    rows = JournalRows(tmp_path)
    assert rows.pending(rows.SCRIPT) and rows.cryptograms(rows.CRYPTOGRAM)
    assert StoreRows(tmp_path).records(b'["blocked", null, "{\\"reason\\":\\"lost\\"}"]')


@pytest.mark.parametrize("text", ['name: "a\\0b"\n', 'tls: {ca: "/va\\0/ca.crt"}\n', '"\\0": 1\n'])
def test_a_configuration_with_a_text_that_no_file_is_named_by_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "kiosk.yaml").write_text(text)
    with pytest.raises(BadConfiguration, match=r"kiosk\.yaml: line 1: a text has a NUL character"):
        load_terminal(tmp_path / "kiosk.yaml")
