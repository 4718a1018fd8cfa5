"""The catalogue of outcomes: complete, unique, and everything that ends names one of its entries."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.outcome import Outcome, Severity
from kioskd.outcomes import _ALL, CATALOGUE, outcome

PACKAGE = Path(__file__).resolve().parents[1] / "kioskd"


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package with its name."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield str(file.relative_to(PACKAGE)), ast.parse(file.read_text(encoding="utf-8"))


def literals(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be: itself, or either side of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def names_in_tap_ends(tree: ast.Module) -> Iterator[str]:
    """The outcomes that a module ends conversations with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "TapEnds" and node.args:
            yield from literals(node.args[0])


def error_classes() -> list[tuple[str, ast.ClassDef]]:
    """KioskError and every class of the package below it."""
    classes = [(module, node) for module, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    known = {"KioskError"}
    for _ in classes:  # a chain of parents is no longer than the list of classes
        below = {node.name for _, node in classes if known & {ast.unparse(base).split(".")[-1] for base in node.bases}}
        if below <= known:
            break
        known |= below
    return [(module, node) for module, node in classes if node.name in known]


def declared(error: ast.ClassDef) -> Iterator[str]:
    """The outcome that an error class declares, if it does not take its parent's."""
    for statement in error.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="outcome")], value=value):
                yield from literals(value)
            case ast.AnnAssign(target=ast.Name(id="outcome"), value=ast.expr() as value):
                yield from literals(value)


def names_given_to_screens(tree: ast.Module) -> Iterator[str]:
    """The outcomes that a module looks up or assigns by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="outcome"), args=[name]):
                yield from literals(name)
            case ast.Assign(targets=[ast.Name(id="outcome")], value=value):
                yield from literals(value)


def test_codes_and_names_are_unique() -> None:
    assert [code for code, count in Counter(one.code for one in _ALL).items() if count > 1] == []
    assert [name for name, count in Counter(one.name for one in _ALL).items() if count > 1] == []
    assert len(CATALOGUE) == len(_ALL)


@pytest.mark.parametrize("one", _ALL, ids=lambda one: str(one.name))
def test_every_sentence_is_there_and_ends(one: Outcome) -> None:
    for sentence in (one.cardholder, one.technician, one.advice):
        assert sentence.strip() == sentence
        assert len(sentence) > 10
        assert sentence[0].isupper() and sentence.endswith(".")
    assert re.fullmatch(r"K[1-9]\d\d", one.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", one.name)


@pytest.mark.parametrize("one", _ALL, ids=lambda one: str(one.name))
def test_the_cardholder_reads_no_jargon(one: Outcome) -> None:
    jargon = {"apdu", "cryptogram", "isd", "krk", "kvn", "kms", "mac", "pcscd", "script", "scp", "server", "vault"}
    assert not jargon & set(re.findall(r"[a-z]+", one.cardholder.lower()))
    assert len(one.cardholder) <= 80  # two lines of a small screen


def test_only_a_card_that_is_done_is_called_done() -> None:
    assert [one.name for one in _ALL if "done" in one.cardholder.lower()] == ["done"]
    assert CATALOGUE["done"].severity is Severity.GOOD


def test_nobody_is_promised_that_a_card_works_of_which_nothing_is_known() -> None:
    """Without a server, or before the card has said who it is, it may be one that another tap has left half done."""
    assert [one.name for one in _ALL if "works" in one.cardholder.lower() and one.severity is not Severity.GOOD] == []


def test_every_conversation_ends_in_the_catalogue() -> None:
    found = [(module, name) for module, tree in trees() for name in names_in_tap_ends(tree)]
    assert len(found) > 20
    assert [one for one in found if one[1] not in CATALOGUE] == []


def test_every_error_ends_in_the_catalogue() -> None:
    found = [(f"{module}: {error.name}", name) for module, error in error_classes() for name in declared(error)]
    assert len(found) > 15
    assert [one for one in found if one[1] not in CATALOGUE] == []


def test_every_outcome_that_is_named_is_in_the_catalogue() -> None:
    found = [(module, name) for module, tree in trees() for name in names_given_to_screens(tree)]
    assert [one for one in found if one[1] not in CATALOGUE] == []


def test_an_outcome_is_found_by_its_name_and_no_other() -> None:
    assert outcome("done").code == "K100"
    with pytest.raises(KeyError):
        outcome("")
