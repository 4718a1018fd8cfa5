"""The page of the seeded mistakes, docs/mutants.md, made from their list: `make docs`."""

from tests.mutants.seeds import Mutant
from tests.mutants.test_mutants import MUTANTS

HEAD = """# Seeded mistakes

A property is worth as much as the mistakes that it finds. Each row is one change of the shipped code and the run that
goes red for it; `tests/mutants/test_mutants.py` makes each change in a copy, and runs it. Made by `make docs`.

| mistake | in | caught by |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = (f"| {one.name} | `kioskd/{one.file}` | {_run(one)} |" for one in MUTANTS)
    missed = sum(1 for one in MUTANTS if one.survives)
    return HEAD + "\n".join(rows) + f"\n\n{len(MUTANTS)} mistakes, {len(MUTANTS) - missed} caught, {missed} not.\n"


def _run(mutant: Mutant) -> str:
    """A test, and which of its cases."""
    if mutant.survives:
        return f"**nothing**: {mutant.survives}"
    test, _, case = mutant.killer.partition("[")
    return f"`{test}`" + (f", {case[:-1]}" if case else "")
