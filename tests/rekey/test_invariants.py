"""The invariants one by one, each in the situation that would break it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kioskd.access.office import RECOVERIES, RECOVERIES_S, Office
from kioskd.errors import TapEnds
from kioskd.gp.apdu import ResponseAPDU
from kioskd.gp.isd import Receipt as PutKeyReceipt
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.records import Receipt
from kioskd.virtual.card_memory import StoredSet
from kioskd.virtual.faults import Faults
from tests.rekey.proofs import assert_replaced
from tests.rig import Rig

MakeRig = Callable[[], Rig]
PLANTED = StoredSet(0x35, b"e" * 16, b"m" * 16, b"d" * 16)
EXPECTED = KeyInformation(tuple(entry for kvn in (0x32, 0x3E) for entry in DEFAULT_PROFILE.entries(kvn)))


def plant(rig: Rig) -> None:
    """Somebody with the old master set has put a key set of their own on the card."""
    rig.card._keep(rig.card.memory.having(PLANTED))


async def test_a_receipt_with_other_check_values_makes_the_set_be_put_again(issued_card: MakeRig) -> None:
    """Invariant 5: a receipt that arrives must match, although the new set opens the card."""
    lies = iter([True])

    def other_receipt(name: str, reply: Any) -> Any:
        if name != "unwrap_responses" or not next(lies, False):
            return reply
        receipt = PutKeyReceipt.parse(reply[1].data)
        wrong = PutKeyReceipt(receipt.kvn, (*receipt.kcvs[:2], b"\x00\x00\x00"))
        return (reply[0], ResponseAPDU(wrong.encode(), 0x9000), *reply[2:])

    rig = issued_card()
    assert await rig.tap(faults=Faults(bend=other_receipt), side="server") == "done"
    state = await rig.state()
    first, second = state.intents[-2:]
    assert state.found[first.number].receipt is Receipt.MISMATCH
    assert state.closed is not None and state.closed.master == second.master
    assert state.closed.receipt is Receipt.MATCH
    await assert_replaced(rig)


async def test_a_planted_key_set_is_deleted(issued_card: MakeRig) -> None:
    """Invariant 5: unknown key sets are deleted under the KRK."""
    rig = issued_card()
    plant(rig)
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_a_planted_key_set_that_a_liar_hides_keeps_the_case_open(issued_card: MakeRig) -> None:
    """Invariant 5: key information without a right MAC closes nothing."""

    forged = EXPECTED.encode() + b"\x90\x00"

    def hide(name: str, reply: Any) -> Any:
        if name != "run" or not reply.number or len(reply.answers) < 3:
            return reply
        # The key information is read just before the last INITIALIZE UPDATE.
        return replace(reply, answers=(*reply.answers[:-2], forged, reply.answers[-1]))

    rig = issued_card()
    rig.card.options = replace(rig.card.options, slots=3)
    rig.hearsay = forged
    plant(rig)
    assert await rig.tap(faults=Faults(bend=hide), side="server") == "not-finished"
    assert PLANTED.kvn in rig.card.kvns
    assert (await rig.state()).open
    rig.hearsay = None
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_a_wrong_card_cryptogram_takes_no_lease_and_is_charged_to_the_terminal(issued_card: MakeRig) -> None:
    """Invariants 7 and 9: no EXTERNAL AUTHENTICATE, no lease, one charge to (terminal, card)."""

    def other_cryptogram(name: str, reply: Any) -> Any:
        if name != "run":
            return reply
        raw = reply.answers[0]
        return replace(reply, answers=(raw[:22] + bytes(7) + raw[29:],))

    rig = issued_card()
    fence = await rig.store.fence(rig.card_id())
    assert await rig.tap(faults=Faults(bend=other_cryptogram), side="server") == "wrong-cryptogram"
    assert await rig.store.fence(rig.card_id()) == fence
    assert await rig.store.charges("k1", rig.card_id()) == 1
    assert not (await rig.state()).open
    assert await rig.tap() == "done"


async def test_a_terminal_that_has_spent_its_attempts_is_refused_and_others_are_not(issued_card: MakeRig) -> None:
    """Invariant 7: a stolen certificate cannot quarantine a card."""
    rig = issued_card()
    for _ in range(5):
        await rig.store.charge("k1", rig.card_id())
    assert await rig.tap() == "attempts-spent"
    assert await rig.tap(terminal="k2") == "done"


async def test_a_tap_has_two_round_trips_before_the_card_is_done_and_one_to_report(issued_card: MakeRig) -> None:
    """The tap goes up, a greeting comes down; its answer goes up, the script comes down; the report goes up."""
    rig = issued_card()
    rig.messages.clear()
    assert await rig.tap() == "done"
    assert rig.messages == ["script", "report", "script", "report", "ack"]


async def test_a_new_set_that_does_not_prove_itself_keeps_the_case_open(issued_card: MakeRig) -> None:
    """Invariant 5: authentication concludes. The key information alone closes nothing."""

    def other_cryptogram(name: str, reply: Any) -> Any:
        if name != "run" or not reply.number:
            return reply
        last = reply.answers[-1]
        return replace(reply, answers=(*reply.answers[:-1], last[:22] + bytes(7) + last[29:]))

    rig = issued_card()
    assert await rig.tap(faults=Faults(bend=other_cryptogram), side="server") == "not-finished"
    assert (await rig.state()).open
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def test_a_terminal_that_asks_for_too_many_replacement_keys_is_stopped(issued_card: MakeRig) -> None:
    """Invariant 7: recoveries in the vault are limited for each terminal, and for it alone."""
    office = Office(issued_card().vault, issued_card().store, (DEFAULT_PROFILE,))
    for _ in range(RECOVERIES):
        office.admit_recovery("k1")
    with pytest.raises(TapEnds) as refused:
        office.admit_recovery("k1")
    assert refused.value.name == "too-many"
    office.admit_recovery("k2")
    office.recoveries["k1"][0] -= RECOVERIES_S
    office.admit_recovery("k1")
