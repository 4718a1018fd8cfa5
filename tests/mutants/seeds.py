"""Mistakes that interruptions would punish: each durable note left out, each proof skipped, each number used again."""

from dataclasses import dataclass

SCHEDULES = "tests/faults/test_schedules.py"
SINGLES = f"{SCHEDULES}::test_any_single_fault_of_the_main_kind_is_repaired"
REPLACE, ROTATE, ISSUE = (f"{SINGLES}[{operation}]" for operation in ("replace-300", "rotate-600", "issue-600"))
BY_CUTS = "tests/rekey/test_attacks_by_cuts.py"
MIGRATION, ON_MIGRATION = "tests/rekey/test_migration.py", "tests/rekey/test_attacks_on_migration.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file, and the test that must notice it."""

    name: str
    file: str
    old: str
    new: str
    killer: str
    survives: str = ""  # why no test can notice it, if that is so


SEEDS = (
    Mutant(
        "no intent at all",
        "access/office.py",
        "        await self.office.store.append(self.known, record, fence)\n",
        "        if fence is None:\n            await self.office.store.append(self.known, record, fence)\n",
        REPLACE,
    ),
    Mutant(
        "a greeting that costs an attempt is written down after it",
        "rekey/script.py",
        "        yield from Remember(Greeted(kvn, desk.kiosk, state.next_number - 1))\n",
        "        pass\n",
        f"{SCHEDULES}::test_no_single_fault_spends_an_attempt_that_is_not_on_record[replace]",
    ),
    Mutant(
        "no note at all",
        "rekey/relay.py",
        "            yield from NoteInDoubt(script)\n            noted = True\n",
        "            noted = True\n",
        REPLACE,
    ),
    Mutant(
        "the answers are not kept",
        "rekey/relay.py",
        "    if noted:\n        yield from KeepReport(report)\n",
        "",
        REPLACE,
    ),
    Mutant(
        "the note does not wait for the disk",
        "edges/journal.py",
        '    async def _work(self, job: Callable[[], T], synchronous: str = "FULL") -> T:\n',
        '    async def _work(self, job: Callable[[], T], synchronous: str = "NORMAL") -> T:\n',
        "tests/edges/test_journal.py::test_a_tap_costs_two_commits_that_wait_for_the_disk_and_one_that_does_not",
    ),
    Mutant(
        "the cryptogram stays out of the second domain",
        "rekey/script.py",
        "        cryptogram=plan.cryptogram,\n    )\n    intent = Intent(",
        "    )\n    intent = Intent(",
        ISSUE,
    ),
    Mutant(
        "the journal forgets a cryptogram with its report",
        "edges/journal.py",
        "            if script.cryptogram is not None:\n",
        "            if script.cryptogram is not None and not script.number:\n",
        "tests/edges/test_journal.py::test_a_cryptogram_stays_when_its_report_is_forgotten",
    ),
    Mutant(
        "only the last cryptogram counts",
        "rekey/records.py",
        "        return tuple(sorted((*ours, *back), key=lambda one: one.install)) if back else ours\n",
        "        return tuple(sorted((*ours, *back), key=lambda one: one.install))[-1:]\n",
        ROTATE,
    ),
    Mutant(
        "the last report wins",
        "rekey/records.py",
        "                found[record.number] = record if known is None else known.and_also(record)\n",
        "                found[record.number] = record if known is None else record\n",
        f"{BY_CUTS}::test_a_second_report_of_the_same_script_takes_no_proof_away",
    ),
    Mutant(
        "an older script's report closes the case",
        "rekey/replace.py",
        "    if found.number != last.number or not state.open or not finishes(",
        "    if not state.open or not finishes(",
        REPLACE,
        "the closing carries the older script's number, so the case is open as before",
    ),
    Mutant(
        "closed by a script that read no keys",
        "rekey/replace.py",
        "    if Act.READ_KEYS not in last.acts:\n",
        "    if not last.acts:\n",
        "tests/cards/test_habits.py::test_the_report_of_a_script_that_read_no_keys_closes_no_issuance",
    ),
    Mutant(
        "an error status word instead of the key information is believed",
        "rekey/evidence.py",
        "or none\n        return not subject.profile.response_mac\n",
        "or none\n        return True\n",
        "tests/rekey/test_attacks_by_liars.py::test_any_two_lies_about_a_card_with_a_planted_key_set_do_not_hide_it",
    ),
    Mutant(
        "acknowledged before it is judged",
        "access/office.py",
        "        if not isinstance(ask, Remember):\n            await self.acknowledge()\n",
        "        await self.acknowledge()\n",
        f"{BY_CUTS}::test_a_terminal_forgets_its_report_only_when_the_case_is_closed",
    ),
    Mutant(
        "an intent without its lease",
        "access/office.py",
        "        fence = self.fence if isinstance(record, Intent) else None\n",
        "        fence = None\n",
        "tests/rekey/test_attacks_by_kiosks.py::test_a_conversation_whose_card_was_carried_away_writes_no_intent_any_more",
    ),
    Mutant(
        "a lease that anybody takes",
        "edges/store.py",
        "            if present != seen:\n",
        "            if present < seen:\n",
        "tests/store/test_sql_store.py::test_a_lease_goes_only_to_who_has_seen_the_present_fence",
    ),
    Mutant(
        "DELETE of the KRK",
        "rekey/replace.py",
        "    kept = {krk_kvn} | {entry.kvn for entry in state.registered.bystanders}\n",
        "    kept = {entry.kvn for entry in state.registered.bystanders}\n",
        REPLACE,
    ),
    Mutant(
        "DELETE of the next key version number",
        "rekey/script.py",
        "[(Act.DELETE, delete_key(KVN(kvn)), _GONE) for kvn in plan.deletes]\n",
        "[(Act.DELETE, delete_key(KVN(kvn ^ 1)), _GONE) for kvn in plan.deletes]\n",
        REPLACE,
    ),
    Mutant(
        "the attempt budget ignored",
        "access/taps.py",
        "    if spent >= ATTEMPTS:\n",
        "    if spent >= 1000 * ATTEMPTS:\n",
        "tests/rekey/test_invariants.py::test_a_terminal_that_has_spent_its_attempts_is_refused_and_others_are_not",
    ),
    Mutant(
        "EXTERNAL AUTHENTICATE although no set is proven",
        "rekey/script.py",
        "opened.answer)):\n            fence",
        "opened.answer)) or handle:\n            fence",
        "tests/rekey/test_attacks_by_kiosks.py::test_every_wrong_cryptogram_ends_before_external_authenticate",
    ),
    Mutant(
        "the slot of the present master set used again",
        "rekey/replace.py",
        "    if present.generation != generation and present.kvn == subject.profile.master_kvn(generation):\n",
        "    if present.generation == generation and present.kvn != subject.profile.master_kvn(generation):\n",
        "tests/rekey/test_attacks_by_numbers.py::"
        "test_any_later_generation_is_installed_unless_it_falls_on_the_present_slot",
    ),
    Mutant(
        "a rotation into the slot that the KRK is in",
        "rekey/profile.py",
        "        return self.other_krk_kvn if kvn == self.krk_kvn else self.krk_kvn\n",
        "        return self.krk_kvn if kvn == self.krk_kvn else self.other_krk_kvn\n",
        ROTATE,
    ),
    Mutant(
        "the relay goes on after a status word that stops it",
        "rekey/relay.py",
        "        if step.accept and response.sw not in step.accept:\n",
        "        if step.accept and response.sw == 0:\n",
        "tests/rekey/test_relay.py::test_it_stops_at_the_first_status_word_that_the_step_does_not_accept",
    ),
    Mutant(
        "a script runs again",
        "rekey/relay.py",
        '    _need(not script.number or script.number > session.last_number, "a script that already ran")\n'
        '    _need(not script.after or script.after == session.last_answer, "a script for another session")\n',
        "",
        "tests/rekey/test_relay.py::test_it_does_not_run",
    ),
    Mutant(
        "a deadline that is looked at only in the beginning",
        "rekey/relay.py",
        "            if elapsed_ms > script.deadline_ms:\n                end = End.LATE\n",
        "            if elapsed_ms < 0:\n                end = End.LATE\n",
        "tests/rekey/test_relay.py::test_a_script_that_becomes_late_stops_before_it_changes_anything",
    ),
    Mutant(
        "a restored store is believed",
        "rekey/records.py",
        "        return self.store_epoch > 0 and self.settled <= self.floor\n",
        "        return self.store_epoch > self.settled\n",
        "tests/rekey/test_restored_store.py::test_a_card_that_was_replaced_after_the_backup_is_proven_again",
    ),
    Mutant(
        "a campaign is disarmed with open cases",
        "edges/campaigns.py",
        "    if not cases or accepted == digest_of(cases):\n",
        "    if cases or accepted == digest_of(cases):\n",
        "tests/rekey/test_campaigns.py::test_disarming_is_refused_with_the_list_while_a_card_is_begun",
    ),
    Mutant(
        "every master set computed as what its card was issued with",
        "rekey/evidence.py",
        "master.kvn, master.kind or self.profile.kind)",
        "master.kvn, self.profile.kind)",
        f"{MIGRATION}::test_a_replacement_puts_an_aes_set_and_the_card_speaks_scp03_with_it",
    ),
    Mutant(
        "an old master set computed as what the profile goes to",
        "rekey/evidence.py",
        "master.kvn, master.kind or self.profile.kind)",
        "master.kvn, master.kind or self.profile.kinds[-1])",
        f"{ON_MIGRATION}::test_records_of_before_are_read_as_what_they_were",
    ),
    Mutant(
        "a refusal of AES keys believed without MAC",
        "rekey/evidence.py",
        "    if not profile.response_mac:\n        return True\n"
        "    if told.keys is None or state.registered is None:\n        return False\n",
        "    if told.keys is None or state.registered is None:\n        return True\n",
        f"{ON_MIGRATION}::test_a_terminal_that_says_no_where_the_card_has_macs_never_gets_it_a_3des_set",
    ),
    Mutant(
        "a card of AES keys talked back to 3DES",
        "rekey/migration.py",
        "    if declined(state) >= REFUSALS and not _has_taken_one(state):\n",
        "    if declined(state) >= REFUSALS:\n",
        f"{ON_MIGRATION}::test_a_card_that_has_an_aes_set_is_never_talked_back_to_3des",
    ),
    Mutant(
        "a card that refuses AES keys left without a master set",
        "rekey/migration.py",
        "    if declined(state) >= REFUSALS and not _has_taken_one(state):\n",
        "    if declined(state) > 1000 and not _has_taken_one(state):\n",
        f"{MIGRATION}::test_a_card_that_refuses_aes_keys_gets_a_3des_set_of_the_new_generation_in_the_same_tap",
    ),
    Mutant(
        "the protocol taken from the profile alone",
        "rekey/script.py",
        "answer.scp not in spoken(profile, state, kvn) or mute:",
        "answer.scp != profile.scp or mute:",
        f"{ON_MIGRATION}::test_a_rotation_after_the_migration_is_cut_anywhere_and_finished_under_either_protocol",
    ),
)
