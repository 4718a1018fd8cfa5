"""A day at the issuing station: a thousand cards in one batch, pulled at every command, the station killed at times.

The result goes to standard output; a run by hand is kept in docs/results/.
"""

import time
from pathlib import Path

from kioskd.edges.batch_file import CardState
from kioskd.gp.apdu import INS
from tests.station.hands import Room, open_stage, tear_some, unissued

CARDS = 1000
KILLS = 4


def test_a_thousand_cards_are_issued_and_counted_once(root_only: None, tmp_path: Path) -> None:
    with open_stage(tmp_path / "s") as stage:
        cards = [stage.new_card(f"card-{number}") for number in range(CARDS)]
        torn = tear_some(cards)
        room = Room(stage, "thousand")
        room.waiting.extend(cards)
        room.twice = {id(card) for card in cards[1 : CARDS // 2 : 10]}
        again = len(room.twice)
        began = time.monotonic()
        room.start("--count", str(CARDS))
        for kill in range(1, KILLS + 1):
            room.work_and_kill(kill * CARDS // (KILLS + 1), INS.PUT_KEY if kill % 2 else INS.DELETE)
            before = room.batch()
            room.start()
            issued = [row.key for row in before.rows if row.state is CardState.ISSUED]
            assert [row.key for row in room.batch().rows if row.state is CardState.ISSUED] == issued
        room.work()
        assert room.exit_code() == 0
        took_s = time.monotonic() - began
        assert unissued(stage, cards) == []
        batch = room.batch()
        assert len(batch.rows) == batch.wanted == CARDS
        assert {row.state for row in batch.rows} == {CardState.ISSUED}
        report = stage.roles.run("station", "report", "--batch", str(stage.folder / "thousand.batch"), "--csv", "-")
        assert len(report.splitlines()) == CARDS + 1
    print(
        f"\n{CARDS} cards on 4 readers in {took_s:.0f} s: {60 * CARDS / took_s:.0f} cards a minute; "
        f"{room.tally.put_in} times a card was put in, {torn} pulls, {again} came again, {KILLS} kills of the station; "
        f"outcomes {room.tally.outcomes()}; the most tries of a card {max(row.tries for row in batch.rows)}"
    )
