"""Cards after the store was put back from a backup, as far as they cannot say what they hold."""

from dataclasses import replace

from kioskd.rekey.notices import Restored
from kioskd.rekey.profile import Profile
from kioskd.rekey.wire import CardReport
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.vaults import armed, issuing
from tests.rekey.world import AttackedCard, Kiosk, World, deliver, honest_tap, late, tap

MUTE = (Profile(**DES), CardOptions(scp=2, scp_i=0x55, empty_keys=True))


def issued(profile: Profile, options: CardOptions) -> World:
    """A card of generation 1."""
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    assert tap(Kiosk(world, "station"), "issue") == "issued"
    return world


def put_back(world: World, records: int, generation: int) -> World:
    """The same card, and a store of which only the oldest records are left."""
    later = world.fork(armed(generation))
    del later.ledger.log[records:]
    later.ledger.log.append(Restored(1))
    return later


def test_a_card_without_key_information_is_finished_after_the_store_has_lost_its_master_set() -> None:
    world = issued(*MUTE)
    kept = len(world.log)
    replaced = world.fork(armed(2))
    assert honest_tap(replaced) == "done"
    restored = put_back(replaced, kept, 4)
    assert honest_tap(restored) == "done"
    restored.assert_finished(4)


def test_a_report_of_a_script_that_went_with_the_lost_store_is_taken_and_forgotten() -> None:
    world = issued(Profile(), CardOptions())
    kept = len(world.log)
    replaced = world.fork(armed(2))
    kiosk = Kiosk(replaced)
    tap(kiosk)
    script, report = kiosk.seen[-1]
    restored = put_back(replaced, kept, 2)
    restored.notes["k1"] = {(script.number, script.digest): CardReport(script.card, report)}
    deliver(Kiosk(restored))
    assert restored.notes["k1"] == {}
    assert restored.state.doubtful, "nothing is learnt from it"


def test_a_report_that_no_store_ever_knew_is_not_taken() -> None:
    world = issued(Profile(), CardOptions())
    kiosk = Kiosk(world.fork(armed(2)))
    tap(kiosk)
    script, report = kiosk.seen[-1]
    stranger = CardReport(script.card, replace(report, number=99))
    assert late(world, stranger).finish() is False
