"""Attacks on which keys, and in which layout, a card is said to take: by a thief of the old set, by one lie."""

from dataclasses import replace

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.isd import DES_TYPE
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.wire import Report, Script
from tests.rekey.kinds import Kind
from tests.rekey.migrating import MACED, PLAIN, issued, master_kind
from tests.rekey.test_attacks_on_migration import AES, DES, finish
from tests.rekey.vaults import armed
from tests.rekey.world import Kiosk, honest_tap, stranger, tap


@pytest.mark.parametrize("layout", [True, False], ids=["takes the first layout", "takes the other layout"])
def test_a_thief_of_the_old_set_who_fills_the_card_does_not_have_it_refuse_aes_keys(layout: bool) -> None:
    """PUT KEY fails for want of room, which authentic key information shows; the other layout the card does refuse."""
    world, profile = issued(MACED).fork(layouts=(layout,)), MACED.profile
    old = profile.master_kvn(1)
    world.card.memory = world.card.memory.without(old)
    world.plant(replace(stranger(0x05), kind=DES_TYPE))
    told = KeyInformation(tuple(profile.entries(profile.krk_kvn) | profile.entries(old)))
    assert tap(Kiosk(world, "k1", hearsay=told.encode() + b"\x90\x00")) == "done"
    finish(world, "", {AES})


def test_one_lie_about_a_receipt_does_not_choose_the_layout_for_ever() -> None:
    """Without encryption of commands the terminal reads the check values, and can make up the receipt."""
    kind = Kind("", replace(PLAIN.profile, level=0x01), replace(PLAIN.options, layouts=(True,)))
    world = issued(kind)

    class Refuses(Kiosk):
        def transmit(self, script: Script, command: bytes) -> bytes | None:
            return bytes.fromhex("6A80") if command[1] == INS.PUT_KEY else Kiosk.transmit(self, script, command)

    def lie(script: Script, report: Report) -> Report:
        intent = world.state.last
        puts = [at for at, step in enumerate(script.steps) if step.command[1] == INS.PUT_KEY]
        if intent is None or not puts or intent.with_length:
            return report
        assert all(one in script.steps[puts[0]].command for one in intent.kcvs)
        receipt = bytes((intent.put_kvn, *b"".join(intent.kcvs))) + b"\x90\x00"
        return replace(report, answers=(*report.answers[: puts[0]], receipt))

    assert tap(Refuses(world, "k1", bend=lie)) == "not-finished"
    finish(world, "", {AES, DES})
    later = world.fork(armed(3))
    assert honest_tap(later) == "done"
    later.assert_finished(3)
    assert master_kind(later) == AES
