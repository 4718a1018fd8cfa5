"""Each process of the installation dies at each moment of a tap; the kiosk lives on and the card is finished."""

import threading
import time
from collections.abc import Callable

import pytest

from kioskd.kiosk.status_words import NOTHING, table
from kioskd.outcomes import outcome
from kioskd.virtual.vpcd import CardInReader
from tests.path.scene import AFTER, BEFORE, KRK, Scene

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

STEPS = ("SELECT", "CPLC", "66", "E0", "greeting", "authenticate", "delete", "put", "E0 with a MAC", "proof")
GREETING, AUTHENTICATE, DELETE, PUT = 4, 5, 6, 7
MOMENTS = (0, GREETING, AUTHENTICATE, DELETE, PUT, 9)


def at(step: int, act: Callable[[], object]) -> Callable[[bytes], None]:
    """Does something when the card has executed the step, before its answer leaves."""
    seen: list[bytes] = []

    def look(command: bytes) -> None:
        seen.append(command)
        if len(seen) == step + 1:
            act()

    return look


def keeps(hand: CardInReader, old: bool) -> None:
    """The card holds its old sets still, or has something that opens it."""
    assert KRK in hand.card.kvns
    assert not old or hand.card.kvns == BEFORE


@pytest.mark.parametrize("step", MOMENTS, ids=lambda step: STEPS[step])
def test_a_server_that_dies_in_a_tap_hears_later_how_it_went(scene: Scene, step: int) -> None:
    hand = scene.hand(scene.card())
    hand.before_answer = at(step, lambda: scene.stage.roles.kill("access"))
    tap = scene.tap(hand)
    if step <= GREETING:
        # A server that answered and then went is a lost link; one that is found gone is a server that is down.
        assert (tap["outcome"], tap["code"]) in (("link-lost", "K403"), ("server-down", "K400"))
        assert hand.card.kvns == BEFORE
        assert scene.status()["pending_reports"] == 0
    else:
        assert (tap["outcome"], tap["code"]) == ("ready-unconfirmed", "K101")
        assert hand.card.kvns == AFTER
        assert scene.status()["pending_reports"] == 1
        assert not scene.finished(hand.card)
    scene.stage.start_access()
    scene.until_linked()
    scene.until_settled()
    hand.before_answer = None
    if step > GREETING:
        assert scene.finished(hand.card), "the late report proves it"
    assert scene.tap(hand)["outcome"] == ("already-done" if step > GREETING else "done")
    assert scene.finished(hand.card)


@pytest.mark.parametrize("step", MOMENTS, ids=lambda step: STEPS[step])
def test_a_kiosk_that_dies_in_a_tap_finishes_the_card_when_it_is_back(scene: Scene, step: int) -> None:
    hand = scene.hand(scene.card())
    hand.before_answer = at(step, lambda: scene.stage.roles.kill("kiosk"))
    hand.insert()
    scene.until(lambda: scene.stage.roles.status("kiosk") is None, "the kiosk lives")
    keeps(hand, old=step < DELETE)
    hand.before_answer = None
    try:
        scene.stage.start_terminal("kiosk")  # the card has stayed in its reader
        scene.until_tapped("kiosk", 0)
    finally:
        hand.pull()
    tap = scene.status()["taps"][-1]
    assert (tap["outcome"], tap["code"]) == ("done", "K100")
    assert scene.finished(hand.card)
    scene.until_settled()


def test_a_kiosk_that_died_says_when_it_is_back_that_the_card_is_to_be_tapped_again(scene: Scene) -> None:
    hand = scene.hand(scene.card())
    hand.before_answer = at(DELETE, lambda: scene.stage.roles.kill("kiosk"))
    hand.insert()
    scene.until(lambda: scene.stage.roles.status("kiosk") is None, "the kiosk lives")
    hand.pull()
    hand.before_answer = None
    scene.stage.start_terminal("kiosk")
    scene.until_linked()
    scene.until_settled()
    told = scene.status()
    assert [(tap["outcome"], tap["code"]) for tap in told["taps"]] == [("kiosk-died", "K216")]
    assert told["outcomes"] == {}, "no tap has ended yet"
    assert table(told)[-1] == f"Next: {outcome('kiosk-died').advice}"
    assert scene.tap(hand)["outcome"] == "done"
    assert table(scene.status())[-1] == f"Next: {NOTHING}"
    assert scene.finished(hand.card)


@pytest.mark.parametrize("step", MOMENTS, ids=lambda step: STEPS[step])
def test_a_daemon_of_the_readers_that_dies_in_a_tap_is_named_and_the_card_is_finished_when_it_is_back(
    scene: Scene, step: int
) -> None:
    hand = scene.hand(scene.card())
    hand.before_answer = at(step, scene.stage.pcscd.kill)
    tap = scene.tap(hand)
    assert (tap["outcome"], tap["code"]) == ("pcscd-down", "K300")
    keeps(hand, old=step < DELETE)
    scene.until(lambda: scene.status()["pcscd"] == "down", "nobody noticed")
    assert scene.status()["readers"] == {}
    hand.before_answer = None
    scene.stage.pcscd.start()
    scene.until(lambda: bool(scene.status()["readers"]), "the reader is not found again")
    tap = scene.tap(hand)
    assert tap["outcome"] == "done"
    assert scene.finished(hand.card)
    scene.until_settled()


def test_a_daemon_of_the_readers_that_comes_after_the_kiosk_is_found(scene: Scene) -> None:
    scene.stage.roles.stop("kiosk")
    scene.stage.pcscd.stop()
    scene.stage.start_terminal("kiosk")
    scene.until(lambda: scene.status()["pcscd"] == "down", "nobody noticed")
    assert "screen: Out of service. Please use another kiosk.  [K300]" in scene.stage.roles.log("kiosk").read_text()
    time.sleep(0.5)
    assert scene.status()["outcomes"] == {}, "no tap, no outcome"
    scene.stage.pcscd.start()
    scene.until(lambda: scene.status()["pcscd"] == "up", "it is not found")
    hand = scene.hand(scene.card())
    assert scene.tap(hand)["outcome"] == "done"
    assert scene.finished(hand.card)


def test_without_a_server_a_tap_says_so_and_leaves_the_card(scene: Scene) -> None:
    hand = scene.hand(scene.card())
    scene.stage.roles.stop("access")
    try:
        scene.until(lambda: not scene.status()["link"]["connected"], "the link stays")
        before = hand.card.memory
        tap = scene.tap(hand)
    finally:
        scene.stage.start_access()
    assert (tap["outcome"], tap["code"]) == ("server-down", "K400")
    assert hand.card.memory == before
    scene.until_linked()
    assert scene.tap(hand)["outcome"] == "done"
    assert scene.finished(hand.card)


@pytest.mark.parametrize("step", [GREETING, PUT], ids=lambda step: STEPS[step])
def test_a_card_that_never_answers_is_a_hung_reader_until_it_is_taken_out(impatient: Scene, step: int) -> None:
    scene, moves = impatient, threading.Event()
    hand = scene.hand(scene.card())
    hand.before_answer = at(step, lambda: bool(moves.wait(20)))
    with scene.one_outcome() as told:
        began = time.monotonic()
        hand.insert()
        scene.until_tapped("kiosk", told["before"])
        took = time.monotonic() - began
    try:
        assert (told["tap"]["outcome"], told["tap"]["code"]) == ("reader-hung", "K302")
        assert 1.0 <= took < 3.0
        assert scene.status()["link"]["connected"], "all else goes on"
        keeps(hand, old=step < DELETE)
    finally:
        moves.set()
        hand.pull()
    hand.before_answer = None
    assert scene.tap(hand)["outcome"] == "done"
    assert scene.finished(hand.card)
