"""Security domains of others: named after a card is finished, never in its way, and never more than is read."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS, SW, ResponseAPDU
from kioskd.gp.registry import SecurityDomain
from kioskd.rekey.listing import MAX_DOMAINS, PAGES
from kioskd.rekey.notices import Listed, ListEnd
from kioskd.rekey.profile import Lock, Profile
from kioskd.rekey.wire import Script
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.test_attacks_by_cuts import cut_tap, points
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, honest_tap, memory_of, tap


def domain(number: int) -> SecurityDomain:
    """One that may not do more than hold applications of its own."""
    return SecurityDomain(bytes.fromhex("A0000001515350") + bytes((number,)), 0x0F, bytes.fromhex("800000"))


THREE = tuple(map(domain, (1, 2, 3)))
ASKS = Profile(list_domains=True)
PROTOCOLS = {
    "SCP03": (ASKS, CardOptions(domains=THREE)),
    "SCP03, page by page": (ASKS, CardOptions(domains=THREE, page=1)),
    "SCP03, executive": (
        replace(ASKS, lock=Lock.EXECUTIVE),
        CardOptions(domains=THREE, page=2, executive=True),
    ),
    "SCP02 with response MAC, page by page": (
        Profile(**DES | {"level": 0x13}, list_domains=True),
        CardOptions(scp=2, scp_i=0x35, domains=THREE, page=2),
    ),
}


def issued(profile: Profile, options: CardOptions) -> World:
    """A card of generation 1, and a server that replaces it."""
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    return world.fork(armed(2))


def listings(world: World) -> list[Listed]:
    """What is on record."""
    return [one for one in world.log if isinstance(one, Listed)]


@pytest.mark.parametrize("kind", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_card_names_them_when_it_was_issued_and_when_it_was_replaced(kind: tuple[Profile, CardOptions]) -> None:
    world = issued(*kind)
    assert honest_tap(world) == "done"
    world.assert_finished(2)
    assert listings(world) == [Listed(THREE, ListEnd.WHOLE, authentic=True)] * 2
    assert honest_tap(world) == "already-done"
    assert len(listings(world)) == 2, "a card that is up to date is not asked again"


def test_without_response_mac_it_is_the_cards_word_alone() -> None:
    world = issued(Profile(**DES, list_domains=True), CardOptions(scp=2, scp_i=0x55, domains=THREE))
    assert listings(world) == [Listed(THREE, ListEnd.WHOLE, authentic=False)]


def test_a_card_is_not_asked_unless_its_profile_says_so() -> None:
    asked = issued(ASKS, CardOptions(domains=THREE))
    silent = issued(Profile(), CardOptions(domains=THREE))
    kiosk = Kiosk(silent, "k1")
    assert tap(kiosk) == "done"
    assert not listings(silent)
    assert not any(step.command[1] == INS.GET_STATUS for script, _ in kiosk.seen for step in script.steps)
    assert len(points(asked)) > len(points(issued(Profile(), CardOptions())))


def test_no_more_than_the_bound_is_read_and_the_list_says_so() -> None:
    many = tuple(map(domain, range(1, 60)))
    world = issued(ASKS, CardOptions(domains=many, page=2))
    assert listings(world) == [Listed(many[: 2 * PAGES], ListEnd.CUT, authentic=True)]
    world = issued(ASKS, CardOptions(domains=many[:40], page=10))
    assert listings(world) == [Listed(many[:MAX_DOMAINS], ListEnd.CUT, authentic=True)]


def test_a_card_that_refuses_is_finished_and_told_of() -> None:
    world = issued(ASKS, CardOptions(domains=THREE, lists=False))
    assert honest_tap(world) == "done"
    world.assert_finished(2)
    assert listings(world)[-1] == Listed((), ListEnd.REFUSED, authentic=True, sw=SW.INCORRECT_P1P2)


def test_a_card_without_any_says_so() -> None:
    assert listings(issued(ASKS, CardOptions())) == [Listed((), ListEnd.WHOLE, authentic=False)]


def test_an_answer_that_comes_without_its_mac_is_left_out() -> None:
    """Some cards send 6310 bare."""
    world = issued(ASKS, CardOptions(domains=THREE, page=2, bare_more=True))
    assert listings(world) == [Listed((), ListEnd.FORGED, authentic=True)]


BENT: dict[str, Callable[[bytes], bytes | None]] = {
    "another status word": lambda _: b"\x6f\x00",
    "more data, without any": lambda _: b"\x63\x10",
    "one bit": lambda raw: bytes((raw[0] ^ 1,)) + raw[1:],
    "only a status word": lambda raw: raw[-2:],
    "nothing": lambda _: b"",
    "a page of a domain that is not there": lambda _: domain(9).encode() + b"\x90\x00",
    "the card is pulled": lambda _: None,
}


class Bending(Kiosk):
    """A terminal that answers GET STATUS, or the command before it, with something else."""

    with_words: Callable[[bytes], bytes | None]
    ins = INS.GET_STATUS

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        raw = Kiosk.transmit(self, script, command)
        listing = any(step.command[1] == INS.GET_STATUS for step in script.steps)
        if raw is None or not listing or command[1] != self.ins:
            return raw
        return self.with_words(raw)


@pytest.mark.parametrize("ins", [INS.GET_STATUS, INS.EXTERNAL_AUTHENTICATE])
@pytest.mark.parametrize("bent", BENT.values(), ids=BENT)
def test_whatever_is_answered_the_card_is_done_and_nothing_false_is_listed(
    bent: Callable[[bytes], bytes | None], ins: INS
) -> None:
    world = issued(ASKS, CardOptions(domains=THREE))
    before = len(listings(world))
    kiosk = Bending(world, "k1")
    kiosk.with_words, kiosk.ins = bent, ins
    assert tap(kiosk) == "done"
    world.assert_finished(2)
    assert not world.charged, "reading a list costs a terminal nothing"
    assert all(not one.domains or one.domains == THREE for one in listings(world)[before:])


def test_a_cut_while_they_are_read_leaves_a_finished_card() -> None:
    begun = issued(ASKS, CardOptions(domains=THREE, page=1))
    silent = issued(Profile(), CardOptions())
    names = points(begun.fork())
    first = len(points(silent)) - 1  # the last point is where the key sets are forgotten
    assert first < len(names)
    for at in range(first, len(names)):
        world = begun.fork()
        cut_tap(world, at, "k1")
        world.assert_finished(2, (at, names[at]))
        memory = memory_of(world)
        assert honest_tap(world) == "already-done"
        assert memory_of(world) == memory


def test_a_card_that_answers_for_ever_is_asked_no_more_than_the_bound() -> None:
    world = issued(ASKS, CardOptions(domains=THREE))

    class Endless(Bending):
        asked = 0

        def transmit(self, script: Script, command: bytes) -> bytes | None:
            self.asked += command[1] == INS.GET_STATUS
            return Bending.transmit(self, script, command)

    kiosk = Endless(world, "k1")
    kiosk.with_words = lambda _: ResponseAPDU(bytes(200), SW.MORE_DATA).encode()
    assert tap(kiosk) == "done"
    assert kiosk.asked == PAGES


def test_a_card_that_counts_its_greetings_is_not_asked() -> None:
    with pytest.raises(ValueError, match="not worth an attempt"):
        replace(ASKS, greeting_tries=14)
