"""`kioskd sim card`: a test engineer's card obeys words, shows its state, and says what is wrong in one sentence."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kioskd.config import load_yaml
from kioskd.sim.cli import SimulatedCard
from kioskd.virtual.card_options import CardOptions


def sim(*args: str, words: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kioskd", "sim", "card", *args]
    return subprocess.run(command, input=words, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.pcscd
@pytest.mark.usefixtures("root_only")
def test_a_card_is_put_in_torn_shown_and_pulled(tmp_path: Path) -> None:
    options = tmp_path / "card.yaml"
    options.write_text("card: {serial: '0A0B0C0D', slots: 3}\npace: {write_ms: 5}\n")
    told = sim(
        *("--state", str(tmp_path / "card.json"), "--options", str(options), "--private"),
        words="insert\ninsert\nstate\ntear after put_key\ntear before nothing\npull\nwhat\nquit\n",
    )
    assert told.returncode == 0, told.stderr
    assert "PCSCLITE_CSOCK_NAME=" in told.stdout
    assert "the card is in the reader\nthe card is in already\ncard 0A0B0C0D, life cycle SECURED, i=70" in told.stdout
    assert "  FF    AES-128" in told.stdout
    assert "the card will lose power once after the next PUT KEY\nno command is called NOTHING" in told.stdout
    assert "the card is out\n" in told.stdout
    assert bytes(range(0x40, 0x50)).hex().upper() not in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("card: {slot: 3}\n", "card.yaml: card.slot: unknown key"),
        ("card: {slots: many}\n", "card.yaml: card.slots: needs a whole number, not text"),
        ("card: {serial: '0A'}\n", "card.yaml: card: a card has a serial of 4 bytes"),
        ("card: {scp: 4}\n", "card.yaml: card: scp: 4: a card speaks secure channel protocol 2 or 3"),
        ("card: [\n", "card.yaml: line 2: "),
    ],
)
def test_options_that_are_wrong_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "card.yaml").write_text(text)
    told = sim("--state", str(tmp_path / "card.json"), "--options", str(tmp_path / "card.yaml"))
    assert told.returncode == 2
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["card.yaml"]


@pytest.mark.slow
def test_a_card_that_is_there_is_not_taken_for_one_of_another_kind(tmp_path: Path) -> None:
    def told(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "card.yaml").write_text(text)
        return sim(
            "--state", str(tmp_path / "card.json"), "--options", str(tmp_path / "card.yaml"), words="state\nquit\n"
        )

    assert "i=60" in told("card: {scp_i: 0x60}\n").stdout
    assert "i=60" in told("card: {scp_i: 0x60}\n").stdout
    assert "i=60" in told("pace: {write_ms: 5}\n").stdout
    other = told("card: {scp_i: 0x70}\n")
    assert other.returncode == 2
    assert "card.json: holds a card of another kind than" in other.stderr and other.stderr.count("\n") == 1


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    told = sim("--state", str(tmp_path / "nowhere" / "card.json"), words="state\n")
    assert told.returncode == 2
    assert told.stderr.endswith("card.json: No such file or directory\n") and told.stderr.count("\n") == 1


def test_a_reader_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    told = sim("--state", str(tmp_path / "card.json"), "--port", "1", words="insert\n")
    assert told.returncode == 2
    assert "127.0.0.1:1: no vpcd listens there" in told.stderr
    assert told.stderr.count("\n") == 1


def test_every_option_of_a_card_can_be_said_in_yaml(tmp_path: Path) -> None:
    text = """
card:
  serial: "0A0B0C0D"
  slots: 3
  scp_i: 0x55
  factory_key_bytes: 32
  key_bytes: [16, 32]
  factory_drops: true
  own_set_stays: true
  ff_refused: true
  renumbers: false
  scp: 2
  also_aes: true
  aes_over_scp02: false
  chains_errors: true
  factory_kvn: 0x20
  factory_fills: true
  executive: true
  deletes: false
  t0: true
  part: 100
  refuses_le: 0x6E00
  exact_le: true
  empty_keys: true
  layouts: [true]
  zero_kcv: true
  others: [{kid: 1, kvn: 0x73, components: [[0xA1, 128]]}]
  aid: "A000000003000000"
  cplc: false
  contactless: true
  globalplatform: false
  life_cycle: 127
  privileges: "82FC80"
  tries: 3
  domains: [{aid: "A000000151535041", life_cycle: 15, privileges: "80"}]
  lists: false
  page: 2
  bare_more: true
  greeting_burns: true
  iin: "01"
  cin: "02"
  kdd: "00000000000000000001"
"""
    (tmp_path / "card.yaml").write_text(text)
    made = load_yaml(SimulatedCard, tmp_path / "card.yaml").card
    said = yaml.safe_load(text)["card"]
    assert set(said) == {field.name for field in dataclasses.fields(CardOptions)}
    usual = CardOptions()
    for name in said:
        assert getattr(made, name) != getattr(usual, name), f"{name} was not taken"
