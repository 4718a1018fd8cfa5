"""The batch's file, its order, its report, and what bad input is told."""

import csv
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.edges.batch_file import BatchFile, read_batch
from kioskd.errors import BadConfiguration
from kioskd.station.cli import main
from kioskd.station.order import order_of
from tests.station.boards import MORNING, row


async def filled(path: Path) -> None:
    """A batch of three: one issued, one set aside."""
    with BatchFile(path, "tuesday", 3) as file:
        await file.put(row(1, MORNING))
        await file.put(row(2, MORNING + 1, "scp-unsupported"))
        await file.put(replace(row(1, MORNING), tries=2))


async def test_what_was_put_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    await filled(tmp_path / "t.batch")
    with BatchFile(tmp_path / "t.batch", "another name", 0) as file:
        assert (file.content.name, file.content.wanted) == ("tuesday", 3)
        assert file.content.rows == (replace(row(1, MORNING), tries=2), row(2, MORNING + 1, "scp-unsupported"))
        assert read_batch(tmp_path / "t.batch") == file.content, "somebody reads while the station works"
    assert read_batch(tmp_path / "t.batch").wanted == 3, "and afterwards"


async def test_a_batch_grows_and_is_never_smaller_than_what_is_issued(tmp_path: Path) -> None:
    path = tmp_path / "t.batch"
    await filled(path)
    with BatchFile(path, "", 500) as file:
        assert file.content.wanted == 500
    with BatchFile(path, "", 1) as file:
        await file.put(row(3, MORNING))
    with pytest.raises(BadConfiguration, match="2 cards are issued already, more than 1"):
        BatchFile(path, "", 1)
    assert read_batch(path).wanted == 1


def test_a_second_station_is_kept_away_until_the_first_ends(tmp_path: Path) -> None:
    with BatchFile(tmp_path / "t.batch", "t", 3):
        with pytest.raises(BadConfiguration, match="another station is at work"):
            BatchFile(tmp_path / "t.batch", "t", 0)
    BatchFile(tmp_path / "t.batch", "t", 0).close()


def test_a_file_that_is_no_batch_is_left_alone(tmp_path: Path) -> None:
    foreign, text, later, empty = (tmp_path / f"{name}.batch" for name in ("foreign", "text", "later", "empty"))
    sqlite3.connect(foreign).executescript("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").connection.close()
    text.write_text("not a database, and long enough to be taken for one" * 40)
    sqlite3.connect(later).executescript("PRAGMA user_version = 9").connection.close()
    empty.touch()
    for path, words in ((foreign, "another program's"), (text, "not a database"), (later, "of version 9")):
        before = path.read_bytes()
        with pytest.raises(BadConfiguration, match=words):
            BatchFile(path, "x", 5)
        with pytest.raises(BadConfiguration):
            read_batch(path)
        assert path.read_bytes()[100:] == before[100:], path.name
    with pytest.raises(BadConfiguration, match="never begun"):
        BatchFile(empty, "x", 0)
    BatchFile(empty, "x", 5).close()


def test_a_new_batch_needs_its_count(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="say with --count"):
        BatchFile(tmp_path / "new.batch", "new", 0)
    assert list(tmp_path.glob("*.batch")) == []


# --- which batch ------------------------------------------------------------------------------------------------------


def test_an_order_a_file_and_a_name_lead_to_a_batch(tmp_path: Path) -> None:
    order = tmp_path / "visa.yaml"
    order.write_text("count: 250\n")
    assert order_of(str(order), None) == order_of(str(order), None, 250)
    assert (order_of(str(order), None).path, order_of(str(order), None).wanted) == (tmp_path / "visa.batch", 250)
    assert order_of(str(order), None, 300).wanted == 300
    assert order_of(str(tmp_path / "visa.batch"), None).name == "visa"
    assert order_of("visa", tmp_path).path == tmp_path / "visa.batch"


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        ("a b", 0, "needs FILE.yaml"),
        ("", 0, "needs FILE.yaml"),
        ("visa", -1, "1 to 10000 cards, not -1"),
        ("visa", 10_001, "1 to 10000 cards"),
        ("no/such/folder/x.batch", 0, "is not a folder"),
        ("none.yaml", 0, "cannot be read"),
    ],
)
def test_what_leads_to_none_is_a_sentence(text: str, count: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=words):
        order_of(text, tmp_path, count)


@pytest.mark.parametrize(
    "content", ["count: 0", "count: many", "name: x", "count: 5\nreaders: 3", "- 5", "count: 5\ncount: 6"]
)
def test_an_order_that_is_none_is_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text(content)
    with pytest.raises(BadConfiguration, match=r"o\.yaml: "):
        order_of(str(tmp_path / "o.yaml"), None)


# --- the report -------------------------------------------------------------------------------------------------------


async def test_the_report_has_a_line_for_each_card(tmp_path: Path) -> None:
    await filled(tmp_path / "t.batch")
    out = tmp_path / "out.csv"
    assert main(["report", "--batch", str(tmp_path / "t.batch"), "--csv", str(out)]) == 0
    first, second = csv.DictReader(out.open(encoding="utf-8"))
    assert (first["state"], first["code"], first["tries"]) == ("issued", "K104", "2")
    assert first["issued"] == "2023-11-14T22:13:20+00:00"
    assert (second["state"], second["issued"]) == ("set-aside", "")
    assert second["reason"] == "The card's secure channel is not the one of its profile."
    assert "key" not in first


async def test_the_report_for_programs_has_the_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await filled(tmp_path / "t.batch")
    assert main(["report", "--batch", str(tmp_path / "t.batch"), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    totals = (told["batch"], told["wanted"], told["issued"], told["set-aside"], told["begun"])
    assert totals == ("tuesday", 3, 1, 1, 0)
    assert [card["code"] for card in told["cards"]] == ["K104", "K212"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--batch", "none.batch", "--csv", "-"], "there is no such batch"),
        (["--batch", "visa", "--csv", "-"], "needs --config"),
        (["--batch", "visa", "--config", "none.yaml", "--csv", "-"], "cannot be read"),
    ],
)
def test_a_report_of_nothing_is_a_sentence(args: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *args]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err


async def test_a_report_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await filled(tmp_path / "t.batch")
    assert main(["report", "--batch", str(tmp_path / "t.batch"), "--csv", str(tmp_path / "no" / "out.csv")]) == 2
    assert "cannot be written" in capsys.readouterr().err
