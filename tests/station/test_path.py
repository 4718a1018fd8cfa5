"""Batches on real processes: cards in four readers of the real PC/SC daemon, pulled, put in again, counted once."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Self

import pytest

from kioskd.demo.stage import Stage
from kioskd.edges.batch_file import BatchContent, CardState
from kioskd.gp.apdu import INS
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import CardInReader
from tests.station.hands import Room, tear_some, unissued

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]


def new_cards(stage: Stage, name: str, count: int) -> list[VirtualCard]:
    """Cards as they come from the factory."""
    return [stage.new_card(f"{name}-{number}") for number in range(count)]


def all_counted_once(batch: BatchContent, count: int) -> None:
    """A row for each card, each of them issued."""
    assert len(batch.rows) == len({row.key for row in batch.rows}) == batch.wanted == count
    assert {row.state for row in batch.rows} == {CardState.ISSUED}
    assert all(row.begun and row.issued and not row.reason for row in batch.rows)


@pytest.mark.timeout(90)
def test_a_hundred_cards_on_four_readers_are_all_issued_and_counted_once(stage: Stage) -> None:
    cards = new_cards(stage, "hundred", 100)
    room = Room(stage, "hundred")
    torn = tear_some(cards)
    room.waiting.extend(cards)
    room.twice = {id(card) for card in cards[1:50:10]}
    room.start("--count", "100")
    began = time.monotonic()
    room.work()
    assert room.exit_code() == 0
    a_minute = 60 * len(cards) / (time.monotonic() - began)
    print(f"\n{len(cards)} cards, {room.tally.put_in} put in, {a_minute:.0f} cards a minute: {room.tally.outcomes()}")
    assert unissued(stage, cards) == []
    all_counted_once(room.batch(), 100)
    seen = room.tally.outcomes()
    assert seen["card-pulled"] + seen["card-pulled-in-doubt"] == torn == 20
    assert seen["already-issued"] == 5 and not room.twice, "five came again and were not counted again"
    assert Counter(row.reader for row in room.batch().rows).keys() == {slot.name for slot in stage.pcscd.readers}
    assert sum(row.tries for row in room.batch().rows) >= 100 + 5 + seen["card-pulled-in-doubt"]


@pytest.mark.timeout(90)
def test_a_station_that_is_killed_goes_on_at_the_same_count_and_loses_no_card(stage: Stage) -> None:
    cards = new_cards(stage, "killed", 24)
    room = Room(stage, "killed")
    tear_some(cards)
    room.waiting.extend(cards)
    room.start("--count", "24")
    for enough, ins in ((5, INS.PUT_KEY), (10, INS.DELETE), (16, INS.PUT_KEY)):
        room.work_and_kill(enough, ins)
        before = room.batch()
        issued = [row.key for row in before.rows if row.state is CardState.ISSUED]
        assert enough <= len(issued) < 24
        assert [row for row in before.rows if row.state is CardState.BEGUN], "cards were under way"
        room.start()  # no --count: it goes on
        after = room.batch()
        assert [row.key for row in after.rows if row.state is CardState.ISSUED] == issued
        assert not [row for row in after.rows if row.state is CardState.BEGUN], "what was under way is set aside"
        assert after.wanted == 24
    room.work()
    assert room.exit_code() == 0
    assert unissued(stage, cards) == []
    all_counted_once(room.batch(), 24)


def test_a_card_whose_verdict_was_heard_and_not_written_down_counts_when_it_comes_again(stage: Stage) -> None:
    first, second = new_cards(stage, "forgotten", 2)
    room = Room(stage, "forgotten")
    config = ["--config", str(stage.folder / "station.yaml"), "--batch", room.name]
    with (stage.folder / "log" / "station.log").open("ab") as log:
        command = [sys.executable, "-m", "tests.station.forgetful", "1", *config, "--count", "2"]
        died = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stage.roles._processes["station"] = died
    room.until_linked()
    room.waiting.append(first)
    room.work()
    assert died.wait(10) == -signal.SIGKILL
    assert unissued(stage, [first]) == [], "the card itself is issued"
    assert [row.state for row in room.batch().rows] == [CardState.BEGUN]
    room.start()
    assert [row.state for row in room.batch().rows] == [CardState.ASIDE]
    room.waiting.append(second)
    room.work()
    outcomes = [tap["outcome"] for tap in room.tally.taps]
    # The second card ends the station: whether its status was asked once more in between is chance.
    assert outcomes.count("issued") <= 1, "the first is not issued again"
    assert room.exit_code() == 0
    assert unissued(stage, [first, second]) == []
    all_counted_once(room.batch(), 2)


def test_a_card_that_another_batch_issued_is_set_aside_and_not_counted(stage: Stage) -> None:
    (card,) = new_cards(stage, "other", 1)
    for name in ("other-1", "other-2"):
        room = Room(stage, name)
        room.start("--count", "2")
        room.waiting.append(card)
        room.work()
        stage.roles.stop("station")
    (row,) = room.batch().rows
    assert (row.state, row.code, row.begun) == (CardState.ASIDE, "K210", 0)


def test_the_view_leads_through_a_batch_and_its_report_is_written(stage: Stage) -> None:
    (card,) = new_cards(stage, "view", 1)
    command = ["station", "--config", str(stage.folder / "station.yaml"), "--batch", "view", "--count", "1"]
    with Screen(command) as screen:
        screen.until("PUT THE NEXT CARD INTO READER 1")
        hand = CardInReader(card, lambda: stage.pcscd.connect_card(stage.pcscd.readers[2]))
        hand.insert()
        screen.until("THE ONE CARD IS ISSUED")
        hand.pull()
        screen.type("q")
        assert screen.exit_code() == 0
        assert "view: 1 of 1 issued, 0 set aside" in screen.text
    report = ["station", "report", "--config", str(stage.folder / "station.yaml"), "--batch", "view", "--json", "-"]
    told = json.loads(stage.roles.run(*report))
    assert (told["wanted"], told["issued"], told["cards"][0]["code"]) == (1, 1, "K104")
    assert "issued in" in (stage.folder / "view.log").read_text(), "the log went to a file, not over the view"


class Screen:
    """A terminal window of 100 by 40 with `kioskd` in it."""

    def __init__(self, args: list[str]) -> None:
        self.text = ""
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kioskd", *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        self._ours = ours

    def until(self, words: str, patience_s: float = 20.0) -> None:
        """Waits until these words were drawn."""
        end = time.monotonic() + patience_s
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} is not in {self.text[-2000:]!r}"
            self._look()

    def type(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._ours, keys.encode())

    def exit_code(self, patience_s: float = 10.0) -> int:
        """How it ends."""
        end = time.monotonic() + patience_s
        while self._process.poll() is None:
            assert time.monotonic() < end, "the view does not end"
            self._look()
        self._look()
        return self._process.wait()

    def _look(self) -> None:
        if select.select([self._ours], [], [], 0.1)[0]:
            try:
                self.text += os.read(self._ours, 1 << 16).decode(errors="replace")
            except OSError:  # the other end is closed
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
