"""`pytest --reader` reaches a card in any PC/SC daemon's reader, and writes to none that is not listed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.private_file import write_private
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader
from tests.virtual.host import FACTORY

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
ID = "cplc:4790D6008448DEADBEEF"


@pytest.fixture
def card(root_only: None, private_pcscd: PrivatePcscd, tmp_path: Path) -> Iterator[VirtualCard]:
    """A card in a reader, and a list with its id in cards.yaml."""
    made = VirtualCard(tmp_path / "card.json", CardOptions(serial=bytes.fromhex("DEADBEEF")))
    lines = "".join(f"{name} {value.hex()}\n" for name, value in zip(("ENC", "MAC", "DEK"), FACTORY, strict=True))
    write_private(tmp_path / "keys", lines.encode())
    (tmp_path / "cards.yaml").write_text(f'cards: [{{id: "{ID}", kvn: "FF", keys: {tmp_path}/keys}}]\n')
    hand = CardInReader(made, private_pcscd.connect_card)
    hand.insert()
    yield made
    hand.pull()


def run(pcscd: PrivatePcscd, *args: str) -> tuple[int, str]:
    """pytest on the card in the first reader; its exit code and what it printed."""
    options = ("-q", "-p", "no:cacheprovider", "--reader", pcscd.readers[0].name, *args)
    command = (sys.executable, "-m", "pytest", "tests/card/test_card.py", *options)
    environment = {**os.environ, **pcscd.environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_listed_card_is_tested_and_left_as_it_was(
    private_pcscd: PrivatePcscd, card: VirtualCard, tmp_path: Path
) -> None:
    before = card.kvns, card.key_values()
    code, printed = run(private_pcscd, "--card-id", ID, "--card-list", f"{tmp_path}/cards.yaml")
    assert code == 0, printed
    assert "9 passed" in printed
    assert card.memory.at(0xFF) is not None
    assert card.memory.at(0xFF).sequence > 5, "it was this card that the suite spoke to"  # type: ignore[union-attr]
    assert (card.kvns, card.key_values()) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "needs --card-id ID and --card-list FILE"),
        (("--card-id", "cplc:00", "--card-list", "{}/cards.yaml"), "cplc:00: is not in"),
        (("--card-id", ID, "--card-list", "{}/nothing.yaml"), "nothing.yaml: cannot be read"),
        (("--card-id", ID, "--card-list", "{}/other.yaml"), f"is {ID}, not cplc:01: nothing was written to it"),
    ],
)
def test_a_card_that_is_not_listed_is_not_written_to(
    private_pcscd: PrivatePcscd, card: VirtualCard, tmp_path: Path, args: tuple[str, ...], words: str
) -> None:
    if "other" in "".join(args):
        args = ("--card-id", "cplc:01", *args[2:])
        (tmp_path / "other.yaml").write_text(f'cards: [{{id: "cplc:01", kvn: "FF", keys: {tmp_path}/keys}}]\n')
    before = card.memory
    code, printed = run(private_pcscd, *(one.format(tmp_path) for one in args))
    assert (code, card.memory) == (2, before), printed
    assert words in printed
    assert "Traceback" not in printed
