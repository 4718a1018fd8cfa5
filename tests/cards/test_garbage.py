"""Cards that answer anything: every tap ends in an outcome, and no attempt beyond the budget is spent."""

import random
from functools import cache
from itertools import count

import pytest

from kioskd.access.office import ATTEMPTS
from kioskd.gp.apdu import INS
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.registry import SecurityDomain
from kioskd.outcomes import CATALOGUE
from kioskd.rekey.profile import Lock, Profile
from kioskd.rekey.tries import budget
from kioskd.rekey.wire import Script
from kioskd.virtual.card_options import CardOptions
from tests.rekey.kinds import Kind
from tests.rekey.migrating import MACED, PLAIN
from tests.rekey.migrating import issued as migrating
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, tap

EXCHANGES = 100_000


WORDS = (b"\x63\x10", b"\x6e\x00", b"\x67\x00", b"\x90\x00")
"""Some that a host goes on at."""


class Garbage(Kiosk):
    """A terminal whose card answers honestly, garbled or at random, as the dice have it."""

    dice: random.Random
    honest: float
    exchanges = 0
    authentications = 0
    parts = 0
    pages = 0

    def read(self, command: bytes) -> bytes:
        self.exchanges += 1
        self.parts += command[1] == INS.GET_RESPONSE
        raw = self.world.card.transmit(command)
        # A card that garbles its id at the station is another card; its records would be another's.
        return self.garbled(raw) if self.world.state.issued or not self.honest else raw

    def transmit(self, script: Script, command: bytes) -> bytes | None:
        self.exchanges += 1
        self.authentications += command[1] == INS.EXTERNAL_AUTHENTICATE
        self.parts += command[1] == INS.GET_RESPONSE
        self.pages += command[1] == INS.GET_STATUS
        raw = Kiosk.transmit(self, script, command)
        return None if raw is None or self.dice.random() < 0.01 else self.garbled(raw)

    def garbled(self, raw: bytes) -> bytes:
        """The answer, or what is made of it."""
        if self.dice.random() < self.honest:
            return raw
        match self.dice.randrange(4 if self.honest else 2):
            case 0:
                return self.dice.randbytes(self.dice.randrange(0, 300))
            case 1:
                begins = self.dice.choice((b"", b"\x61", b"\x6c", *WORDS))
                return (begins + self.dice.randbytes(2))[:2]
            case 2:
                return raw[: self.dice.randrange(len(raw) + 1)]
            case _:
                at = self.dice.randrange(len(raw))
                return raw[:at] + bytes((self.dice.randrange(256),)) + raw[at + 1 :]


TRIES = 40
MANY = tuple(KeyEntry(kid, kvn, ((0x88, 16),)) for kvn in range(1, 11) for kid in range(1, 6))
DOMAINS = tuple(SecurityDomain(bytes((0xA0, 0, 0, 1, 0x51, number)), 0x0F, b"\x80\x00\x00") for number in range(5))
CARDS = {
    "as it is": (Profile(), CardOptions()),
    "long answers in parts, no Le, pages of domains": (
        Profile(list_domains=True),
        CardOptions(others=MANY, t0=True, part=60, refuses_le=0x6E00, domains=DOMAINS, page=2),
    ),
    "each INITIALIZE UPDATE costs an attempt": (
        Profile(greeting_tries=TRIES),
        CardOptions(tries=TRIES, greeting_burns=True),
    ),
}
SHARES = {name: EXCHANGES // (6 if name == "as it is" else 24) for name in CARDS}
"""For each of six mixtures: 100,000 of the main kind, 25,000 of each other."""


@cache
def issued(name: str) -> World:
    """Such a card of generation 1."""
    profile, options = CARDS[name]
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    return world


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize("honest", [0.0, 0.7, 0.95])
@pytest.mark.parametrize("purpose", ["replace", "issue"])
def test_a_garbage_card_ends_every_tap_in_an_outcome_within_the_budget(honest: float, purpose: str, name: str) -> None:
    profile, options = CARDS[name]
    exchanges, parts, pages, dice = 0, 0, 0, random.Random(f"{honest} {purpose}")
    for number in count():
        blank = World(issuing(), AttackedCard(options=options), profile=profile)
        world = issued(name).fork(armed(2)) if purpose == "replace" else blank
        for _ in range(8):
            kiosk = Garbage(world, f"k{number}")
            kiosk.dice, kiosk.honest = dice, honest
            assert tap(kiosk, purpose) in CATALOGUE
            exchanges, parts, pages = exchanges + kiosk.exchanges, parts + kiosk.parts, pages + kiosk.pages
            assert honest or not kiosk.authentications
            if profile.greeting_tries:
                assert min(one.tries for one in world.card.memory.sets) >= TRIES - budget(profile)
        assert sum(world.charged.values()) <= ATTEMPTS
        if exchanges > SHARES[name]:
            break
    assert not options.t0 or parts > exchanges // 50
    assert not (honest > 0.9 and profile.list_domains) or pages > 20


@pytest.mark.slow
def test_garbage_before_a_lock_can_be_shown_closes_nothing_falsely() -> None:
    """Every closing is compared with the card's memory when it is written."""
    dice = random.Random("locked")
    profile = Profile(lock=Lock.EXECUTIVE)
    world = World(issuing(), AttackedCard(options=CardOptions(executive=True)), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    for number in range(200):
        begun = world.fork(armed(2))
        kiosk = Garbage(begun, f"k{number}")
        kiosk.dice, kiosk.honest = dice, 0.9
        tap(kiosk)
        assert tap(Kiosk(begun, "honest")) in CATALOGUE


@pytest.mark.slow
@pytest.mark.parametrize("kind", [PLAIN, MACED], ids=str)
def test_garbage_of_a_card_that_goes_to_aes_closes_nothing_falsely_and_spends_no_attempt(kind: Kind) -> None:
    dice = random.Random(str(kind))
    for number in range(200):
        begun = migrating(kind)
        kiosk = Garbage(begun, f"k{number}")
        kiosk.dice, kiosk.honest = dice, 0.9
        tap(kiosk)
        assert {tap(Kiosk(begun, "honest")) for _ in range(2)} <= {"done", "already-done", "not-migrated"}
        begun.assert_finished(2, number)
        assert all(one.tries == begun.card.options.tries for one in begun.card.memory.sets)
