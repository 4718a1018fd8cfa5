"""Faults enumerated: singles on each kind of card, pairs on the main kind. Nothing is lost, nothing closes falsely.

The long runs are in tests/nightly/; docs/faults.md is the model, docs/results/ what they gave.
"""

import random

import pytest

from tests.faults.explore import Explored, explore, states_after
from tests.faults.jobs import run
from tests.faults.joined import TapRun
from tests.faults.replay import BadSchedule, main, play, read
from tests.faults.scenarios import MAIN, World, scenarios
from tests.faults.table import faults_at

PROCESSES = 2


def assert_unharmed(found: list[Explored]) -> None:
    """No violation; the smallest failing schedule is what is printed."""
    worst = min((one.smallest for one in found if one.violations), key=lambda said: (said.count(":"), said), default="")
    assert not worst, f"python -m tests.faults.replay '{worst.partition(': ')[0]}'\n{worst}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("plan", "at_least"), [("singles", 60_000), ("replace-pairs", 150_000)])
def test_whatever_is_cut_wherever_the_card_opens_and_the_next_taps_finish_it(plan: str, at_least: int) -> None:
    found = run(plan, PROCESSES)
    schedules, taps = sum(one.total for one in found), sum(one.runs for one in found)
    print(f"\n{plan}: {schedules} schedules, {taps} taps run, {sum(one.cpu_s for one in found):.0f} s of CPU")
    assert_unharmed(found)
    assert schedules > at_least


@pytest.mark.parametrize(("operation", "at_least"), [("adopt", 300), ("issue", 600), ("replace", 300), ("rotate", 600)])
def test_any_single_fault_of_the_main_kind_is_repaired(operation: str, at_least: int) -> None:
    """By one clean tap; only a store that forgot a rotation takes two, the second when its epoch is armed."""
    seen = explore(scenarios()[f"{operation}/{MAIN}"], 1)
    assert_unharmed([seen])
    assert seen.total > at_least
    assert max(seen.repairs) == 1 or seen.slowest.endswith("restored")


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["issue", "replace"])
def test_no_single_fault_spends_an_attempt_that_is_not_on_record(operation: str) -> None:
    """Each one is written down before it reaches the card, and the card keeps half of what it allows."""
    seen = explore(scenarios()[f"{operation}/initialize-update-spends-attempts"], 1)
    assert_unharmed([seen])
    assert seen.total > 300 and "append Greeted" in seen.steps


@pytest.mark.slow
def test_no_single_fault_while_a_list_is_read_keeps_a_card_from_being_finished() -> None:
    seen = explore(scenarios()["replace/names-security-domains-of-others"], 1)
    assert_unharmed([seen])
    assert seen.total > 300 and "transmit GET STATUS" in seen.steps and "append Listed" in seen.steps


def test_folded_states_are_those_that_single_schedules_end_in() -> None:
    """Schedules drawn by chance and run by themselves, without any folding, end where the exploration has been."""
    scenario, chance = scenarios()[f"replace/{MAIN}"], random.Random(7)
    known = states_after(scenario, 1)
    whole = TapRun(scenario, scenario.begin())
    whole.run()
    for _ in range(60):
        at = chance.randrange(len(whole.steps))
        fault = chance.choice(list(faults_at(whole.steps[at], scenario, dirty=whole.dirty[at])))
        told = play(scenario, ((at, fault),))
        assert not told.wrong, (at, fault)
        assert told.key in known, (at, fault)


def test_a_journal_that_does_not_sync_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = scenarios()[f"replace/{MAIN}"]
    scenario.begin()  # the card is made while the journal still syncs
    monkeypatch.setattr(World, "sync", lambda *_: None)
    seen = explore(scenario, 1)
    assert "a card-changing command without a note on the disk" in seen.smallest


def test_a_schedule_is_told_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"replace/{MAIN}", "26:pull-after", "elsewhere", "45:kill-kiosk"]) == 0
    told = capsys.readouterr().out
    assert "    26 transmit PUT KEY    <-- pull-after" in told
    assert "the cardholder goes to k2" in told
    assert told.endswith("finished by 1 clean tap(s)\n")


def test_the_scenarios_their_steps_and_what_may_strike_them_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert f"replace/{MAIN}" in capsys.readouterr().out.splitlines()
    assert main(["--steps", f"replace/{MAIN}"]) == 0
    (put_key,) = [line for line in capsys.readouterr().out.splitlines() if "transmit PUT KEY" in line]
    assert put_key.startswith("    26 ") and "pull-after" in put_key.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("replace/none 1:power-cut", "no such scenario"),
        (f"replace/{MAIN} power-cut", "needs STEP:FAULT"),
        (f"replace/{MAIN} 900:power-cut", "is not reached"),
        (f"replace/{MAIN} 0:pull-after", "cannot strike"),
    ],
)
def test_a_schedule_that_cannot_be_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(BadSchedule, match=words):
        play(*read(text))
    assert main([text]) == 2


def test_without_a_schedule_the_usage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "needs a schedule, --list or --steps" in capsys.readouterr().err
