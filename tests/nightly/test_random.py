"""A million taps and more under random faults, with real secure channels on both sides: no card is lost.

In pieces, each from a seed of its own, two at a time. A piece that was run on this very tree is not run again, so that
the part can be stopped at any time.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PIECES, TAPS, CORES = range(1, 26), 40_000, 2


def piece(seed: int, folder: Path) -> dict[str, Any]:
    """One piece's result, from its file if it was run before."""
    file = folder / f"{seed}.json"
    if not file.exists():
        command = [sys.executable, "-m", "kioskd", "sim", "run", "--seed", str(seed), "--taps", str(TAPS), "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        beside = file.with_suffix(".new")
        beside.write_text(done.stdout)
        beside.replace(file)
        print(f"  seed {seed}: {json.loads(done.stdout)['taps']:,} taps", flush=True)
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def test_a_million_taps_lose_no_card(tmp_path: Path) -> None:
    folder = Path(os.environ.get("PIECES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    print()
    with ThreadPoolExecutor(CORES) as two:
        results = list(two.map(lambda seed: piece(seed, folder), PIECES))
    sums: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for one in results:
        sums.update({name: one[name] for name in ("taps", "cards", "closed", "commands", "cpu_s", "lost")})
        faults.update(one["faults"])
    assert sums["taps"] >= 1_000_000 and sums["lost"] == 0
    print(f"{sums['taps']:,} taps of {sums['cards']:,} cards, {sums['commands']:,} commands, {sums['closed']:,} cases")
    print(f"{faults.total():,} faults of {len(faults)} kinds; lost: 0")
    print(f"{sums['cpu_s'] / 3600:.1f} hours of one core, {sums['taps'] / sums['cpu_s']:.0f} taps a second of it")
