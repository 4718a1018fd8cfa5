"""Habits of cards beside the matrix: what becomes of the factory set, layouts, check values, adoption, blocking."""

from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.registry import SecurityDomain
from kioskd.rekey.notices import Blocked
from kioskd.rekey.profile import FactoryHabit, Lock, Order, Profile
from kioskd.rekey.records import Audit, Closed, Found, KrkTrust, Purpose
from kioskd.rekey.wire import End, Report, Script
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, deliver, honest_tap, memory_of, stranger, talk, tap

DROPS = (Profile(factory=FactoryHabit.DROPS), CardOptions(factory_drops=True))
FILLS = (Profile(factory=FactoryHabit.FILLS), CardOptions(factory_fills=True))
FILLS_AND_KEEPS_ITS_NUMBERS = (
    Profile(factory=FactoryHabit.FILLS, renumbers=False),
    CardOptions(factory_fills=True, renumbers=False),
)
NO_DELETE = (
    Profile(factory=FactoryHabit.DROPS, deletes=False, order=Order.RENUMBER),
    CardOptions(factory_drops=True, deletes=False),
)
HABITS = {
    "answers in parts (61xx)": (Profile(), CardOptions(t0=True)),
    "wants the right Le (6Cxx)": (Profile(), CardOptions(exact_le=True)),
    "SCP02, gives no key information": (Profile(**DES), CardOptions(scp=2, scp_i=0x15, empty_keys=True)),
    "SCP02 with response MAC": (
        Profile(**DES | {"level": 0x13}),
        CardOptions(scp=2, scp_i=0x35),
    ),
    "SCP02 with response MAC, chains error words": (
        Profile(**DES | {"level": 0x13}),
        CardOptions(scp=2, scp_i=0x35, chains_errors=True),
    ),
    "SCP02 with response MAC, executive": (
        Profile(**DES | {"level": 0x13}, lock=Lock.EXECUTIVE),
        CardOptions(scp=2, scp_i=0x35, executive=True),
    ),
    "refuses DELETE of the session's own set": (Profile(), CardOptions(own_set_stays=True)),
    "T=0, refuses Le (6E00)": (Profile(), CardOptions(t0=True, refuses_le=0x6E00)),
    "key information above 256 bytes": (
        Profile(),
        CardOptions(others=tuple(KeyEntry(kid, 1 + kid // 8, ((0x88, 16),)) for kid in range(60))),
    ),
    "INITIALIZE UPDATE spends attempts": (
        Profile(greeting_tries=14),
        CardOptions(tries=14, greeting_burns=True),
    ),
    "names security domains of others": (
        Profile(list_domains=True),
        CardOptions(domains=(SecurityDomain(bytes(8), 0x0F, b"\x80"), SecurityDomain(bytes(9), 0x0F, b"\x80")), page=1),
    ),
    "reaches its factory set by 00 alone": (Profile(), CardOptions(ff_refused=True)),
    "all-zero diversification data": (Profile(), CardOptions(kdd=bytes(10))),
    "drops": DROPS,
    "fills a slot": FILLS,
    "fills a slot, no renumbering": FILLS_AND_KEEPS_ITS_NUMBERS,
    "drops, no DELETE": NO_DELETE,
}


def world_of(profile: Profile, options: CardOptions) -> World:
    """A blank card of that habit at a station."""
    return World(issuing(), AttackedCard(options=options), profile=profile)


def closed(world: World) -> Closed:
    """The newest closing."""
    found = world.state.closed
    assert found is not None
    return found


@pytest.mark.parametrize("habit", HABITS.values(), ids=HABITS)
def test_a_card_is_issued_and_replaced_whatever_its_factory_set_does(habit: tuple[Profile, CardOptions]) -> None:
    world = world_of(*habit)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    world.assert_finished(1)
    later = world.fork(armed(2))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(2)


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS.values(), ids=HABITS)
@pytest.mark.parametrize("purpose", ["issue", "replace"])
def test_a_cut_anywhere_is_repaired(habit: tuple[Profile, CardOptions], purpose: str) -> None:
    begun, generation = world_of(*habit), 1
    if purpose == "replace":
        assert tap(Kiosk(begun, "station"), "issue") == "issued"
        begun, generation = begun.fork(armed(2)), 2
    for at, name in enumerate(points(begun.fork(), purpose)):
        world = begun.fork()
        cut_tap(world, at, "k1", purpose)
        outcomes = [honest_tap(world, purpose, "station" if purpose == "issue" else "k2") for _ in range(2)]
        assert set(outcomes) <= {"issued", "already-issued", "done", "already-done"}, (at, name, outcomes)
        world.assert_finished(generation, (at, name))


def test_a_krk_that_came_under_a_master_set_is_recorded_so() -> None:
    world = world_of(*DROPS)
    tap(Kiosk(world, "station"), "issue")
    assert closed(world).krk_trust is KrkTrust.MASTER_BOUND
    other = world_of(*FILLS)
    tap(Kiosk(other, "station"), "issue")
    assert closed(other).krk_trust is KrkTrust.FACTORY


@pytest.mark.parametrize(("wanted", "taken"), [(True, False), (False, True)])
def test_a_layout_that_is_refused_is_followed_by_the_other_which_is_remembered(wanted: bool, taken: bool) -> None:
    world = world_of(Profile(key_length_sent=wanted), CardOptions(layouts=(taken,)))
    kiosk = Kiosk(world, "station")
    assert tap(kiosk, "issue") == "issued"
    puts = [report for script, report in kiosk.seen if any(one.command[1] == INS.PUT_KEY for one in script.steps)]
    assert [report.end for report in puts].count(End.STOPPED) == 1
    later = world.fork(armed(2))
    kiosk = Kiosk(later)
    assert tap(kiosk) == "done"
    assert len([one for one, _ in kiosk.seen if one.number]) == 1, "what worked at issuance is used in the field"


def test_a_card_that_refuses_both_layouts_is_not_tried_a_third_time() -> None:
    world = world_of(Profile(), CardOptions(layouts=()))
    kiosk = Kiosk(world, "station")
    assert tap(kiosk, "issue") == "card-unfit"
    puts = [one for one, _ in kiosk.seen if any(step.command[1] == INS.PUT_KEY for step in one.steps)]
    assert len(puts) == 2


def test_a_lying_kiosk_cannot_talk_a_card_out_of_its_layout() -> None:
    """Else one liar, saying 6A80 twice, would have the card refused everywhere, for ever."""
    world = from_elsewhere()
    for _ in range(2):
        liar = Kiosk(world, "k1")
        liar.bend = says_6a80
        assert tap(liar) == "not-finished"
    assert tap(Kiosk(world, "k2")) == "adopted"


def says_6a80(script: Script, report: Report) -> Report:
    """A report in which the card has refused PUT KEY."""
    puts = [at for at, step in enumerate(script.steps) if step.command[1] == INS.PUT_KEY]
    if not puts:
        return report
    answers = (*report.answers[: puts[0]], bytes.fromhex("6A80"))
    return replace(report, end=End.STOPPED, answers=answers)


def test_a_check_value_over_zeros_is_the_profiles_choice() -> None:
    world = world_of(Profile(zero_kcv=True), CardOptions(zero_kcv=True))
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    assert tap(Kiosk(world_of(Profile(), CardOptions(zero_kcv=True)), "station"), "issue") != "issued"


@pytest.mark.parametrize("issued_there", [True, False], ids=["issued contactless", "issued by contacts"])
def test_a_card_that_refuses_its_cplc_in_one_reader_is_the_same_card_in_all(issued_there: bool) -> None:
    world = world_of(Profile(), CardOptions(contactless=issued_there))
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    registered = world.state.registered
    assert registered is not None and registered.card.kind == ("iin-cin" if issued_there else "cplc")
    later = world.fork(armed(2), contactless=not issued_there)
    assert tap(Kiosk(later)) == "done"
    closed_there = later.state.closed
    assert closed_there is not None and closed_there.master.generation == 2
    assert tap(Kiosk(later.fork(contactless=issued_there), "k2")) == "already-done"


def test_a_set_that_00_picks_is_not_taken_for_the_factory_set() -> None:
    """After a set was added, some cards pick that one."""
    world = world_of(Profile(), CardOptions(ff_refused=True))
    factory = world.card.memory.sets[0]
    world.card.memory = replace(world.card.memory, sets=(stranger(0x05), factory))
    assert tap(Kiosk(world, "station"), "issue") == "scp-unsupported"
    assert world.card.kvns == {0x05, 0xFF} and not world.charged


def test_a_new_card_that_shares_an_id_with_another_of_its_batch_is_issued() -> None:
    world = world_of(Profile(), CardOptions(kdd=bytes(range(10))))
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    other = World(issuing(), AttackedCard(options=CardOptions(serial=b"\x01\x02\x03\x04", kdd=bytes(range(10)))))
    other.ledger.known = dict(world.ledger.known)
    assert tap(Kiosk(other, "station"), "issue") == "issued"


def test_a_blocked_card_is_refused_before_anything_is_changed_and_can_be_let_in_again() -> None:
    world = world_of(Profile(), CardOptions())
    tap(Kiosk(world, "station"), "issue")
    world = world.fork(armed(2))
    world.log.append(Blocked("reported stolen"))
    memory = memory_of(world)
    assert tap(Kiosk(world)) == "card-blocked"
    assert memory_of(world) == memory
    world.log.append(Blocked(""))
    assert tap(Kiosk(world)) == "done"


def test_a_card_that_was_begun_is_finished_although_it_is_blocked_meanwhile() -> None:
    world = world_of(Profile(), CardOptions())
    tap(Kiosk(world, "station"), "issue")
    begun = world.fork(armed(2))
    names = points(begun.fork())
    cut_tap(begun, names.index("keep"), "k1")
    begun.log.append(Blocked("reported stolen"))
    assert honest_tap(begun) == "done"
    begun.assert_finished(2)


def test_a_card_of_scp02_closes_by_the_capacity_of_its_slots_or_unaudited() -> None:
    base = Profile(**DES)
    for slots, audit in ((2, Audit.CAPACITY), (3, Audit.NONE)):
        world = world_of(replace(base, slots=slots), CardOptions(scp=2, scp_i=0x15, slots=slots))
        assert tap(Kiosk(world, "station"), "issue") == "issued"
        # The factory set is in no slot of these: two proven sets do not show that it is gone.
        assert closed(world).audit is Audit.NONE
        later = world.fork(armed(2))
        assert tap(Kiosk(later)) == "done"
        assert closed(later).audit is audit


def test_the_report_of_a_script_that_read_no_keys_closes_no_issuance() -> None:
    """The server died between what it found and its acknowledgement: the factory set is on the card still."""
    begun = world_of(Profile(**DES), CardOptions(scp=2, scp_i=0x15))
    kiosk = Kiosk(begun, "station")
    cut = talk(kiosk, "issue")
    while not any(isinstance(one, Found) and one.proven_krk is not None for one in begun.log):
        cut.step()
    cut.cut()
    deliver(kiosk)
    assert begun.state.closed is None
    assert tap(kiosk, "issue") == "issued"
    begun.assert_finished(1)


# --- cards from elsewhere -----------------------------------------------------------------------------------------

ELSEWHERE = Profile(adopts="factory", adopts_kvn=0x01)


def from_elsewhere(**options: object) -> World:
    """A card that was issued elsewhere: one set, known here by a name, at key version 01."""
    return world_of(ELSEWHERE, replace(CardOptions(factory_kvn=0x01, factory_fills=True), **options))  # type: ignore[arg-type]


def assert_adopted(world: World, context: object = "") -> None:
    """The case is closed with the foreign master set as generation 0, and a KRK that is recorded as master-bound."""
    one = closed(world)
    assert (one.master.generation, one.master.kvn, one.purpose) == (0, 0x01, Purpose.ADOPT), context
    assert one.krk_trust is KrkTrust.MASTER_BOUND, context
    assert world.card.kvns == {0x01, 0x3E} and world.holds_krk(one.krk), context


def test_a_card_from_elsewhere_gets_a_krk_at_a_kiosk_and_its_master_set_is_replaced_later() -> None:
    world = from_elsewhere()
    assert tap(Kiosk(world)) == "adopted"
    assert_adopted(world)
    later = world.fork(armed(2))
    assert tap(Kiosk(later)) == "done"
    later.assert_finished(2)
    assert closed(later).krk_trust is KrkTrust.MASTER_BOUND


@pytest.mark.slow
def test_a_cut_of_an_adoption_anywhere_is_repaired() -> None:
    begun = from_elsewhere()
    for at, name in enumerate(points(begun.fork())):
        world = begun.fork()
        cut_tap(world, at, "k1")
        outcomes = [honest_tap(world) for _ in range(2)]
        assert set(outcomes) <= {"adopted", "nothing-to-do"}, (at, name, outcomes)
        assert_adopted(world, (at, name))


def test_a_card_that_does_not_hold_the_known_set_is_not_adopted_and_not_tried_twice() -> None:
    world = from_elsewhere()
    stranger = world.card.memory.sets[0]
    world.card.memory = world.card.memory.having(replace(stranger, mac=bytes(16)))
    memory = memory_of(world)
    assert tap(Kiosk(world)) == "wrong-cryptogram"
    assert memory_of(world) == memory and world.charged == {"k1": 1}


def test_an_unknown_card_stays_unknown_where_no_profile_adopts() -> None:
    assert tap(Kiosk(world_of(Profile(), CardOptions()))) == "unknown-card"
