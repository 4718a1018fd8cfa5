"""Issuances and replacements per second, HSM side and end to end, for each provider, in one process and in two."""

import itertools
import json
import subprocess
import sys
import time

from tests.bench.results import record
from tests.hsm.houses import P256

SECONDS, CARDS = 3.0, 20
PROVIDERS, PAIRS = ("softhsm2", "nss", "soft"), ("RSA-2048", "RSA-3072", P256)
LAB = {("softhsm2", "RSA-2048"): 261, ("softhsm2", "RSA-3072"): 172, ("softhsm2", P256): 302, ("nss", P256): 530}
"""Whole replacements a second, seen in a laboratory on two cores: docs/results says what came of them here."""


def measure(program: str, kind: str, pair: str, amount: float, processes: int) -> list[dict[str, float]]:
    """The figures of that many processes at once."""
    command = [sys.executable, "-m", f"tests.bench.{program}", kind, pair, str(amount)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    found = []
    for one in running:
        out, _ = one.communicate(timeout=120)
        assert one.returncode == 0
        found.append(json.loads(out))
    return found


def test_the_rates_of_each_provider() -> None:
    began = time.monotonic()
    heads = (("issue/s", 9), ("in token", 9), ("replace/s", 11), ("in token", 9), ("of floor", 9), ("two", 8))
    lines = [f"{'provider, pair':<18}" + "".join(f"{name:>{width}}" for name, width in heads) + "  lab"]
    for kind, pair in itertools.product(PROVIDERS, PAIRS):
        (one,) = measure("vault_rates", kind, pair, SECONDS, 1)
        both = sum(each["replacements"] for each in measure("vault_rates", kind, pair, SECONDS, 2))
        lab = LAB.get((kind, pair))
        beside = "" if lab is None else f"{lab:.0f}, {100 * one['replacements'] / lab:.0f} % of it (target 80)"
        lines.append(
            f"{kind + ', ' + pair:<18}{one['issuances']:>9.0f}{100 * one['issuing share']:>8.0f}%"
            f"{one['replacements']:>11.0f}{100 * one['replacing share']:>8.0f}%"
            f"{one['replacements'] / one['floor replacements']:>9.2f}{both:>8.0f}  {beside}"
        )
    lines.append("each the best of six slices; of floor: against recover_krk alone, in the same run")
    lines.append("two: replacements a second of two processes at once")
    record("The vault, HSM side", lines, began)


def test_the_rates_end_to_end() -> None:
    """Whole cards, with all but the reader and the network, by one process and by two."""
    began = time.monotonic()
    heads = (
        ("issue/s", 9),
        ("in token", 9),
        ("replace/s", 11),
        ("in token", 9),
        ("two: issue/s", 13),
        ("replace/s", 10),
    )
    lines = [f"{'provider, pair':<18}" + "".join(f"{name:>{width}}" for name, width in heads)]
    for kind, pair in itertools.product(PROVIDERS, PAIRS):
        (one,) = measure("house_rates", kind, pair, CARDS, 1)
        both = measure("house_rates", kind, pair, CARDS, 2)
        issued, replaced = (sum(each[name] for each in both) for name in ("issuances", "replacements"))
        lines.append(
            f"{kind + ', ' + pair:<18}{one['issuances']:>9.1f}{100 * one['issuing share']:>8.0f}%"
            f"{one['replacements']:>11.1f}{100 * one['replacing share']:>8.0f}%{issued:>13.1f}{replaced:>10.1f}"
        )
    lines.append("two: cards a second of two processes at once, each with a token of its own provider")
    record("The vault, end to end in process", lines, began)
