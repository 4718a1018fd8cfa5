"""A property is worth as much as the mutants it kills: each breaks one invariant, and a named test goes red."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.seeds import SEEDS, Mutant

ROOT = Path(__file__).resolve().parents[2]
CELLS = "tests/cards/test_cuts.py"
CUTS = "tests/rekey/test_single_cuts.py"
INVARIANTS = "tests/rekey/test_invariants.py"
ROTATION = "tests/rekey/test_rotation.py"


MUTANTS = (
    Mutant(
        "note after act",
        "rekey/relay.py",
        """            yield from NoteInDoubt(script)
            noted = True
        raw, bare = yield from exchange(step.command, session.bare)
""",
        """            noted = True
            raw, bare = yield from exchange(step.command, session.bare)
            yield from NoteInDoubt(script)
        else:
            raw, bare = yield from exchange(step.command, session.bare)
""",
        f"{CUTS}::test_an_undisturbed_tap_replaces_the_master_key",
    ),
    Mutant(
        "a lock that is not read",
        "rekey/evidence.py",
        "    return profile.lock is Lock.SESSION or found.locked is True\n",
        "    return True\n",
        f"{CELLS}::test_a_card_that_fails_any_one_command_is_finished_later[lifecycle-replace]",
    ),
    Mutant(
        "sealed together with the deletion of the factory set",
        "rekey/issue.py",
        "    plan = Plan(Purpose.CONCLUDE, deletes, read_keys=True, greets=(master.kvn,), unlocks=True)\n",
        "    plan = Plan(Purpose.CONCLUDE, deletes, read_keys=True, greets=(master.kvn,), locks=True, seals=True)\n",
        f"{CELLS}::test_a_card_that_fails_any_one_command_is_finished_later[executive-issue]",
    ),
    Mutant(
        "both layouts of PUT KEY tried again and again",
        "rekey/script.py",
        "        if len(refused_layouts(state)) == BOTH_LAYOUTS:\n",
        "        if len(refused_layouts(state)) > BOTH_LAYOUTS:\n",
        "tests/cards/test_habits.py::test_a_card_that_refuses_both_layouts_is_not_tried_a_third_time",
    ),
    Mutant(
        "a blocked card is let in",
        "access/taps.py",
        "    if state.blocked and not (state.open and state.issued):\n",
        "    if state.blocked and state.open and state.issued:\n",
        "tests/cards/test_habits.py::test_a_blocked_card_is_refused_before_anything_is_changed_and_can_be_let_in_again",
    ),
    Mutant(
        "receipt unchecked",
        "rekey/evidence.py",
        "    return Receipt.MISMATCH\n",
        "    return Receipt.MATCH\n",
        f"{INVARIANTS}::test_a_receipt_with_other_check_values_makes_the_set_be_put_again",
    ),
    Mutant(
        "key information believed without MAC",
        "rekey/evidence.py",
        "    return list(plain), None in plain\n",
        "    return [one or raw for one, raw in zip(plain, responses, strict=True)], None in plain\n",
        f"{INVARIANTS}::test_a_planted_key_set_that_a_liar_hides_keeps_the_case_open",
    ),
    Mutant(
        "scripts merged: the KRK goes in and the factory set goes out in one",
        "rekey/issue.py",
        "        session = yield from _open_factory(desk, state, opened)\n        replaces",
        "        session = yield from _open_factory(desk, state, opened)\n"
        "        deletes = (*deletes, profile.factory_kvn)\n        replaces",
        f"{CUTS}::test_the_tap_after_a_cut_finishes_the_issuance",
    ),
    Mutant(
        "lease firm before the cryptogram",
        "rekey/script.py",
        """    for candidate in candidates:
        handle = yield from candidate
        if (yield from Proves(handle, opened.greeting.host_challenge, opened.answer)):
            fence = yield from FirmLease()
""",
        """    fence = yield from FirmLease()
    for candidate in candidates:
        handle = yield from candidate
        if (yield from Proves(handle, opened.greeting.host_challenge, opened.answer)):
""",
        f"{INVARIANTS}::test_a_wrong_card_cryptogram_takes_no_lease_and_is_charged_to_the_terminal",
    ),
    Mutant(
        "intent after the script",
        "rekey/script.py",
        """    yield from Remember(intent)
    state = fold_on(state, intent)
    report = yield from Send(script)
""",
        """    report = yield from Send(script)
    yield from Remember(intent)
    state = fold_on(state, intent)
""",
        f"{CUTS}::test_an_undisturbed_tap_replaces_the_master_key",
    ),
    Mutant(
        "a case closed without the new set's cryptogram",
        "rekey/evidence.py",
        "        if (yield from Proves(handle, greeting.host_challenge, data)):\n            return master\n",
        "        yield from Proves(handle, greeting.host_challenge, data)\n        return master\n",
        f"{INVARIANTS}::test_a_new_set_that_does_not_prove_itself_keeps_the_case_open",
    ),
    Mutant(
        "a card begun although its campaign is being disarmed",
        "edges/campaigns.py",
        "    if aiming and CampaignState.ARMED not in {one.state for one in aiming}:\n",
        "    if len(aiming) > 1 and CampaignState.ARMED not in {one.state for one in aiming}:\n",
        "tests/rekey/test_campaigns.py::test_a_campaign_that_is_disarmed_during_a_tap_begins_no_card",
    ),
    Mutant(
        "a window's end that turns a begun card back",
        "access/taps.py",
        "    if not state.open and state.closed.master.generation != generation:\n",
        "    if state.closed.master.generation != generation:\n",
        "tests/rekey/test_campaigns.py::test_a_begun_card_is_finished_after_the_window",
    ),
    Mutant(
        "install numbers of a lost store used again",
        "rekey/records.py",
        "        return max((self.floor, *masters, *(krk.install for krk in self.krks))) + 1\n",
        "        return max((0, *masters, *(krk.install for krk in self.krks))) + 1\n",
        "tests/rekey/test_restored_store.py::test_no_install_or_script_number_of_the_lost_store_is_used_again",
    ),
    Mutant(
        "a rotation closed whatever the key information says",
        "rekey/rotate.py",
        "    if keys == expected_entries(subject, state, moved, master) and _receipt",
        "    if _receipt",
        f"{ROTATION}::test_a_stranger_in_the_other_slot_is_never_taken_for_the_new_krk",
    ),
    Mutant(
        "a rotation closed although its receipt is wrong",
        "rekey/rotate.py",
        " and _receipt(state, moved) is not Receipt.MISMATCH:",
        ":",
        f"{ROTATION}::test_a_wrong_receipt_never_closes_on_the_key_information",
    ),
    Mutant(
        "an earlier attempt's KRK left where the next one goes",
        "rekey/rotate.py",
        "        deletes=(kvn,) if state.rotating is not None else (),\n",
        "        deletes=(),\n",
        f"{ROTATION}::test_what_an_earlier_attempt_may_have_left_is_deleted_before_the_next_one",
    ),
    Mutant(
        "a KRK that is gone still tried",
        "rekey/records.py",
        "        live = (one for one in reversed(self.krks) if one.install >= self.krk_floor)\n",
        "        live = (one for one in reversed(self.krks))\n",
        f"{ROTATION}::test_the_rotated_krk_replaces_the_next_master_set_and_is_rotated_back_to_the_first_slot",
    ),
    Mutant(
        "an act without its quorum",
        "rekey/ceremony.py",
        "        if len(so_far) < policy.quorum:\n",
        "        if not so_far:\n",
        "tests/ceremony/test_ceremony.py::test_fewer_than_the_quorum_execute_nothing",
    ),
    Mutant(
        "a custodian counted twice",
        "rekey/ceremony.py",
        "        if custodian.name in so_far:\n",
        "        if custodian.name in ():\n",
        "tests/ceremony/test_ceremony.py::test_nobody_approves_twice",
    ),
    Mutant(
        "approvals kept over a change of custodians",
        "rekey/ceremony.py",
        "        if request.policy != self._policy.version:\n",
        "        if request.policy > self._policy.version:\n",
        "tests/ceremony/test_ceremony.py::test_a_new_policy_ends_what_was_asked_under_the_old_one",
    ),
    *SEEDS,
)


def pytest_in(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Runs some tests of a copy of the house, from that copy."""
    plugins = ("-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout")
    command = [sys.executable, "-m", "pytest", "-q", "-x", *plugins, *tests]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the others take a second to load
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("kioskd", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name)  # with their times, so that what was compiled still counts
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_source_as_it_is_now(mutant: Mutant) -> None:
    assert (ROOT / "kioskd" / mutant.file).read_text().count(mutant.old) == 1
    name = mutant.killer.rpartition("::")[2].partition("[")[0]
    assert name in (ROOT / mutant.killer.partition("::")[0]).read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killers_are_green_in_a_copy_without_a_mutant(copy: Path) -> None:
    """One of each file: that all of them are green here, the run that this is part of shows."""
    done = pytest_in(copy, *{mutant.killer.partition("::")[0]: mutant.killer for mutant in MUTANTS}.values())
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_of_an_invariant_turns_its_test_red(copy: Path, mutant: Mutant) -> None:
    file = copy / "kioskd" / mutant.file
    source = file.read_text()
    file.write_text(source.replace(mutant.old, mutant.new))
    done = pytest_in(copy, mutant.killer)
    if mutant.survives:
        assert done.returncode == 0, "it is noticed: say so"
        return
    assert done.returncode == 1, f"survived: {done.stdout}"
    # A fixture that issues a card may be the first to notice: that is red, too. A mutant that does not load is not.
    assert "AssertionError" in done.stdout or "DID NOT RAISE" in done.stdout
