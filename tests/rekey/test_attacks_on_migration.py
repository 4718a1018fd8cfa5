"""Attacks on the way from 3DES to AES: cuts, lies, failing cards, old records, edited profiles, stores put back.

Two things may never come of it: a card that nothing opens, and a record that computes a set of the wrong kind. A third
may not come of a terminal's word where the answers carry MACs: a card that stays with 3DES although it takes AES keys.
"""

import itertools
import json
from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.isd import DES_TYPE
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.notices import Restored
from kioskd.rekey.profile import FactoryHabit
from kioskd.rekey.records import Audit, Closed, Found, Intent, Purpose, Record
from kioskd.rekey.wire import End, Report, Script
from kioskd.shape import from_plain, to_plain
from tests.rekey.kinds import Kind
from tests.rekey.migrating import AES_128, KINDS, MACED, PLAIN, REFUSING, THREE, issued, master_kind
from tests.rekey.test_attacks_by_cards import subsets
from tests.rekey.test_attacks_by_cuts import RELAYED, cut_tap, cuts_of, points
from tests.rekey.test_attacks_by_liars import LIES, Forger, Lie, lying_tap
from tests.rekey.vaults import armed, rotating
from tests.rekey.world import Kiosk, World, deliver, honest_tap, stranger, tap

GOOD = {"done", "already-done", "not-migrated"}
AES, DES = "AES-128", "3DES"
EVERY = (*KINDS, *REFUSING)


def wanted(kind: Kind) -> set[str]:
    """What the master set of such a card may be in the end."""
    assert kind.profile.migrates is not None
    return {str(kind.profile.migrates.kind) if kind.options.aes_over_scp02 else DES}


def finish(world: World, context: object, kinds: set[str], generation: int = 2) -> None:
    """At most two taps at a good terminal finish the card; no attempt was spent on the way."""
    outcomes = [honest_tap(world) for _ in range(2)]
    assert set(outcomes) <= GOOD, (context, outcomes)
    world.assert_finished(generation, context)
    assert master_kind(world) in kinds, context
    assert not world.charged, context
    assert all(one.tries == world.card.options.tries for one in world.card.memory.sets), context


# --- cuts -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY, ids=str)
def test_a_cut_anywhere_is_repaired_by_the_next_tap_and_the_set_is_of_the_right_kind(kind: Kind) -> None:
    begun = issued(kind)
    names = points(begun.fork())
    assert len(names) > 20
    for at, name in enumerate(names):
        world = begun.fork()
        cut_tap(world, at, "k1")
        finish(world, (at, name), wanted(kind))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [PLAIN, MACED, REFUSING[0]], ids=str)
def test_any_two_cuts_of_the_relay_are_repaired_and_late_reports_change_nothing_any_more(
    kind: Kind,
) -> None:
    for first in cuts_of(lambda: issued(kind), "replace", *RELAYED):
        begun = issued(kind)
        cut_tap(begun, first, "k1")
        for second in cuts_of(begun.fork, "replace", *RELAYED):
            world = begun.fork()
            cut_tap(world, second, "k2")
            finish(world, (first, second), wanted(kind))
            closed = world.state.closed
            for name in ("k2", "k1"):
                deliver(Kiosk(world, name))
            assert world.state.closed == closed
            assert master_kind(world) in wanted(kind)


# --- cards that fail --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("obeys", [True, False], ids=["a good terminal", "a terminal that never stops"])
@pytest.mark.parametrize("kind", [PLAIN, MACED, REFUSING[0]], ids=str)
def test_a_card_that_fails_any_subset_of_a_script_is_finished_by_the_next_taps(kind: Kind, obeys: bool) -> None:
    for fails in subsets(tuple(range(6))):
        world = issued(kind)
        world.card.fails_at, world.card.fails_with, world.card.count = fails, 0x6F00, 0
        tap(Kiosk(world, "k1", obeys=obeys))
        world.assert_something_opens_the_card()
        outcomes = [honest_tap(world) for _ in range(2)]
        assert set(outcomes) <= GOOD, (fails, outcomes)
        world.assert_finished(2, fails)
        master_kind(world)


@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_one_put_key_that_fails_does_not_keep_a_card_from_aes(kind: Kind) -> None:
    world = issued(kind)
    world.card.fails_at, world.card.fails_with, world.card.count = frozenset((3,)), 0x6581, 0
    assert tap(Kiosk(world)) == "done"
    assert master_kind(world) == AES
    assert [one.declined for one in world.log if isinstance(one, Found)][-2:] == [True, False]


# --- lies: the downgrade ----------------------------------------------------------------------------------------------


def lies_about(kind: Kind) -> dict[str, Lie]:
    """Lies with the key information that such a card has, had, or would have if it had refused AES keys."""
    profile = kind.profile
    krk, slot = profile.entries(profile.krk_kvn), profile.master_kvn(2)
    told = {
        "the keys that are wanted": krk | profile.entries(slot, AES_128.kind),
        "a 3DES set in their place": krk | profile.entries(slot),
        "the keys of before": krk | profile.entries(profile.master_kvn(1)),
        "the KRK alone": krk,
    }
    keys = {name: KeyInformation(tuple(entries)).encode() + b"\x90\x00" for name, entries in told.items()}
    lies: dict[str, Lie] = {name: lambda _, raw=raw: raw for name, raw in keys.items()}  # type: ignore[misc]
    return LIES | {"6A80": lambda _: bytes.fromhex("6A80"), "9484": lambda _: bytes.fromhex("9484")} | lies


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PLAIN, MACED, THREE, REFUSING[0], REFUSING[1]], ids=str)
def test_a_lie_anywhere_closes_nothing_falsely_and_the_next_taps_finish(kind: Kind) -> None:
    asked = Forger(issued(kind), "k1")
    tap(asked)
    for at in range(1, asked.count):
        for name, lie in lies_about(kind).items():
            world = issued(kind)
            lying_tap(world, {at: lie})
            outcomes = [honest_tap(world) for _ in range(2)]
            assert set(outcomes) <= GOOD, (at, name, outcomes)
            world.assert_finished(2, (at, name))
            assert master_kind(world) in wanted(kind), (at, name)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_two_lies_keep_a_card_with_response_mac_from_aes() -> None:
    asked = Forger(issued(MACED), "k1")
    tap(asked)
    lies = lies_about(MACED)
    chosen = [lies[name] for name in ("6A80", "another status word", "the KRK alone", "a 3DES set in their place")]
    for one, other in itertools.combinations(range(1, asked.count + 5), 2):
        for lie, second in itertools.product(chosen, repeat=2):
            world = issued(MACED)
            lying_tap(world, {one: lie, other: second})
            assert {honest_tap(world) for _ in range(2)} <= GOOD, (one, other)
            world.assert_finished(2, (one, other))
            assert master_kind(world) == AES, (one, other)


def says_refused(script: Script, report: Report) -> Report:
    """A report in which the card has refused PUT KEY, and nothing came after it."""
    puts = [at for at, step in enumerate(script.steps) if step.command[1] == INS.PUT_KEY]
    if not puts:
        return report
    return replace(report, end=End.STOPPED, answers=(*report.answers[: puts[0]], bytes.fromhex("6A80")))


def liar(world: World) -> Kiosk:
    """A terminal that says of every PUT KEY that the card has refused it."""
    kiosk = Kiosk(world, "k1")
    kiosk.bend = says_refused
    return kiosk


def test_a_terminal_that_says_no_where_the_card_has_macs_never_gets_it_a_3des_set() -> None:
    world = issued(MACED)
    outcomes = [tap(liar(world)) for _ in range(4)]
    assert "not-migrated" not in outcomes
    assert not any(one.declined for one in world.log if isinstance(one, Found))
    finish(world, "", {AES})


def test_a_terminal_that_withholds_put_key_breaks_the_chain_of_what_would_show_the_refusal() -> None:
    """With the command left out the card reads no later one: nothing authentic says that the set is absent."""
    world = issued(MACED)

    class Withholds(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            if command[1] == INS.PUT_KEY:
                return bytes.fromhex("6A80")
            return Kiosk.transmit(self, script, command)

    for _ in range(4):
        assert tap(Withholds(world, "k1")) == "not-finished"
    assert not any(one.declined for one in world.log if isinstance(one, Found))
    finish(world, "", {AES})


def test_without_response_mac_a_liar_gets_a_3des_set_of_the_new_generation_and_no_more() -> None:
    """Known and said in the threat model: that set has not leaked, and the next replacement tries AES again."""
    world = issued(PLAIN)
    for _ in range(2):
        tap(liar(world))
    finish(world, "", {AES, DES})
    later = world.fork(armed(3))
    assert honest_tap(later) == "done"
    later.assert_finished(3)
    assert master_kind(later) == AES


@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_a_card_that_has_an_aes_set_is_never_talked_back_to_3des(kind: Kind) -> None:
    world = issued(kind)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    outcomes = [tap(liar(later)) for _ in range(4)]
    assert "not-migrated" not in outcomes
    finish(later, "", {AES}, 3)


def test_what_the_card_says_in_the_clear_of_its_protocols_chooses_nothing() -> None:
    world = issued(PLAIN)

    class NoSCP03(Kiosk):
        def identify(self) -> tuple[bytes, ...]:
            answers = Kiosk.identify(self)
            return tuple(raw.replace(bytes.fromhex("040370"), bytes.fromhex("040215")) for raw in answers)

    assert tap(NoSCP03(world, "k1")) == "done"
    assert master_kind(world) == AES


# --- two candidates at one key version number -------------------------------------------------------------------------


def torn_at_every_point(kind: Kind) -> list[World]:
    """The card after a tap that was cut, once at each point."""
    found = []
    for at in range(len(points(issued(kind)))):
        world = issued(kind)
        cut_tap(world, at, "k1")
        found.append(world)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_a_3des_replacement_that_was_torn_before_the_profile_said_migrates_is_finished(kind: Kind) -> None:
    """The old attempt's 3DES set and the new one's AES set have the same key version number; the card decides."""
    before = Kind(f"{kind}, before", replace(kind.profile, migrates=None), kind.options)
    for number, torn in enumerate(torn_at_every_point(before)):
        torn.profile = kind.profile
        for again in cuts_of(torn.fork, "replace", *RELAYED):
            world = torn.fork()
            cut_tap(world, again, "k2")
            finish(world, (number, again), {AES, DES})


def test_a_torn_migration_whose_profile_was_edited_is_refused_before_anything_is_changed_and_then_finished() -> None:
    at = points(issued(PLAIN)).index("keep")
    world = issued(PLAIN)
    cut_tap(world, at, "k1")
    assert world.state.open
    world.profile = replace(PLAIN.profile, migrates=None)
    kept, count = world.card.memory, len([one for one in world.log if isinstance(one, Intent)])
    world.card.memory = kept.without(PLAIN.profile.master_kvn(2))  # so that there is something to put again
    assert tap(Kiosk(world, "k2")) == "card-unfit"
    assert len([one for one in world.log if isinstance(one, Intent)]) == count
    world.profile = PLAIN.profile
    finish(world, "", {AES})


def test_a_migrated_card_is_not_taken_back_to_3des_by_an_edited_profile() -> None:
    world = issued(PLAIN)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    later.profile = replace(PLAIN.profile, migrates=None)
    assert tap(Kiosk(later)) == "card-unfit"
    later.assert_something_opens_the_card()
    assert later.card.kvns == world.card.kvns


def test_a_profile_that_says_other_aes_keys_by_now_still_computes_the_old_ones() -> None:
    world = issued(PLAIN)
    assert tap(Kiosk(world)) == "done"
    later = world.fork(armed(3))
    later.profile = replace(PLAIN.profile, migrates=replace(AES_128, key_bytes=32))
    later.assert_closed_truly()
    assert honest_tap(later) == "done"
    later.assert_finished(3)
    assert master_kind(later) == "AES-256"


# --- old records, stores put back -------------------------------------------------------------------------------------


def as_it_was_written(record: Record) -> Record:
    """The record, read from the text that software of before migrations wrote of it."""
    plain = json.loads(json.dumps(to_plain(record)))
    for place in (plain, plain.get("master"), plain.get("proven_master")):
        if isinstance(place, dict):
            place.pop("kind", None)
            place.pop("declined", None)
    return from_plain(type(record), plain)


@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_records_of_before_are_read_as_what_they_were(kind: Kind) -> None:
    world = issued(kind)
    world.ledger.log[:] = [as_it_was_written(one) for one in world.log]
    world.assert_closed_truly()
    finish(world, "", {AES})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PLAIN, MACED, REFUSING[0]], ids=str)
def test_a_store_from_before_the_migration_brings_no_card_back_and_loses_none(kind: Kind) -> None:
    names = points(issued(kind))
    for at in range(len(names) + 1):
        world = issued(kind)
        backup = list(world.log)
        if at < len(names):
            cut_tap(world, at, "k1")
        else:
            tap(Kiosk(world, "k1"))
        world.ledger.log[:] = [*backup, Restored(1)]
        world.guarded = False  # the reports that wait are of a store that is gone
        finish(world, at, wanted(kind))


# --- the KRK ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_rotation_after_the_migration_is_cut_anywhere_and_finished_under_either_protocol() -> None:
    """The KRK stays a 3DES set; where it is in doubt the AES master set opens the card, over SCP03."""
    begun = issued(MACED, rotating(1))
    begun.rotates = True
    looked = set()
    for at, name in enumerate(points(begun.fork())):
        world = begun.fork()
        world.rotates = True
        cut_tap(world, at, "k1")
        outcomes = [honest_tap(world) for _ in range(3)]
        assert set(outcomes) <= GOOD | {"nothing-to-do"}, (at, name, outcomes)
        world.assert_finished(2, (at, name))
        assert master_kind(world) == AES
        closed = world.state.closed
        assert closed is not None and closed.krk.epoch == 2, (at, name)
        assert {one.kind for one in world.card.memory.sets if one.kvn == closed.krk.kvn} == {DES_TYPE}
        looked |= {one.opened_answer[11] for one in world.state.intents if one.purpose is Purpose.LOCATE}
    assert looked == {3}, "no look under the AES master set: the trace is another one by now"


# --- what else is on the card -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_a_planted_set_of_either_kind_is_deleted(kind: Kind) -> None:
    for kvn, made in itertools.product((0x22, 0x28, 0x05), (DES_TYPE, 0x88)):
        world = issued(kind).fork(slots=3)
        world.plant(replace(stranger(kvn), kind=made))
        finish(world, (kvn, made), {AES})


def test_a_thief_who_overwrote_the_krk_with_aes_keys_is_found_out_and_costs_no_attempt() -> None:
    world = issued(PLAIN)
    world.plant(stranger(PLAIN.profile.krk_kvn))
    world.guarded = False
    assert tap(Kiosk(world)) == "scp-unsupported"
    assert not world.charged


def test_capacity_shows_nothing_where_a_card_may_have_other_slots_for_other_keys() -> None:
    fills = Kind("", replace(PLAIN.profile, factory=FactoryHabit.FILLS), replace(PLAIN.options, factory_fills=True))
    just_issued = issued(fills).state.closed
    assert just_issued is not None and just_issued.audit is Audit.CAPACITY
    for kind, audit in ((PLAIN, Audit.NONE), (REFUSING[0], Audit.NONE), (MACED, Audit.RESPONSE_MAC)):
        world = issued(kind)
        tap(Kiosk(world))
        closed = world.state.closed
        assert isinstance(closed, Closed) and closed.audit is audit


def test_a_card_that_refuses_aes_and_gives_an_empty_key_information_has_a_master_set_all_the_same() -> None:
    """Under response MAC an empty template closes no case, as ever; the chain of MACs shows the refusal."""
    world = issued(MACED).fork(empty_keys=True, aes_over_scp02=False)
    assert tap(Kiosk(world)) == "not-finished"
    stored = world.card.memory.at(MACED.profile.master_kvn(2))
    assert stored is not None and stored.kind == DES_TYPE
