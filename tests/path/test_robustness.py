"""What must not hurt the daemon: strange answers of a card, two readers at once, a server that falls silent."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from kioskd.terminal.uplink import ANSWER_S
from kioskd.virtual.card import VirtualCard
from tests.between import Between
from tests.path.scene import AFTER, BEFORE, KRK, Scene, configured
from tests.path.test_outages import AUTHENTICATE, DELETE, GREETING, PUT, STEPS, at
from tests.soak.crowd import Crowd
from tests.soak.samples import process

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

SELECT, CPLC, CARD_DATA, KEY_INFORMATION, PROOF = 0, 1, 2, 3, 9
NESTED = b"\x30\x80" * 100 + b"\x90\x00"
OVER_LONG = bytes.fromhex("9F7F84FFFFFFFF") + bytes(40) + b"\x90\x00"
GARBAGE = bytes(range(7, 207)) + b"\x90\x00"


@dataclass
class Strange(Between):
    """A good card but for one answer, which something on the way replaces; it counts the commands that it got."""

    step: int = -1
    says: bytes = b""
    got: list[bytes] = field(default_factory=list)

    def transmit(self, raw: bytes) -> bytes:
        """The card's answer, or the strange one."""
        self.got.append(raw)
        answer = self.card.transmit(raw)
        return self.says if len(self.got) == self.step + 1 else answer


def swapped(scene: Scene, card: VirtualCard, step: int, says: bytes) -> str:
    """The outcome of a tap in which one answer is another."""
    outcome: str = scene.tap(scene.hand(cast(VirtualCard, Strange(card, step, says))))["outcome"]
    return outcome


@pytest.mark.parametrize("step", [SELECT, GREETING, AUTHENTICATE, DELETE, PUT, PROOF], ids=lambda step: STEPS[step])
def test_an_answer_of_one_byte_is_a_card_that_was_torn(scene: Scene, step: int) -> None:
    card = scene.card()
    outcome = swapped(scene, card, step, b"\x90")
    # A card that is only being read, and that has never left the reader, is read once more.
    assert outcome == {SELECT: "done", GREETING: "card-pulled"}.get(step, "card-pulled-in-doubt")
    assert KRK in card.kvns, "something opens it"
    if outcome != "done":
        assert scene.tap(scene.hand(card))["outcome"] == "done"
    assert scene.finished(card)
    scene.until_settled()


@pytest.mark.parametrize("step", [SELECT, GREETING, PUT], ids=lambda step: STEPS[step])
def test_an_answer_without_a_byte_never_comes_out_of_the_driver_and_is_a_hung_reader(
    impatient: Scene, step: int
) -> None:
    card = impatient.card()
    assert swapped(impatient, card, step, b"") == "reader-hung"
    assert KRK in card.kvns, "something opens it"
    assert impatient.tap(impatient.hand(card))["outcome"] == "done"
    assert impatient.finished(card)


@pytest.mark.parametrize(
    ("step", "says", "outcomes"),
    [
        (SELECT, GARBAGE, {"done"}),
        (CPLC, GARBAGE, {"no-card-id", "unknown-card"}),
        (CPLC, OVER_LONG, {"no-card-id", "unknown-card"}),
        (CPLC, NESTED, {"no-card-id", "unknown-card"}),
        (CARD_DATA, NESTED, {"done"}),
        (KEY_INFORMATION, OVER_LONG, {"done"}),
        (KEY_INFORMATION, NESTED, {"done"}),
        (GREETING, GARBAGE, {"scp-unsupported"}),
        (GREETING, NESTED, {"scp-unsupported"}),
    ],
)
def test_garbage_and_strange_structures_before_the_session_leave_the_card_or_are_hearsay(
    scene: Scene, step: int, says: bytes, outcomes: set[str]
) -> None:
    card = scene.card()
    outcome = swapped(scene, card, step, says)
    assert outcome in outcomes
    if outcome != "done":
        assert card.kvns == BEFORE
        assert scene.tap(scene.hand(card))["outcome"] == "done"
    assert scene.finished(card)


@pytest.mark.parametrize("step", [DELETE, PUT, 8, PROOF], ids=lambda step: STEPS[step])
def test_garbage_inside_the_session_proves_nothing_and_the_card_is_continued(scene: Scene, step: int) -> None:
    card = scene.card()
    outcome = swapped(scene, card, step, GARBAGE)
    assert outcome in ("done", "not-finished"), "a second pass may finish it in the same tap"
    assert KRK in card.kvns
    if outcome != "done":
        assert scene.tap(scene.hand(card))["outcome"] == "done"
    assert scene.finished(card)


# --- two readers ------------------------------------------------------------------------------------------------------


def test_a_card_in_another_reader_gets_no_command_and_disturbs_nobody(scene: Scene) -> None:
    other = Strange(scene.card())
    bystander = scene.hand(cast(VirtualCard, other), "station")
    bystander.insert()
    try:
        hand = scene.hand(scene.card())
        assert scene.tap(hand)["outcome"] == "done"
        assert scene.finished(hand.card)
    finally:
        bystander.pull()
    assert other.got == []
    assert other.card.kvns == BEFORE
    scene.issued.append(other.card)


def test_two_readers_work_at_once_a_replacement_beside_an_issuance(scene: Scene) -> None:
    """The KMS makes another epoch, so that cards can be issued beside the campaign."""
    stage = scene.stage
    stage.kms("epoch", "--rsa-bits", "2048")
    stage.release("issue", generation=2, epoch=2)
    stage.start_terminal("station")
    try:
        blank = stage.new_card("blank")
        due = scene.card()
        both_at_once = threading.Barrier(2)
        at_station, at_kiosk = scene.hand(blank, "station"), scene.hand(due)
        for hand in (at_station, at_kiosk):
            hand.before_answer = at(GREETING, lambda: both_at_once.wait(10) and None)
        before = {name: scene.status(name) for name in ("kiosk", "station")}
        for hand in (at_station, at_kiosk):
            hand.insert()
        for name in ("kiosk", "station"):
            scene.until_tapped(name, sum(before[name]["outcomes"].values()))
        for hand in (at_station, at_kiosk):
            hand.pull()
        assert scene.status("station")["taps"][-1]["outcome"] == "issued"
        assert scene.status()["taps"][-1]["outcome"] == "done"
        assert scene.finished(due)
        assert blank.kvns == AFTER
    finally:
        stage.roles.stop("station")


# --- many taps --------------------------------------------------------------------------------------------------------

TAPS, WARM = 32, 8


@pytest.fixture
def both_slots(scene: Scene) -> Iterator[Scene]:
    """The scene with a kiosk that takes cards in both slots of the reader."""
    with configured(scene, f"'{scene.stage.pcscd.slots[0].name}'", "'Virtual PCD'"):
        yield scene


def held(scene: Scene) -> dict[str, float]:
    """How many descriptors and threads kiosk, access server and pcscd have."""
    pids = {"kiosk": scene.stage.roles.pid("kiosk"), "access": scene.stage.roles.pid("access")}
    told = [process(name, pid) for name, pid in {**pids, "pcscd": scene.stage.pcscd.pid}.items()]
    return {name: count for one in told for name, count in one.items() if name.endswith(("descriptors", "threads"))}


def test_taps_of_any_outcome_leave_no_descriptor_and_no_thread_behind(both_slots: Scene) -> None:
    crowd = Crowd(both_slots.stage, [both_slots.card() for _ in range(4)], pulled=0.2)
    crowd.work(WARM)
    before = held(both_slots)
    crowd.work(TAPS)

    def as_before() -> bool:
        return all(count < before[name] + (TAPS - WARM) / 3 for name, count in held(both_slots).items())

    both_slots.until(as_before, f"{crowd.outcomes}: before {before}, after {held(both_slots)}")
    assert crowd.outcomes["already-done"] > 0 and crowd.outcomes["done"] > 0, crowd.outcomes
    crowd.finish()
    assert crowd.unfinished() == []
    both_slots.until_settled()


# --- a server that falls silent ---------------------------------------------------------------------------------------


@pytest.fixture
def silent(scene: Scene) -> Iterator[Scene]:
    """A scene whose server, however a test ends, goes on."""
    yield scene
    os.kill(scene.stage.roles.pid("access"), signal.SIGCONT)
    scene.until_linked()


def stop(scene: Scene) -> None:
    """The server stands still, its connections stay: a half-open link."""
    os.kill(scene.stage.roles.pid("access"), signal.SIGSTOP)


@pytest.mark.parametrize("step", [SELECT, GREETING, PROOF], ids=lambda step: STEPS[step])
def test_a_half_open_link_ends_the_tap_in_bounded_time_and_the_card_is_continued(silent: Scene, step: int) -> None:
    hand = silent.hand(silent.card())
    hand.before_answer = at(step, lambda: stop(silent))
    began = time.monotonic()
    tap = silent.tap(hand)
    assert time.monotonic() - began < ANSWER_S + 5
    if step <= GREETING:
        assert tap["outcome"] == "link-lost"
        assert hand.card.kvns == BEFORE
    else:
        assert tap["outcome"] == "ready-unconfirmed"
        assert hand.card.kvns == AFTER
    os.kill(silent.stage.roles.pid("access"), signal.SIGCONT)
    silent.until_linked()
    silent.until_settled()
    hand.before_answer = None
    assert silent.tap(hand)["outcome"] == ("done" if step <= GREETING else "already-done")
    assert silent.finished(hand.card)


def test_a_tap_on_a_link_that_is_half_open_already_leaves_the_card(silent: Scene) -> None:
    stop(silent)
    hand = silent.hand(silent.card())
    tap = silent.tap(hand)
    assert tap["outcome"] in ("link-lost", "server-down")
    assert hand.card.kvns == BEFORE
    os.kill(silent.stage.roles.pid("access"), signal.SIGCONT)
    silent.until_linked()
    assert silent.tap(hand)["outcome"] == "done"
    assert silent.finished(hand.card)
