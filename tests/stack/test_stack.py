"""Real processes die at their own boundaries in a tap, and the next taps finish the card: a part of the nightly run."""

import os
from collections.abc import Iterator

import pytest

from tests.stack.arming import run_arming
from tests.stack.campaign import Campaign, Kept, assert_good
from tests.stack.cases import Case, Kind
from tests.stack.house import House, open_house

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The installation that all cases share."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with open_house(tmp_path_factory.mktemp("k") / "s") as opened:
        yield opened


def some(cases: list[Case]) -> list[Case]:
    """The kills at what is written, and one of each other kind."""
    killed = [
        one for one in cases if one.kind in (Kind.TERMINAL_KILLED, Kind.SERVER_KILLED) and "uncommitted" in one.at
    ]
    others = {one.kind: one for one in cases if one.kind is not Kind.LINK_SILENT}
    return [*killed, *(one for one in others.values() if one not in killed)]


def test_whatever_dies_where_something_is_written_the_next_taps_finish_the_card(house: House) -> None:
    results = list(Campaign(house).run(["replace"], some))
    assert_good(results)
    assert len(results) >= 10


def test_a_server_that_is_killed_while_keys_are_released_brings_them_when_it_is_asked_again(house: House) -> None:
    results = list(run_arming(house, Kept(), lambda cases: cases[12::25]))
    assert_good(results)
    assert len(results) >= 3
