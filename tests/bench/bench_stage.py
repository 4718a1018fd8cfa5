"""An installation on which taps and floors are measured, one after the other."""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kioskd.demo.softhsm import SoftHsm
from kioskd.demo.stage import START_S, Stage
from kioskd.edges.tls import server_context
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import CardInReader, Pace
from tests.bench.floor import floor_card, serve_echo

ANSWER_S = 30.0
QUIET_S = 0.15  # after a tap: what still runs then is not of the tap


@dataclass(frozen=True, slots=True)
class TapFigures:
    """One tap's milliseconds: as a whole, at the terminal's parts, at the server's parts."""

    ms: float
    moments: tuple[tuple[str, float], ...]
    trips: tuple[tuple[int, int], ...]  # bytes up and down
    commits: int
    parts: dict[str, float]


@dataclass(slots=True)
class BenchStage:
    """A stage whose access server has a stop-watch, issued cards, and a floor process with a card of its own."""

    folder: Path
    cards: int
    p256: bool = False
    hsm: SoftHsm | None = None
    stage: Stage = field(init=False)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _access: subprocess.Popen[str] = field(init=False)
    _floor: subprocess.Popen[str] = field(init=False)
    _issued: list[VirtualCard] = field(init=False, default_factory=list)
    _pace: Pace = field(init=False, default_factory=Pace)
    _floor_hand: CardInReader = field(init=False)
    _generation: int = field(init=False, default=1)

    def __enter__(self) -> Self:
        try:
            self._set_up()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        stage = self.stage = self._stack.enter_context(Stage(self.folder / "stage", p256=self.p256, hsm=self.hsm))
        stage.make_keys()
        self._access = self._start("tests.bench.watched_access", "serve", "--config", f"{stage.folder}/access.yaml")
        stage.roles.until(lambda: stage.roles.status("access") is not None, "no access server", START_S)
        stage.start_terminal("kiosk")
        stage.start_terminal("station")
        for number in range(self.cards):
            card = stage.new_card(f"card-{number}")
            issued = stage.tap(stage.holder(card, "station"), "station")
            assert issued["outcome"] == "issued", issued
            _line(self._access)
            self._issued.append(card)
        stage.roles.stop("station")
        self._floor_hand = stage.holder(floor_card(stage.folder / "floor.json"), "station")
        tls = stage.folder / "tls"
        echo = serve_echo(server_context(stage.folder / "ca" / "ca.crt", *sorted(tls.glob("access.demo.*"))))
        self._floor = self._start("tests.bench.floor", str(stage.folder), stage.pcscd.slots[1].name, str(echo))
        assert _line(self._floor) == "ready"

    def _start(self, module: str, *args: str) -> "subprocess.Popen[str]":
        log = self._stack.enter_context((self.stage.folder / "log" / f"{module}.log").open("w"))
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            stdin=pipe,
            stdout=pipe,
            stderr=log,
            text=True,
            env={**os.environ, **self.stage.pcscd.environment},
        )
        self._stack.callback(_end, process)
        return process

    def release(self, pace: Pace) -> None:
        """Every card is due the next generation; cards and floor take their time from now on as `pace` says."""
        self._pace = self._floor_hand.pace = pace
        self._generation += 1
        self.stage.kms("generate")
        self.stage.release("replace", self._generation)
        self.stage.roles.status("access")  # the server has read its vault's new content

    def tap(self, number: int) -> TapFigures:
        """Taps a card that is due."""
        hand = self.stage.holder(self._issued[number], "kiosk", self._pace)
        hand.insert()
        server = json.loads(_line(self._access))
        time.sleep(QUIET_S)
        hand.pull()
        tap = (self.stage.roles.status("kiosk") or {})["taps"][-1]
        assert tap["outcome"] == "done", tap
        return _figures(tap, server)

    def floor(self, like: TapFigures) -> dict[str, float]:
        """The floor of such a tap: each part's milliseconds."""
        assert self._floor.stdin is not None
        self._floor.stdin.write(json.dumps({"trips": like.trips, "commits": like.commits}) + "\n")
        self._floor.stdin.flush()
        self._floor_hand.insert()
        parts: dict[str, float] = json.loads(_line(self._floor))
        time.sleep(QUIET_S)
        self._floor_hand.pull()
        return parts


def _figures(tap: dict[str, Any], server: dict[str, Any]) -> TapFigures:
    moments = tuple((one["what"], one["ms"]) for one in tap["moments"])
    journal = sum(ms for what, ms in moments if what.startswith("journal"))
    round_trips = sum(ms for what, ms in moments if what == "round trip")
    card = sum(ms for what, ms in moments) - journal - round_trips
    serving = sum(one["ms"] for one in server["trips"])
    store = server["costs"]["store"]
    return TapFigures(
        ms=tap["ms"],
        moments=moments,
        trips=tuple((one["up"], one["down"]) for one in server["trips"]),
        commits=server["commits"] + sum(what.startswith("journal") for what, _ in moments),
        parts={
            "card": card,
            "journal": journal,
            "store": store,
            "vault crypto": server["vault"],
            "TLS": round_trips - serving,
            "server, Python": serving - store - server["vault"],
            "kiosk, Python": tap["ms"] - card - journal - round_trips,
        },
    )


def _line(process: "subprocess.Popen[str]") -> str:
    """The next line that a process prints, awaited without polling."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], ANSWER_S)
    line = process.stdout.readline().strip() if ready else ""
    assert line, f"{process.args!r} said nothing"
    return line


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
