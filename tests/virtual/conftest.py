"""Cards in process, with and without a file."""

from pathlib import Path

import pytest

from kioskd.virtual.card import VirtualCard
from tests.virtual.host import issue


@pytest.fixture
def card() -> VirtualCard:
    """A card as it comes from the factory."""
    return VirtualCard()


@pytest.fixture
def issued(tmp_path: Path) -> VirtualCard:
    """A card with the OLD set and the KRK, its memory in `card.json`."""
    made = VirtualCard(tmp_path / "card.json")
    issue(made.transmit)
    made.reset()
    return made
