"""Random deep runs: the same to the byte from one seed, every promise kept, and a broken one shown with few faults."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from kioskd.rekey import evidence, relay
from kioskd.sim import rounds, run_cli
from kioskd.sim.rounds import round_seed, run
from kioskd.sim.world import Size, World
from kioskd.virtual.oracle import Violation

pytestmark = pytest.mark.slow


def sim_run(*args: str, hashes: str = "0") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kioskd", "sim", "run", *args]
    environment = os.environ | {"PYTHONHASHSEED": hashes}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)


def told(*args: str, hashes: str = "0") -> dict[str, Any]:
    """The result of a run in a process of its own."""
    done = sim_run(*args, "--json", hashes=hashes)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_seed_gives_the_same_events_to_the_byte_in_every_process() -> None:
    args = ("--seed", "11", "--taps", "150", "--cards", "16", "--kiosks", "3")
    first, second = told(*args, hashes="1"), told(*args, hashes="4711")
    assert first["digest"] == second["digest"] and first["taps"] == second["taps"] >= 150
    assert {name: first[name] for name in ("outcomes", "faults")} == {n: second[n] for n in ("outcomes", "faults")}
    assert told("--seed", "12", *args[2:])["digest"] != first["digest"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_some_thousand_taps_under_faults_lose_no_card() -> None:
    result = run(2026, 2_500, Size())
    assert result.broken is None, result.broken
    assert result.tally.taps >= 2_500 and result.tally.faults.total() > 300
    assert len(result.tally.faults) >= 18, "nearly every kind of fault has struck"
    assert result.tally.most_final_taps <= 2


def test_without_faults_every_card_needs_one_tap() -> None:
    result = run(3, 1, Size(cards=20, campaigns=2, faults=0))
    assert result.broken is None and not result.tally.faults
    good = {"issued", "already-issued", "adopted", "done", "not-migrated", "already-done", "nothing-to-do"}
    assert set(result.tally.outcomes) <= good


def test_a_round_is_the_first_one_of_its_own_seed() -> None:
    assert round_seed(5, 0) == 5
    again = World(round_seed(5, 1), Size(cards=6, campaigns=1))
    again.run()
    once = World(round_seed(5, 1), Size(cards=6, campaigns=1))
    once.run()
    assert again.place.digest.digest() == once.place.digest.digest()


BREAKS = {
    "the key information is not looked at": (evidence, "exact", lambda *_: True),
    "the kiosk writes no note": (relay, "_changes", lambda _: False),
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_a_broken_rule_is_found_and_can_be_seen_again(
    broken: tuple[Any, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broken[0], broken[1], broken[2])
    monkeypatch.setattr(rounds, "SEARCHES", 12)
    size = Size(cards=20, campaigns=2)
    result = run(1, 20_000, size)
    assert result.broken is not None
    words = run_cli._replay(result.broken, size)
    assert f"--seed {result.broken.seed} --taps 1 --kiosks 4 --cards 20 --campaigns 2" in words
    replayed = World(result.broken.seed, Size(4, 20, 2, size.faults, frozenset(result.broken.faults)))
    with pytest.raises(Violation, match=result.broken.rule.partition(":")[0]):
        replayed.run()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--taps", "0"), "--taps: needs a number from 1 to 1000000000, not 0"),
        (("--cards", "9999"), "--cards: needs a number from 1 to 5000, not 9999"),
        (("--faults", "2"), "--faults: needs a number from 0 to 1, not 2.0"),
        (("--keep", "a,b"), "--keep: needs numbers of taps with commas between them"),
    ],
)
def test_a_wrong_word_is_one_sentence(args: tuple[str, ...], sentence: str) -> None:
    done = sim_run(*args)
    assert (done.returncode, done.stderr.strip()) == (2, sentence)


def test_the_table_names_faults_outcomes_and_pace() -> None:
    text = run_cli.table(run(1, 1, Size(cards=8, campaigns=1)), 2.0, 1.0)
    assert "cards lost" in text and "taps per second of one core" in text and "outcomes" in text


def test_the_log_shows_no_data() -> None:
    lines: list[str] = []
    World(4, Size(cards=4, campaigns=1, faults=0), lines.append).run()
    assert any(" 84d8" in line for line in lines)
    assert max(len(line) for line in lines) < 120
