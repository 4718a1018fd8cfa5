"""Taps on real processes: what a card gets, what it costs, and every card that is not as it should be."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.life_cycle import LifeCycle
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.card_memory import CardMemory
from kioskd.virtual.card_options import CardOptions
from tests.path.scene import AFTER, BEFORE, KRK, Scene, when_the_card_gets

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

STEPS = (
    *("SELECT", "GET DATA 9F7F", "GET DATA 0066", "GET DATA 00E0"),
    *("INITIALIZE UPDATE 3E", "EXTERNAL AUTHENTICATE", "DELETE", "PUT KEY", "GET DATA 00E0", "INITIALIZE UPDATE 32"),
)
"""Every command that a tap sends to the card, in order."""

FIRST_CHANGE = STEPS.index("DELETE")
SCRIPT_LEFT = STEPS.index("EXTERNAL AUTHENTICATE")
"""From here on the server has an intent on record: whatever a terminal says, the case is open."""


def names(tap: dict[str, Any]) -> list[str]:
    """The timeline's entries."""
    return [moment["what"] for moment in tap["moments"]]


def test_a_tap_replaces_the_master_set_with_two_round_trips_and_one_to_report(scene: Scene) -> None:
    card = scene.card()
    tap = scene.tap(scene.hand(card))
    assert (tap["outcome"], tap["code"]) == ("done", "K100")
    assert scene.finished(card)
    told = names(tap)
    last = max(at for at, name in enumerate(told) if name.startswith(STEPS[-1][:17]))
    trips = [at for at, name in enumerate(told) if name == "round trip"]
    assert len([at for at in trips if at < last]) == 2
    assert len([at for at in trips if at > last]) == 1
    commands = [name for name in told if not name.startswith(("connect", "round", "journal"))]
    assert [name.startswith(step) for name, step in zip(commands, STEPS, strict=True)] == [True] * len(STEPS)
    assert told.index("journal: note") == told.index("DELETE 0000 9000") - 1, "written down before it is done"


@contextmanager
def counted(scene: Scene, notes: Path) -> Iterator[None]:
    """The access server with a note of every message, in place of the scene's own."""
    scene.stage.roles.stop("access")
    command = ["-m", "tests.path.counting_access", str(notes), "serve", "--config", f"{scene.stage.folder}/access.yaml"]
    with (scene.stage.folder / "log" / "counting.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        scene.until_linked()
        yield
    finally:
        server.terminate()
        server.wait(10)
        scene.stage.start_access()
        scene.until_linked()


def test_the_wire_carries_seven_messages_a_tap(scene: Scene, tmp_path: Path) -> None:
    with counted(scene, tmp_path / "notes"):
        tap = scene.tap(scene.hand(scene.card()))
        scene.until_settled()
    assert tap["outcome"] == "done"
    crossed = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    mine = [f"{way} {kind}" for way, kind, *of in crossed if of == [tap["tap"]]]
    assert mine[:4] == ["< Tap", "> ScriptMessage", "< ReportMessage", "> ScriptMessage"]  # the card is done
    assert mine[4] == "< ReportMessage" and sorted(mine[5:]) == ["> Ack", "> Verdict"]  # one to report
    assert [f"{way} {kind}" for way, kind, *of in crossed if not of] == ["< Hello", "> Welcome"]


# --- cards that are not as they should be -----------------------------------------------------------------------------


def test_a_card_that_is_up_to_date_is_told_so(scene: Scene) -> None:
    hand = scene.hand(scene.card())
    assert scene.tap(hand)["outcome"] == "done"
    before = hand.card.memory
    tap = scene.tap(hand)
    assert (tap["outcome"], tap["code"]) == ("already-done", "K102")
    assert hand.card.kvns == AFTER and hand.card.memory.life_cycle == before.life_cycle


def locked(card: VirtualCard) -> CardMemory:
    """CARD_LOCKED."""
    return replace(card.memory, life_cycle=LifeCycle.CARD_LOCKED)


def terminated(card: VirtualCard) -> CardMemory:
    """TERMINATED."""
    return replace(card.memory, life_cycle=LifeCycle.TERMINATED)


def blocked(card: VirtualCard) -> CardMemory:
    """The replacement key set has no tries left."""
    krk = card.memory.at(KRK)
    assert krk is not None
    return card.memory.having(replace(krk, tries=0))


def forged(card: VirtualCard) -> CardMemory:
    """Another key stands where the replacement key set should be."""
    krk = card.memory.at(KRK)
    assert krk is not None
    return card.memory.having(replace(krk, enc=bytes(16), mac=bytes(16), dek=bytes(16)))


@pytest.mark.parametrize(
    ("change", "outcome", "code"),
    [
        (locked, "card-locked", "K204"),
        (terminated, "card-locked", "K204"),
        (blocked, "card-locked", "K204"),
        (forged, "wrong-cryptogram", "K206"),
    ],
)
def test_a_card_that_cannot_be_opened_is_left_as_it_was(
    scene: Scene, change: Callable[[VirtualCard], CardMemory], outcome: str, code: str
) -> None:
    card = scene.card()
    good, card.memory = card.memory, change(card)
    bad = card.memory
    tap = scene.tap(scene.hand(card))
    assert (tap["outcome"], tap["code"]) == (outcome, code)
    assert not [name for name in names(tap) if name.startswith(("EXTERNAL", "DELETE", "PUT"))]
    assert keys(card.memory) == keys(bad), "no try was spent"
    assert scene.status()["pending_reports"] == 0
    card.memory = good
    assert scene.tap(scene.hand(card))["outcome"] == "done"


def keys(memory: CardMemory) -> Any:
    """Life cycle and key sets, without the counters of greetings."""
    return memory.life_cycle, [replace(one, sequence=0) for one in memory.sets]


@pytest.mark.parametrize(
    ("options", "outcome", "code"),
    [
        (CardOptions(serial=b"\xde\xad\xbe\xef"), "unknown-card", "K203"),
        (CardOptions(globalplatform=False), "not-globalplatform", "K202"),
        (CardOptions(aid=bytes.fromhex("A000000003000000")), "not-globalplatform", "K202"),
        (CardOptions(serial=bytes(4), cplc=False, iin=b"", cin=bytes(4), kdd=bytes(10)), "no-card-id", "K205"),
    ],
    ids=["not ours", "not GlobalPlatform", "another application", "no id"],
)
def test_a_card_that_is_not_ours_is_left_as_it_was(scene: Scene, options: CardOptions, outcome: str, code: str) -> None:
    card = VirtualCard(options=options)
    before = card.memory
    tap = scene.tap(scene.hand(card))
    assert (tap["outcome"], tap["code"]) == (outcome, code)
    assert card.memory == before
    assert scene.status()["pending_reports"] == 0


# --- cards that are pulled --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", list(Tear))
@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda at: STEPS[at])
def test_a_card_pulled_at_any_step_is_finished_by_the_next_tap(scene: Scene, step: int, when: Tear) -> None:
    card = scene.card()
    card.tear(when, None, step)
    tap = scene.tap(scene.hand(card))
    changed = step > FIRST_CHANGE or (step == FIRST_CHANGE and when is Tear.AFTER)
    assert (tap["outcome"], tap["code"]) == (
        ("card-pulled-in-doubt", "K201") if step >= SCRIPT_LEFT else ("card-pulled", "K200")
    )
    assert len([name for name in names(tap) if name.endswith(" torn")]) == 1
    assert (card.kvns != BEFORE) is changed
    assert KRK in card.kvns, "something opens it"
    assert scene.tap(scene.hand(card))["outcome"] == "done"
    assert scene.finished(card)
    scene.until_settled()


def test_another_card_that_is_put_in_at_once_is_not_taken_for_the_one_that_was_pulled(scene: Scene) -> None:
    first, second = scene.card(), scene.card()
    hand, other = scene.hand(first), scene.hand(second)
    before = scene.status()
    hand.before_answer = when_the_card_gets(INS.DELETE, hand.pull)
    hand.insert()
    scene.until(lambda: not hand.inserted, "the card was not pulled")
    other.insert()  # without the gap that the daemon needs to notice
    try:
        scene.until(lambda: scene.status()["under_way"] == 0 and settled(scene, before), "the taps do not end")
    finally:
        other.pull()
    told = scene.status()
    assert told["pid"] == before["pid"]
    new = [tap["outcome"] for tap in told["taps"] if tap not in before["taps"]]
    assert new[0] == "card-pulled-in-doubt"
    assert first.kvns == frozenset({KRK}) and second.kvns in (BEFORE, AFTER)
    assert set(new[1:]) <= {"done"}
    for card in (first, second):
        assert scene.tap(scene.hand(card))["outcome"] in ("done", "already-done")
        assert scene.finished(card)


def settled(scene: Scene, before: dict[str, Any]) -> bool:
    """Whether at least one tap has ended and nothing has moved for a poll of the reader's."""
    first = scene.status()["outcomes"]
    time.sleep(0.8)
    return bool(first != before["outcomes"] and scene.status()["outcomes"] == first)
