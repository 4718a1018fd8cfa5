"""A server that is told to stop: what is under way is finished, nothing new is begun, and the status says so."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.demo.stage import Stage
from kioskd.gp.apdu import INS
from kioskd.under_way import UnderWay
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import CardInReader
from tests.service.supervised import Supervised

PATIENCE_S = 60.0


# --- counting -----------------------------------------------------------------------------------------------------


async def test_draining_waits_for_the_last_piece_of_work() -> None:
    work, said = UnderWay(), []
    work.on_change = lambda: said.append((work.draining, work.count))
    end = asyncio.Event()

    async def piece() -> None:
        with work.one():
            await end.wait()

    pieces = [asyncio.create_task(piece()) for _ in range(2)]
    await asyncio.sleep(0)
    draining = asyncio.create_task(work.drain(PATIENCE_S))
    await asyncio.sleep(0.05)
    assert not draining.done() and work.draining
    end.set()
    await asyncio.gather(*pieces)
    await asyncio.wait_for(draining, 5)
    assert said == [(False, 1), (False, 2), (True, 2), (True, 1), (True, 0)]


async def test_draining_is_bounded_and_with_nothing_under_way_it_is_over_at_once() -> None:
    await asyncio.wait_for(UnderWay().drain(PATIENCE_S), 5)
    work = UnderWay()
    with work.one():
        await asyncio.wait_for(work.drain(0.05), 5)
        assert work.count == 1


# --- the access server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with Stage(tmp_path_factory.mktemp("s"), rsa_bits=2048) as stage:
        stage.make_keys()
        yield stage


def issued(stage: Stage) -> VirtualCard:
    """A card that is due: issued, and then a replacement was armed."""
    card = stage.new_card()
    stage.start_terminal("station")
    assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued"
    stage.roles.stop("station")
    stage.kms("generate")
    stage.release("replace", generation=2)
    return card


def access(stage: Stage) -> Supervised:
    """The access server, under a manager."""
    folder = stage.folder / "under"
    folder.mkdir(exist_ok=True)
    return Supervised(folder, ["-m", "kioskd", "access", "serve", "--config", f"{stage.folder}/access.yaml"])


def held_at(hand: CardInReader, ins: int) -> tuple[threading.Event, threading.Event]:
    """Has the card wait when it has executed an instruction: it is there; it may go on."""
    there, go_on = threading.Event(), threading.Event()

    def look(command: bytes) -> None:
        if command[1] == ins and not there.is_set():
            there.set()
            go_on.wait(PATIENCE_S)

    hand.before_answer = look
    return there, go_on


def use_both_slots(config: Path) -> None:
    """Gives the kiosk both slots of the reader."""
    lines = [line for line in config.read_text().splitlines() if not line.startswith("reader:")]
    config.write_text("\n".join([*lines, "reader: {name_contains: 'Virtual PCD'}", ""]))


@pytest.mark.pcscd
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_access_server_that_is_told_to_stop_finishes_the_card_and_begins_no_other(stage: Stage) -> None:
    with access(stage) as server:
        server.wait_for_status("ready; terminals linked: 0; taps under way: 0")
        card = issued(stage)
        use_both_slots(stage.folder / "kiosk.yaml")
        stage.start_terminal("kiosk")
        first, second = stage.holder(card, "kiosk"), stage.holder(VirtualCard(), "station")
        there, go_on = held_at(first, INS.DELETE)
        first.insert()
        try:
            assert there.wait(PATIENCE_S)
            server.wait_for_status("ready; terminals linked: 1; taps under way: 1")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_status("draining; terminals linked: 1; taps under way: 1")
            second.insert()
            stage.roles.until(lambda: outcomes(stage).get("server-down") == 1, "it was not turned away", PATIENCE_S)
            assert server.process.poll() is None, "it waits for the first card"
            go_on.set()
            assert server.process.wait(PATIENCE_S) == 0
            stage.roles.until(lambda: len(outcomes(stage)) == 2, "the first tap did not end", PATIENCE_S)
            assert outcomes(stage) == {"server-down": 1, "done": 1}
        finally:
            go_on.set()
            first.pull()
            second.pull()
            stage.roles.stop("kiosk")


def outcomes(stage: Stage) -> dict[str, int]:
    """How the kiosk's taps have ended."""
    told: dict[str, int] = (stage.roles.status("kiosk") or {"outcomes": {}})["outcomes"]
    return told
