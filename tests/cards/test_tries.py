"""Cards on which INITIALIZE UPDATE alone costs an attempt: counted before it leaves, and never spent to the end."""

from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS
from kioskd.rekey.notices import Greeted, MoreTries
from kioskd.rekey.profile import FactoryHabit, Order, Profile
from kioskd.rekey.records import Purpose
from kioskd.rekey.tries import budget, share
from kioskd.rekey.wire import Script
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.cards.test_habits import NO_DELETE
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.vaults import armed, issuing, rotating
from tests.rekey.world import AttackedCard, Kiosk, World, deliver, honest_tap, talk, tap

TRIES = 14
BURNS = {
    "replace": (Profile(greeting_tries=TRIES), CardOptions(tries=TRIES, greeting_burns=True)),
    "SCP02": (Profile(**DES, greeting_tries=TRIES), CardOptions(scp=2, scp_i=0x55, tries=TRIES, greeting_burns=True)),
    "install-first": (
        Profile(greeting_tries=TRIES, order=Order.INSTALL_FIRST, slots=3),
        CardOptions(tries=TRIES, greeting_burns=True, slots=3),
    ),
    "drops": (
        Profile(greeting_tries=TRIES, factory=FactoryHabit.DROPS),
        CardOptions(tries=TRIES, greeting_burns=True, factory_drops=True),
    ),
}
KINDS = pytest.mark.parametrize("kind", BURNS.values(), ids=BURNS)


def blank(kind: tuple[Profile, CardOptions]) -> World:
    """Such a card as it comes from the factory."""
    profile, options = kind
    return World(issuing(), AttackedCard(options=options), profile=profile)


def issued(kind: tuple[Profile, CardOptions]) -> World:
    """Such a card of generation 1, and a server that replaces it."""
    world = blank(kind)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    world.assert_finished(1)
    return world.fork(armed(2))


def fewest(world: World) -> int:
    """The tries that are left to the set that has the fewest."""
    return min(one.tries for one in world.card.memory.sets)


class Fickle(Kiosk):
    """A terminal out of which the card is pulled when EXTERNAL AUTHENTICATE comes."""

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        if command[1] == INS.EXTERNAL_AUTHENTICATE:
            self.world.card.reset()
            return None
        return Kiosk.transmit(self, script, command)


@KINDS
def test_such_a_card_is_issued_and_replaced_again_and_again(kind: tuple[Profile, CardOptions]) -> None:
    world = issued(kind)
    for generation in (2, 3, 4, 5):
        world = world.fork(armed(generation))
        assert tap(Kiosk(world, "k1")) == "done"
        world.assert_finished(generation)


@KINDS
def test_a_card_that_is_pulled_before_external_authenticate_is_refused_while_half_of_its_tries_are_left(
    kind: tuple[Profile, CardOptions],
) -> None:
    world, outcomes = issued(kind), []
    for number in range(40):
        outcomes.append(tap(Fickle(world, f"k{number % 8}")))
    assert outcomes[-1] == "tries-kept" and set(outcomes) == {"card-pulled-in-doubt", "tries-kept"}
    krk = world.card.memory.at(world.profile.krk_kvn)
    assert krk is not None and krk.tries >= TRIES - budget(world.profile)


def test_a_pull_between_the_two_commands_is_counted_before_the_first_of_them() -> None:
    world = issued(BURNS["replace"])
    tapping = talk(Kiosk(world, "k1"))
    krk = world.card.memory.at(world.profile.krk_kvn)
    while world.card.memory.at(world.profile.krk_kvn) == krk:
        assert tapping.step()
        if not any(isinstance(one, Greeted) for one in world.log):
            assert world.card.memory.at(world.profile.krk_kvn) == krk, "greeted before it was written down"
    assert [one.kvn for one in world.log if isinstance(one, Greeted)][-1] == world.profile.krk_kvn
    tapping.cut()


@KINDS
@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True], ids=["no report comes", "reports come late"])
@pytest.mark.parametrize("purpose", ["issue", "replace"])
def test_no_cut_repeated_for_ever_spends_more_than_half_of_any_sets_tries(
    kind: tuple[Profile, CardOptions], purpose: str, late: bool
) -> None:
    begun = blank(kind) if purpose == "issue" else issued(kind)
    for at, name in enumerate(points(begun.fork(), purpose)):
        world = begun.fork()
        for number in range(3 * TRIES):
            if late:
                deliver(Kiosk(world, f"k{(number - 1) % 8}"))
            cut_tap(world, at, f"k{number % 8}", purpose)
            assert fewest(world) >= TRIES - budget(world.profile), (at, name, number)
        world.log.append(MoreTries(world.state.next_number - 1))
        for _ in range(2):
            honest_tap(world, purpose, "station" if purpose == "issue" else "honest")
        world.assert_finished(1 if purpose == "issue" else 2, (at, name))


def test_one_terminal_alone_cannot_have_a_card_refused() -> None:
    """A stolen certificate without the card: it answers INITIALIZE UPDATE with rubbish."""

    class Liar(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            return b"\x90\x00" if command[1] == INS.INITIALIZE_UPDATE else Kiosk.transmit(self, script, command)

    world = issued(BURNS["replace"])
    outcomes = [tap(Liar(world, "thief")) for _ in range(10)]
    assert outcomes.count("tries-kept") == 10 - share(world.profile)
    assert honest_tap(world) == "done"
    world.assert_finished(2)


def test_one_terminal_alone_cannot_have_a_card_refused_by_many_taps_at_the_same_moment() -> None:
    """Each of them reads the count before any of the others has added to it."""

    class Liar(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            return b"\x90\x00" if command[1] == INS.INITIALIZE_UPDATE else Kiosk.transmit(self, script, command)

    world = issued(BURNS["replace"])
    talks = [talk(Liar(world, "thief")) for _ in range(16)]
    while [one for one in talks if one.step()]:
        pass
    assert len([one for one in world.log if isinstance(one, Greeted) and one.terminal == "thief"]) == 16
    assert tap(Liar(world, "thief")) == "tries-kept"
    assert honest_tap(world) == "done"
    world.assert_finished(2)


def test_a_success_and_the_operators_word_begin_the_count_anew() -> None:
    world = issued(BURNS["replace"])
    for number in range(20):
        tap(Fickle(world, f"k{number}"))
    assert honest_tap(world) == "tries-kept"
    world.log.append(MoreTries(world.state.next_number - 1))
    assert honest_tap(world) == "done"
    world = world.fork(armed(3))
    for number in range(budget(world.profile)):
        assert tap(Fickle(world, f"k{number}")) in ("card-pulled-in-doubt", "tries-kept")
    assert honest_tap(world) == "tries-kept"


def test_a_rotation_of_such_a_card_goes_to_its_end() -> None:
    world = blank(BURNS["replace"])
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    world = world.fork(rotating(1))
    world.rotates = True
    assert tap(Kiosk(world, "k1")) == "done"
    world.assert_finished(2)


def test_a_set_whose_tries_must_be_kept_is_put_again_instead_of_proven() -> None:
    """Proving costs a try of the new set; putting it again gives it all of them."""
    world = issued(BURNS["replace"])

    class Forgetful(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            raw = Kiosk.transmit(self, script, command)
            last = script.steps[-1].command == command and script.number
            return None if last else raw

    tap(Forgetful(world, "k0"))
    names = points(world.fork())
    for number in range(budget(world.profile) - 1):  # it is proven, and the proof is lost
        cut_tap(world, len(names) - 1 - names[::-1].index("report"), f"k{number}")
        assert world.state.last is not None and world.state.last.purpose is Purpose.VERIFY
    assert honest_tap(world) == "done"
    last = world.state.last
    assert last is not None and last.purpose is Purpose.REPLACE
    world.assert_finished(2)


def test_a_set_whose_place_a_new_one_does_not_take_is_not_greeted_behind_the_failed_put_key() -> None:
    """The old content would count each of these, and the host believes that a set put again starts anew."""
    profile, options = NO_DELETE
    options = replace(options, tries=TRIES, greeting_burns=True)
    world = issued((replace(profile, greeting_tries=TRIES), options))
    slot = world.profile.master_kvn(2)

    class Worn(Kiosk):
        """PUT KEY fails once the new set is there, and the card is pulled at the end of each script."""

        def transmit(self, script: Script, command: bytes) -> bytes | None:
            if command[1] == INS.PUT_KEY and slot in world.card.kvns:
                world.card.fails_at, world.card.fails_with = frozenset((world.card.count,)), 0x6581
            raw = Kiosk.transmit(self, script, command)
            return None if script.number and script.steps[-1].command == command else raw

    for number in range(3 * TRIES):
        tap(Worn(world, f"k{number % 8}"))
        assert fewest(world) >= TRIES - budget(world.profile), number
    assert honest_tap(world) == "done"
    world.assert_finished(2)


def test_a_profile_with_too_few_tries_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match="greeting_tries: 5, 0 or from 6 to 255"):
        replace(Profile(), greeting_tries=5)


def test_a_blocked_set_is_a_locked_card() -> None:
    world = issued((Profile(), CardOptions(tries=2, greeting_burns=True)))  # the profile does not know it
    for _ in range(2):
        tap(Fickle(world, "k1"))
    assert tap(Kiosk(world, "k2")) == "card-locked"
