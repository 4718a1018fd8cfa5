# ruff: noqa: E501 - a row of the table is a row here
"""docs/cards.md: what a profile says, the matrix of cards, and each known quirk with its rule and its test."""

import itertools
from dataclasses import dataclass

from kioskd.rekey.profile import REASONS, Lock, Order
from tests.cards.matrix import CELLS, CHANNELS, OPERATIONS, Cell

FIELDS = (
    ("name", "frozen into the records of issued cards"),
    ("derivation", "frozen into the labels of issued cards: never change it"),
    ("match", "which cards: `atr` (hex, a dot for any digit), `scp` and `i` of the card data"),
    ("aid", "the issuer security domain"),
    ("scp, algorithm, level", "02 with 3DES, 03 with AES; the security level of every session"),
    ("key_bytes, challenge_bytes", "16, 24 or 32; 8, or 16 for S16"),
    (
        "key_length_sent, zero_kcv",
        "PUT KEY's layout and check value; a layout that is refused is followed by the other once",
    ),
    ("krk_kvn, other_krk_kvn, first_master_kvn, master_kvns", "the slots: one range of sixteen, ours alone"),
    ("factory_kvn, factory_set, factory", "the factory set, its name in the vault; `stays`, `drops` or `fills`"),
    ("slots", "key sets that fit, the factory set not counted unless it fills one"),
    ("lock, rests, can_lock", "`session`, `lifecycle`, `executive`; how the card rests; the privilege for it"),
    ("order", "`delete-first`, `renumber`, `install-first`; a second attempt is always delete-first"),
    ("deletes, renumbers", "whether the card has DELETE of keys; whether PUT KEY may change the key version number"),
    ("adopts, adopts_kvn", "the known set of cards from elsewhere, by its name in the vault, and where it is"),
    ("list_domains", "after a card is finished, two more round trips: it names the security domains of others"),
    (
        "greeting_tries",
        "INITIALIZE UPDATEs without a session that block a set, where each costs one; 0: none does",
    ),
    (
        "migrates",
        "a card of 3DES sets gets AES sets when it is replaced: `key_bytes` 16 or 32, `i`, `level`, `key_length_sent`, `zero_kcv`",
    ),
    ("proof, source", "how well this is known, and where it was read"),
)


@dataclass(frozen=True, slots=True)
class Quirk:
    """A habit that somebody reported, what the host does about it, and the test that holds it to that."""

    what: str
    where: str
    rule: str
    test: str


HABIT = "tests/cards/test_habits.py"
REPORTS = "tests/cards/test_reports.py"
QUIRKS = (
    Quirk("PUT KEY 6A80 for one AES layout", "1", "the other layout once, never a third time; what worked is kept", f"{HABIT}::test_a_layout_that_is_refused_is_followed_by_the_other_which_is_remembered"),
    Quirk("both layouts refused", "1", "the card is set aside", f"{HABIT}::test_a_card_that_refuses_both_layouts_is_not_tried_a_third_time"),
    Quirk("check value over zeros", "section 2", "`zero_kcv`", f"{HABIT}::test_a_check_value_over_zeros_is_the_profiles_choice"),
    Quirk("factory set at another KVN", "4", "`factory_kvn`; bystanders come from the key information", f"{HABIT}::test_a_card_from_elsewhere_gets_a_krk_at_a_kiosk_and_its_master_set_is_replaced_later"),
    Quirk("empty key information", "5", "nothing is concluded from it; without response MAC the cryptograms conclude", f"{HABIT}::test_a_card_is_issued_and_replaced_whatever_its_factory_set_does"),
    Quirk("the first added set drops the factory set", "section 2", "`factory: drops`; the KRK comes under the proven master set, recorded `master-bound`", f"{HABIT}::test_a_krk_that_came_under_a_master_set_is_recorded_so"),
    Quirk("the factory set fills one of two slots", "architecture, 2", "`factory: fills`; the KRK takes its place", f"{HABIT}::test_a_cut_anywhere_is_repaired"),
    Quirk("no DELETE of keys", "section 2", "`deletes: false`, order renumber", f"{HABIT}::test_a_cut_anywhere_is_repaired"),
    Quirk("DELETE of the session's own set 6985", "24", "no script deletes the set of its own session", f"{HABIT}::test_a_card_is_issued_and_replaced_whatever_its_factory_set_does"),
    Quirk("missing set 6A88 at DELETE", "20", "as good as deleted, shown by the key information", "tests/cards/test_cuts.py::test_a_lie_anywhere_closes_nothing_falsely_and_the_next_taps_finish"),
    Quirk("SCP02: error words in the chain of response MACs, or not", "-", "both chains are followed; an error stays hearsay", "tests/gp/test_scp02.py::test_errors_are_hearsay_and_the_chain_goes_on_whether_the_card_chains_them_or_not"),
    Quirk("all-zero diversification data", "section 2", "no id is made of it; CPLC, IIN and CIN, then CF", f"{HABIT}::test_a_card_is_issued_and_replaced_whatever_its_factory_set_does"),
    Quirk("61xx", "15", "GET RESPONSE with class 00 until it is whole", f"{HABIT}::test_a_cut_anywhere_is_repaired"),
    Quirk("answers above 256 bytes", "section 2", "at most 8 GET RESPONSEs and 1024 bytes; one response MAC is over all parts; 128 keys of key information", "tests/rekey/test_exchange.py::test_one_response_mac_is_over_all_parts"),
    Quirk("a card that sends 61xx for ever", "-", "given up at the bound: the answer is its status word", "tests/rekey/test_exchange.py::test_a_card_that_goes_on_for_ever_is_asked_no_more_than_the_bound"),
    Quirk("T=0: 6E00 or 6700 because of Le", "14", "SELECT, GET DATA in the clear and INITIALIZE UPDATE again without Le, once; then every command with data goes without it from the start, so that no change is sent twice", "tests/rekey/test_exchange.py::test_what_changes_a_card_of_t0_is_sent_once"),
    Quirk("6Cxx", "16", "the same bytes again with that Le, once", f"{HABIT}::test_a_cut_anywhere_is_repaired"),
    Quirk("wrong card cryptogram", "11", "stop before EXTERNAL AUTHENTICATE, charge terminal and card", f"{HABIT}::test_a_card_that_does_not_hold_the_known_set_is_not_adopted_and_not_tried_twice"),
    Quirk("6310 paging of GET STATUS", "16", "the next page, at most four answers and 32 domains; `kioskd access domains` shows them", "tests/cards/test_domains.py::test_no_more_than_the_bound_is_read_and_the_list_says_so"),
    Quirk("6310 without response MAC", "24", "that answer and what came after it is left out, and the list says so", "tests/cards/test_domains.py::test_an_answer_that_comes_without_its_mac_is_left_out"),
    Quirk("GET STATUS refused", "-", "the card is finished all the same, and told of", "tests/cards/test_domains.py::test_a_card_that_refuses_is_finished_and_told_of"),
    Quirk("INITIALIZE UPDATE alone spends attempts", "section 2", "`greeting_tries`: each is written down before it leaves; half of them is kept back, one terminal spends at most a quarter (K215)", "tests/cards/test_tries.py::test_no_cut_repeated_for_ever_spends_more_than_half_of_any_sets_tries"),
    Quirk("INITIALIZE UPDATE of FF 6A86", "section 2", "00 instead, once; the answer must name FF: a set that 00 picks is never taken for another (25)", f"{HABIT}::test_a_set_that_00_picks_is_not_taken_for_the_factory_set"),
    Quirk("CPLC refused in a contactless reader (6985)", "18", "the card is registered under every id that it has, and found by any of them", f"{HABIT}::test_a_card_that_refuses_its_cplc_in_one_reader_is_the_same_card_in_all"),
    Quirk("the connection is lost at insertion, the card stays", "19", "connected again and read once more, before anything is begun", "tests/kiosk/test_taps.py::test_a_card_that_is_lost_while_it_is_read_and_never_left_is_read_once_more"),
    Quirk("keys diversified by the vendor", "10", "`DIVERSIFIED emv`, `visa2`, `visa` or `kdf3` in the factory set's file; the card's cryptogram decides", "tests/hsm/test_scp02_on_tokens.py::test_a_card_whose_factory_set_is_diversified_is_issued_with_the_vendors_master"),
    Quirk("AES-256 sizes", "9", "all three sizes in every cell of the matrix", "tests/cards/test_matrix.py::test_a_cell_runs_to_its_end"),
    Quirk("counter moves on commands without data", "13", "SCP03 counts every command", "tests/gp/test_scp03.py::test_a_command_without_data_counts"),
    Quirk("3DES sets, takes AES sets as well", "6", "`migrates`: a replacement puts an AES set, the answer to INITIALIZE UPDATE says which protocol", "tests/rekey/test_migration.py::test_a_replacement_puts_an_aes_set_and_the_card_speaks_scp03_with_it"),
    Quirk("AES keys over SCP02 6A80", "22", "both layouts once, then a 3DES set of the new generation in the same tap (K106)", "tests/rekey/test_migration.py::test_a_card_that_refuses_aes_keys_gets_a_3des_set_of_the_new_generation_in_the_same_tap"),
    Quirk("a set keeps its type in place", "1, 2", "the first AES set is put delete-first, whatever the order", "tests/rekey/test_migration.py::test_a_card_that_renumbers_is_migrated_by_one_script_which_deletes_first"),
    Quirk("PUT KEY with P1=00 where the number is taken 6A80", "3", "P1 names the set that goes, as the key information has it; 00 for a new one", f"{REPORTS}::test_put_key_names_the_set_that_it_takes_the_place_of_and_none_for_a_new_one"),
    Quirk("three different keys failed", "7", "ENC, MAC and DEK always differ", f"{REPORTS}::test_the_three_keys_of_a_set_differ_so_that_one_taken_for_another_is_seen"),
    Quirk("a forced protocol or level 6982", "12", "protocol, i and level come from the answer and the profile, which must agree before a session is opened", "tests/gp/test_host_against_card.py::test_a_level_that_i_does_not_promise_is_refused"),
    Quirk("a card that was never initialised 6A82", "17", "K202, nothing is tried", f"{REPORTS}::test_a_card_without_a_security_domain_such_as_one_never_initialised_is_told_so"),
    Quirk("keys lost or half written", "27, 28", "written down before it is sent; the next tap goes on", "tests/cards/test_cuts.py::test_a_cut_anywhere_is_repaired_by_the_next_taps"),
    Quirk("garbage answers", "-", "every tap ends in an outcome, within the budget", "tests/cards/test_garbage.py::test_a_garbage_card_ends_every_tap_in_an_outcome_within_the_budget"),
    Quirk("a planted key set", "-", "deleted under the KRK, or the case stays open", "tests/cards/test_cuts.py::test_a_planted_key_set_is_found_and_removed_or_the_case_stays_open"),
)  # fmt: skip


def page() -> str:
    """The whole page."""
    return "\n".join((*_head(), *_matrix(), *_quirks())) + "\n"


def _head() -> list[str]:
    return [
        "# Cards",
        "",
        "Made by `make docs`. What a card is stands in a profile, one YAML file a family; `config/profiles` has those that",
        "ship, and `profiles:` in the access server's file names the folder. The first that matches an unknown card is",
        "taken; a known card keeps the one that it was issued with.",
        "",
        "    kioskd profile check FILE ...                      what its cards can be brought here for",
        "    kioskd profile probe --reader WORDS --out FILE     read a card, write the profile that it would need",
        "",
        "| field | what it says |",
        "|---|---|",
        *(f"| `{name}` | {words} |" for name, words in FIELDS),
        "",
    ]


def _matrix() -> list[str]:
    notes = {reason: str(number) for number, reason in enumerate(REASONS.values(), 1)}
    columns = tuple(itertools.product(Order, OPERATIONS))
    lines = [
        "## The matrix",
        "",
        "Every cell is run on the virtual card (`tests/cards/test_matrix.py`), cut at every step and lied to at every",
        "answer (`tests/cards/test_cuts.py`; of the longer AES keys a third, and all others in `make nightly",
        "PARTS=cards`); the cells with a number are refused before anything is changed.",
        "Install-first cards have three slots, the others two.",
        "",
        "| card | lock | KRK | " + " | ".join(f"{order.value}: {what.value}" for order, what in columns) + " |",
        "|---|---|---|" + "---|" * len(columns),
    ]
    by_cell = {(str(c.channel), c.lock, c.krk_first, c.order, c.operation): c for c in CELLS}
    for channel, lock, first in itertools.product(CHANNELS, Lock, (True, False)):
        cells = [by_cell[str(channel), lock, first, order, what] for order, what in columns]
        words = " | ".join(_cell(cell, notes) for cell in cells)
        lines.append(f"| {channel} | {lock.value} | {'first' if first else 'second'} | {words} |")
    running = sum(not cell.refused for cell in CELLS)
    used = {notes[cell.refused] for cell in CELLS if cell.refused}
    lines += ["", f"{running} of {len(CELLS)} cells run, {len(CELLS) - running} are refused:", ""]
    return [*lines, *(f"{number}. {reason}" for reason, number in notes.items() if number in used), ""]


def _cell(cell: Cell, notes: dict[str, str]) -> str:
    return f"({notes[cell.refused]})" if cell.refused else "runs"


def _quirks() -> list[str]:
    return [
        "## Quirks",
        "",
        "The number is that of the collection of reports which the project was begun with.",
        "",
        "| quirk | report | what the host does | test |",
        "|---|---|---|---|",
        *(f"| {one.what} | {one.where} | {one.rule} | `{one.test}` |" for one in QUIRKS),
        "",
        "Not done: extended length (none of our commands needs it).",
    ]
