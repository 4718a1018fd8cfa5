"""Issuances and replacements per second, HSM side and end to end, for each provider, in one process and in two."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

from kioskd.rekey.bundle import BundlePurpose
from tests.bench.results import record
from tests.hsm.houses import P256, House, bring, empty_vault

SECONDS = 3.0
PROVIDERS, PAIRS = ("softhsm2", "nss", "soft"), ("RSA-2048", "RSA-3072", P256)
LAB = {("softhsm2", "RSA-2048"): 261, ("softhsm2", "RSA-3072"): 172, ("softhsm2", P256): 302, ("nss", P256): 530}
"""Whole replacements a second, seen in a laboratory on two cores: docs/results says what came of them here."""


def measure(kind: str, pair: str, processes: int) -> list[dict[str, float]]:
    """The figures of that many processes at once."""
    command = [sys.executable, "-m", "tests.bench.vault_rates", kind, pair, str(SECONDS)]
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
        (one,) = measure(kind, pair, 1)
        both = sum(each["replacements"] for each in measure(kind, pair, 2))
        lab = LAB.get((kind, pair))
        beside = "" if lab is None else f"{lab:.0f}, {100 * one['replacements'] / lab:.0f} % of it (target 80)"
        lines.append(
            f"{kind + ', ' + pair:<18}{one['issuances']:>9.0f}{100 * one['issuing share']:>8.0f}%"
            f"{one['replacements']:>11.0f}{100 * one['replacing share']:>8.0f}%"
            f"{one['replacements'] / one['floor replacements']:>9.2f}{both:>8.0f}  {beside}"
        )
    lines.append("of floor: against recover_krk alone, in the same run; two: replacements a second of two processes")
    record("The vault, HSM side", lines, began)


def test_the_rates_end_to_end(tmp_path: Path) -> None:
    """Engine, store, journal, relay and card in one process, with the vault behind them; no reader, no network."""
    began, lines = time.monotonic(), []
    for kind, pair in itertools.product(PROVIDERS, PAIRS):
        folder = tmp_path / kind / pair
        folder.mkdir(parents=True)
        issued, replaced = asyncio.run(_story(kind, pair, folder))
        lines.append(f"{kind + ', ' + pair:<18}{issued:>9.1f} issuances/s{replaced:>9.1f} replacements/s")
    record("The vault, end to end in process", lines, began)


async def _story(kind: str, pair: str, folder: Path, cards: int = 20) -> tuple[float, float]:
    vault = empty_vault(kind, folder / "vault")
    bring(vault, BundlePurpose.ISSUE, 1, pair)
    houses = []
    for number in range(cards):
        (folder / str(number)).mkdir()
        houses.append(House(folder / str(number)))
    began = time.perf_counter()
    for house in houses:
        assert await house.issue(vault) == "issued"
    issuing = time.perf_counter() - began
    bring(vault, BundlePurpose.REPLACE, 2, pair)
    began = time.perf_counter()
    for house in houses:
        assert await house.replace(vault) == "done"
    replacing = time.perf_counter() - began
    for house in houses:
        await house.close()
    return cards / issuing, cards / replacing
