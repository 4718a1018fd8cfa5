"""The frozen figures, held against their own program and against the labels."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from kioskd.gp.cplc import CardId
from kioskd.rekey.labels import KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.derivation import krk_values, master_values

VECTORS = Path(__file__).parents[1] / "vectors"
FIGURES: dict[str, Any] = json.loads((VECTORS / "derivation.json").read_text())
MEMBERS = ("ENC", "MAC", "DEK")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_derivation", VECTORS / "make_derivation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_what_their_program_computes(program: ModuleType) -> None:
    cryptogram = bytes.fromhex(FIGURES["cryptogram"])
    assert program.figures(cryptogram) == FIGURES
    assert program.epoch_key().decrypt(cryptogram, program.oaep()).hex().upper() == FIGURES["rnd"]


def test_the_program_shares_no_code_with_what_it_checks() -> None:
    lines = (VECTORS / "make_derivation.py").read_text().splitlines()
    assert not [line for line in lines if line.lstrip().startswith(("import kioskd", "from kioskd"))]


@pytest.mark.parametrize("case", FIGURES["p256"]["cases"], ids=lambda case: f"{case['bits']}")
def test_labels_with_a_point_give_the_figures_of_p256(case: dict[str, Any]) -> None:
    card, point = CardId(case["id_kind"], bytes.fromhex(case["id"])), bytes.fromhex(case["point"])
    label = KeyLabel("KRK", case["number"], 1, case["profile"], 0x3E, card, "AES", case["bits"], point)
    krkdb, rnd = Secret(bytes.fromhex(FIGURES["krkdb"])), Secret(bytes.fromhex(FIGURES["p256"]["rnd"]))
    for member, value in zip(MEMBERS, krk_values(krkdb, rnd, label), strict=True):
        figures = case["members"][member]
        assert label.info(member).hex().upper() == figures["info"]
        assert value.reveal().hex().upper() == figures["key"]


@pytest.mark.parametrize("case", FIGURES["cases"], ids=lambda case: f"{case['kind']}-{case['bits']}-{case['install']}")
def test_labels_and_derivations_give_the_figures(case: dict[str, Any]) -> None:
    card = CardId(case["id_kind"], bytes.fromhex(case["id"]))
    label = KeyLabel(
        case["kind"], case["number"], case["install"], case["profile"], case["kvn"], card, "AES", case["bits"]
    )
    mkdb, krkdb, rnd = (Secret(bytes.fromhex(FIGURES[name])) for name in ("mkdb", "krkdb", "rnd"))
    made = krk_values(krkdb, rnd, label) if label.kind == "KRK" else master_values(mkdb, label)
    for member, value in zip(MEMBERS, made, strict=True):
        figures = case["members"][member]
        assert label.info(member).hex().upper() == figures["info"]
        assert value.reveal().hex().upper() == figures["key"]
