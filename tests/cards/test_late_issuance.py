"""A station's report that comes late says what was put; it does not say that the factory set is gone."""

import pytest

from kioskd.rekey.profile import Profile
from kioskd.rekey.records import Purpose
from kioskd.virtual.card_options import CardOptions
from tests.cards.matrix import DES
from tests.rekey.vaults import issuing
from tests.rekey.world import AttackedCard, Kiosk, World, deliver, honest_tap, talk

MUTE = {
    "AES": (Profile(level=0x03), CardOptions(scp_i=0x10)),
    "3DES": (Profile(**DES), CardOptions(scp=2, scp_i=0x55)),
    "3DES, no key information": (Profile(**DES), CardOptions(scp=2, scp_i=0x55, empty_keys=True)),
    "AES with response MAC": (Profile(), CardOptions()),
}


@pytest.mark.parametrize("kind", MUTE.values(), ids=MUTE)
def test_a_late_report_of_the_replacement_set_does_not_close_an_issuance_with_its_factory_set(
    kind: tuple[Profile, CardOptions],
) -> None:
    profile, options = kind
    world = World(issuing(), AttackedCard(options=options), profile=profile)
    kiosk = Kiosk(world, "station")
    tapping = talk(kiosk, "issue")
    while world.state.last is None or world.state.last.purpose is not Purpose.ISSUE_KRK:
        assert tapping.step()
    while world.state.last.number not in world.state.found:  # judged, both sets proven
        assert tapping.step()
    assert kiosk.journal, "not acknowledged: it comes again"
    tapping.cut()
    deliver(kiosk)
    assert profile.factory_kvn in world.card.kvns
    assert not world.state.issued
    assert honest_tap(world, "issue", "station") == "issued"
    world.assert_finished(1)
