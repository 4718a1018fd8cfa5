"""`kioskd demo`, which `make demo` calls: one card's story on real parts, and the proof on the card itself."""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kioskd.demo.keep import keep_running
from kioskd.demo.proof import CardProof, prove, read_state
from kioskd.demo.screen import Screen
from kioskd.demo.softhsm import SoftHsm
from kioskd.demo.stage import Stage
from kioskd.errors import KioskError
from kioskd.rekey.records import CardState, MasterRef
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import CardInReader

CHAPTERS = 6


def main(argv: list[str]) -> int:
    """Tells the story; 0 if the proof holds."""
    parser = argparse.ArgumentParser("kioskd demo", description="one card's story on real parts")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end")
    parser.add_argument("--vault", choices=("softhsm2", "software"), default="softhsm2", help="where the keys live")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.ERROR)
    screen = Screen(CHAPTERS)
    folder = Path(tempfile.mkdtemp(prefix="kioskd-"))
    began = time.monotonic()
    try:
        hsm = SoftHsm.in_folder(folder / "hsm") if args.vault == "softhsm2" else None
        with Stage(folder, hsm=hsm) as stage:
            card = stage.new_card()
            holds = _tell(stage, screen, card)
            screen.line(f"The whole story took {time.monotonic() - began:.1f} s.")
            if args.keep:
                keep_running(stage, screen, card)
        return 0 if holds else 1
    except KioskError as wrong:
        print(f"The demo failed: {wrong}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(stage: Stage, screen: Screen, card: VirtualCard) -> bool:
    screen.chapter("The house is set up: pcscd with a virtual reader, certificates, keys")
    screen.step(f"pcscd (process {stage.pcscd.pid}) runs in a namespace of its own; nobody else sees it")
    stage.make_keys()
    screen.step("the key management server (KMS) made master generation 1 and the key pair of epoch 1;")
    screen.step("two of its three custodians, Alice and Bob, approved each step with a key of their own")
    if stage.hsm is not None:
        screen.step("each server's keys live in a SoftHSM2 token of its own: none of them can be read")
    screen.step("the access server imported what the KMS released to it: it can issue, not yet replace")
    for name, start in (("access server", stage.start_access), ("kiosk", lambda: stage.start_terminal("kiosk"))):
        start()
        screen.step(f"the {name} runs")

    screen.chapter("A card is issued at the station")
    stage.start_terminal("station")
    tap = stage.tap(stage.holder(card, "station"), "station")
    stage.roles.stop("station")
    screen.outcome(tap)
    screen.slots(card.kvns)

    screen.chapter("The master key leaks")
    screen.alarm("Somebody has published the master key of generation 1. It opens every card.")
    hand = stage.holder(card, "kiosk")
    tap = stage.tap(hand, "kiosk")
    screen.step("a tap now changes nothing, for the KMS has not released the replacement keys:")
    screen.outcome(tap)

    screen.chapter("The KMS releases generation 2, and with it the private key of epoch 1")
    stage.kms("generate")
    screen.quote(stage.release("replace", generation=2))

    screen.chapter("The cardholder taps at the kiosk")
    old = asyncio.run(_state_in_reader(stage, hand)).closed
    assert old is not None
    tap = stage.tap(hand, "kiosk")
    screen.outcome(tap)
    screen.timeline(tap)
    screen.slots(card.kvns)

    screen.chapter("The proof, on the card itself")
    proof = asyncio.run(_prove(stage, hand, old.master))
    return _show_proof(screen, proof, old.master, tap)


async def _state_in_reader(stage: Stage, hand: CardInReader) -> CardState:
    """The card's records; the kiosk is stopped meanwhile, so that this is no tap."""
    stage.roles.stop("kiosk")
    hand.insert()
    try:
        return await read_state(f"sqlite:///{stage.folder}/access.db", await _in_reader(stage))
    finally:
        hand.pull()
        await asyncio.to_thread(stage.start_terminal, "kiosk")


async def _prove(stage: Stage, hand: CardInReader, old: MasterRef) -> CardProof:
    stage.roles.stop("kiosk")
    hand.insert()
    try:
        reader = await _in_reader(stage)
        state = await read_state(f"sqlite:///{stage.folder}/access.db", reader)
        return await prove(stage.vault(), reader, state, old)
    finally:
        hand.pull()
        await asyncio.to_thread(stage.start_terminal, "kiosk")


async def _in_reader(stage: Stage) -> str:
    """The kiosk's reader, once the PC/SC daemon has noticed the card."""
    await asyncio.sleep(1.0)
    return stage.pcscd.slots[0].name


def _show_proof(screen: Screen, proof: CardProof, old: MasterRef, tap: dict[str, Any]) -> bool:
    closed, opened, krk = proof.sets
    screen.proof(closed.name, closed.opens, good=not closed.opens)
    screen.proof(opened.name, opened.opens, good=len(opened.opens) == 1 and old.kvn not in opened.opens)
    screen.proof(krk.name, krk.opens, good=len(krk.opens) == 1)
    holds = not closed.opens and len(opened.opens) == 1 and len(krk.opens) == 1 and tap["outcome"] == "done"
    screen.verdict(holds)
    return holds
