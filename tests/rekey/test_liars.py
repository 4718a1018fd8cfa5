"""A terminal that lies once: it can delay a card, never make the server believe what is not so."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.wire import End, Report
from kioskd.virtual.faults import Faults
from tests.rekey.proofs import assert_issued, assert_replaced
from tests.rig import Rig

pytestmark = pytest.mark.slow

MakeRig = Callable[[], Rig]

FORGED_KEYS = (
    KeyInformation(tuple(entry for kvn in (0x32, 0x3E) for entry in DEFAULT_PROFILE.entries(kvn))).encode()
    + b"\x90\x00"
)


def _flipped(raw: bytes) -> bytes:
    return raw[:-2] + (b"\x6a\x88" if raw[-2:] == b"\x90\x00" else b"\x90\x00")


def _bent(raw: bytes) -> bytes:
    return bytes((raw[0] ^ 1,)) + raw[1:]


LIES: dict[str, Callable[[bytes], bytes]] = {
    "another status word": _flipped,
    "one bit": _bent,
    "only a status word": lambda _: b"\x90\x00",
    "the key information that is wanted": lambda _: FORGED_KEYS,
    "an error": lambda _: b"\x6f\x00",
}


@dataclass(slots=True)
class Liar:
    """Bends the n-th answer of a whole tap; counts all answers."""

    at: int | None
    lie: Callable[[bytes], bytes]
    seen: int = 0

    def bend(self, name: str, reply: Any) -> Any:
        """The report with one answer bent."""
        if name != "run":
            return reply
        assert isinstance(reply, Report)
        answers = list(reply.answers)
        for position, raw in enumerate(answers):
            if self.seen == self.at:
                answers[position] = self.lie(raw)
            self.seen += 1
        return replace(reply, answers=tuple(answers))


async def answers_of(make: MakeRig, purpose: str) -> int:
    liar = Liar(None, _flipped)
    await make().tap(purpose, faults=Faults(bend=liar.bend), side="server")
    return liar.seen


@pytest.mark.parametrize("lie", LIES)
async def test_one_lie_in_a_report_never_closes_a_case_falsely(issued_card: MakeRig, lie: str) -> None:
    count = await answers_of(issued_card, "replace")
    assert count >= 5
    for at in range(count):
        where = f"{lie} instead of answer {at}"
        rig = issued_card()
        await rig.tap(faults=Faults(bend=Liar(at, LIES[lie]).bend), side="server")
        state = await rig.state()
        if state.closed is not None and state.closed.master.generation == 2 and not state.open:
            await assert_replaced(rig, where)
        assert await rig.tap() in ("done", "already-done"), where
        await assert_replaced(rig, where)


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
async def test_one_lie_at_the_station_never_counts_a_card_falsely(blank_card: MakeRig, lie: str) -> None:
    count = await answers_of(blank_card, "issue")
    assert count >= 12
    for at in range(count):
        where = f"{lie} instead of answer {at}"
        rig = blank_card()
        await rig.tap("issue", faults=Faults(bend=Liar(at, LIES[lie]).bend), side="server")
        if (await rig.state()).issued:
            await assert_issued(rig, where)
        assert await rig.tap("issue") in ("issued", "already-issued"), where
        await assert_issued(rig, where)


@pytest.mark.parametrize("end", [End.TORN, End.LATE, End.IN_DOUBT, End.REFUSED, End.STOPPED])
async def test_a_withheld_report_leaves_a_card_that_the_next_tap_finishes(issued_card: MakeRig, end: End) -> None:
    def withhold(name: str, reply: Any) -> Any:
        return replace(reply, end=end, answers=reply.answers[:1]) if name == "run" and reply.number else reply

    rig = issued_card()
    await rig.tap(faults=Faults(bend=withhold), side="server")
    assert await rig.tap() in ("done", "already-done")
    await assert_replaced(rig)
