"""A trace is a convenience: what cannot be written down must not cost a card."""

import logging
from pathlib import Path

import pytest

from kioskd.edges.trace_file import RecordingReaders
from kioskd.gp.isd import get_data
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.reader import VirtualReaders

READ = get_data(0xE0).encode()
READER = "Virtual reader"


def readers_with_a_card() -> VirtualReaders:
    made = VirtualReaders()
    made.insert(READER, VirtualCard())
    return made


async def test_each_command_is_a_line(tmp_path: Path) -> None:
    card = await RecordingReaders(readers_with_a_card(), tmp_path / "trace").connect(READER)
    for _ in range(3):
        assert (await card.transmit(READ) or b"").endswith(b"\x90\x00")
    await card.close()
    assert len((tmp_path / "trace").read_text().splitlines()) == 3


async def test_a_trace_on_a_full_disk_does_not_cost_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    readers = readers_with_a_card()
    card = await RecordingReaders(readers, Path("/dev/full")).connect(READER)
    for _ in range(2):
        assert (await card.transmit(READ) or b"").endswith(b"\x90\x00")
    await card.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once"
    assert "No space left" in caplog.text
    again = await readers.connect(READER)
    await again.close()


async def test_a_trace_that_cannot_be_opened_does_not_keep_the_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    readers = readers_with_a_card()
    recording = RecordingReaders(readers, tmp_path / "absent" / "trace")
    for _ in range(2):
        card = await recording.connect(READER)
        assert (await card.transmit(READ) or b"").endswith(b"\x90\x00")
        await card.close()
    assert "absent/trace: the trace cannot be written: No such file" in caplog.text
