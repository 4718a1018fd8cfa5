"""The real stack under every kill, cut and pull that its own boundaries give: one house, each case its own card.

What is done is kept in $PIECES: stopped at any time, the next run goes on from there. The tables go to standard output;
a run by hand is kept in docs/results/.
"""

import os
import time
from itertools import chain
from pathlib import Path

from tests.stack.arming import run_arming
from tests.stack.campaign import Campaign, Kept, assert_good, quick, slow
from tests.stack.house import open_house
from tests.stack.play import Result
from tests.stack.tables import page, uncovered

AT_LEAST = 500
ELSEWHERE = {
    "journal.alive by terminal.run._parts",  # handed on: the watchdog's question is where it is killed
    "journal.cryptograms by access.campaign_cli._cryptograms",  # a command after a restore; it only reads
    "journal.figures by kiosk.stopped._read",  # `kioskctl status` while the kiosk is stopped; it only reads
    "journal.pending by kiosk.stopped._read",
    "journal.pending by terminal.begun.cards_begun",  # once at the start of a terminal; it only reads
    "store.records by access.taps._differs",  # a card found by another of its ids than is on record: it only reads
    "store.run by access.campaigns.in_store",  # killed in the second part
    "store.run by access.enrolment.Registrar._write",  # certificates of terminals: no card is concerned
    "store.run by access.enrolment.Registrar.renew",
}
"""Calls of a journal or a store that no tap makes."""


def test_whatever_dies_wherever_the_next_taps_finish_the_card(root_only: None, tmp_path: Path) -> None:
    kept = _kept("")
    before, began = len(kept.results), time.monotonic()
    with open_house(tmp_path / "s") as house:
        campaign = Campaign(house, kept)
        for one in chain(campaign.run(choose=quick), campaign.run(choose=slow)):
            print(_line(one), flush=True)
    _tell(kept, before, began)
    assert uncovered(kept.results.values()) <= ELSEWHERE
    assert sum(one.struck for one in kept.results.values()) >= AT_LEAST


def test_whatever_dies_while_keys_are_released_the_next_command_brings_them(root_only: None, tmp_path: Path) -> None:
    kept = _kept(".arming")
    before, began = len(kept.results), time.monotonic()
    with open_house(tmp_path / "s") as house:
        for one in run_arming(house, kept):
            print(_line(one), flush=True)
    _tell(kept, before, began)


def _kept(which: str) -> Kept:
    pieces = os.environ.get("PIECES")
    return Kept(Path(pieces + which) if pieces else None)


def _line(one: Result) -> str:
    return f"{one.s:6.1f} s  {'; '.join(one.wrong) or 'finished'}  {one.case}"


def _tell(kept: Kept, before: int, began: float) -> None:
    """The tables; fails if anything went wrong."""
    print(f"\n{len(kept.results) - before} cases in {time.monotonic() - began:.0f} s; with those of before:\n")
    print(page(kept.results.values()))
    assert_good(kept.results.values())
