"""A card's commands are recorded without their data, and a recorded card is played to the engine again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.edges.trace_file import RecordedCard
from kioskd.errors import BadConfiguration, Malformed
from kioskd.rekey.trace import TracedCommand, traced
from kioskd.virtual.replay import ReplayDiffers, ReplayedCard
from tests.rekey.proofs import assert_replaced
from tests.rig import Rig

MakeRig = Callable[[], Rig]

commands = st.builds(
    TracedCommand,
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.integers(0, 256),
    st.integers(0, 256),
    st.integers(0, 0xFFFF),
    st.floats(0, 1e6),
)


@given(commands)
def test_a_traced_command_is_read_as_it_was_written(command: TracedCommand) -> None:
    assert TracedCommand.decode(command.encode()) == command


@given(st.text(max_size=60))
def test_a_garbled_line_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        TracedCommand.decode(line)


@given(st.binary(max_size=300), st.none() | st.binary(max_size=300))
def test_no_byte_of_data_is_kept(raw: bytes, answer: bytes | None) -> None:
    kept = traced(raw, answer, 1.5)
    assert kept.header == raw[:4].ljust(4, b"\x00")
    numbers = (kept.length, kept.le, kept.answered, kept.sw, kept.ms)
    assert max(numbers) <= 0xFFFF


async def recorded(rig: Rig, path: Path) -> list[TracedCommand]:
    """A whole tap of this card, recorded."""

    rig.hold = lambda contact: RecordedCard(contact, path)
    assert await rig.tap() == "done"
    rig.hold = lambda contact: contact
    return [TracedCommand.decode(line) for line in path.read_text().splitlines()]


def player(rig: Rig, trace: list[TracedCommand]) -> Callable[[Any], Any]:
    """Puts the recorded card in the place of the rig's."""
    return lambda _: ReplayedCard(rig.card, trace)


async def test_a_tap_is_recorded_and_played_again(issued_card: MakeRig, tmp_path: Path) -> None:
    trace = await recorded(issued_card(), tmp_path / "trace")
    assert [f"{one.header[1]:02X}" for one in trace] == ["A4", "CA", "CA", "CA", "50", "82", "E4", "D8", "CA", "50"]
    assert {one.sw for one in trace} == {0x9000}
    again = issued_card()
    again.hold = player(again, trace)
    assert await again.tap() == "done"
    await assert_replaced(again)


async def test_a_recorded_card_that_refused_put_key_is_refused_again_and_finished_later(
    issued_card: MakeRig, tmp_path: Path
) -> None:
    trace = await recorded(issued_card(), tmp_path / "trace")
    refused = [
        TracedCommand(one.header, one.length, one.le, 0, 0x6A80, one.ms) if one.header[1] == 0xD8 else one
        for one in trace
    ]
    rig = issued_card()
    rig.hold = player(rig, refused[: 1 + [one.sw for one in refused].index(0x6A80)])
    with pytest.raises(ReplayDiffers, match="the record ends"):
        await replayed(rig)
    rig.hold = lambda contact: contact
    assert await rig.tap() == "done"
    await assert_replaced(rig)


async def replayed(rig: Rig) -> None:
    """A tap whose replay may end: the rig names the error's outcome, the player raised it."""
    seen: list[ReplayDiffers] = []
    hold = rig.hold

    class Watched:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def transmit(self, command: bytes) -> bytes | None:
            try:
                answer: bytes | None = await self.inner.transmit(command)
            except ReplayDiffers as differs:
                seen.append(differs)
                raise
            return answer

    rig.hold = lambda contact: Watched(hold(contact))
    await rig.tap()
    for one in seen:
        raise one


async def test_another_conversation_than_the_recorded_one_is_noticed(issued_card: MakeRig, tmp_path: Path) -> None:
    trace = await recorded(issued_card(), tmp_path / "trace")
    rig = issued_card()
    rig.hold = player(rig, [*trace[:3], trace[4]])
    with pytest.raises(ReplayDiffers, match="command 4: 80CA00E0 with 0 bytes, recorded was 80503E00 with 8"):
        await replayed(rig)


def test_a_trace_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    with pytest.raises(BadConfiguration, match="the trace cannot be written"):
        RecordedCard(None, tmp_path / "trace")  # type: ignore[arg-type]
