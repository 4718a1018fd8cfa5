"""The pages say what the code does."""

import re
from pathlib import Path

from kioskd.outcomes import page
from tests.cards.page import page as cards_page
from tests.mutants.page import page as mutants_page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_outcomes_is_made_from_the_catalogue() -> None:
    assert (ROOT / "docs" / "outcomes.md").read_text() == page(), "say `make docs`"


def test_every_link_between_pages_leads_somewhere() -> None:
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
            assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_every_file_that_a_page_names_is_there() -> None:
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"`((?:kioskd|tests|config|systemd|docs)/[\w./-]+)`", file.read_text()):
            assert (ROOT / target).exists(), f"{file.name}: {target}"


def test_every_test_that_a_page_names_is_there() -> None:
    for file in sorted((ROOT / "docs").rglob("*.md")):
        for target, name in re.findall(r"`(tests/[\w./-]+\.py)::(\w+)", file.read_text()):
            assert f"def {name}(" in (ROOT / target).read_text(), f"{file.name}: {target}::{name}"


def test_the_page_of_claims_names_every_test_that_stands_for_one() -> None:
    page = (ROOT / "docs" / "claims.md").read_text()
    marked = re.compile(r"claim\(([\d, ]+)\)(?:\n@.*|\n    .*|\n\))*\n(?:async )?def (\w+)")
    found = 0
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for numbers, name in marked.findall(file.read_text()):
            found += 1
            for number in numbers.split(","):
                (row,) = [line for line in page.splitlines() if line.startswith(f"| {number.strip()} |")]
                assert f"::{name}`" in row, "say `make claims`"
    assert found > 15


def test_the_page_of_cards_is_made_from_the_matrix() -> None:
    assert (ROOT / "docs" / "cards.md").read_text() == cards_page(), "say `make docs`"


def test_the_page_of_seeded_mistakes_is_made_from_their_list() -> None:
    assert (ROOT / "docs" / "mutants.md").read_text() == mutants_page(), "say `make docs`"
