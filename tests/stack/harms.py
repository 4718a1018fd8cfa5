"""What strikes: each harm is set up before the card goes in, and undone when the interrupted tap has ended."""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from kioskd.demo.roles import StageFailed
from kioskd.gp.apdu import INS
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.vpcd import CardInReader
from tests.between import Between
from tests.stack.boundaries import FILL, Plan
from tests.stack.cases import SERVER, TERMINAL, Case, Kind
from tests.stack.cutter import Cut
from tests.stack.house import House, checkpoint, look
from tests.stack.roles import until

Struck = Callable[[], bool]
"""Whether it has happened."""

ASKED_AT = 7
"""The command at which somebody looks at the status: the first script has changed the card, and its note stands."""

FLAP_S = 1.5
_CALL = re.compile(r"^(\d+) +(\w+)\(", re.MULTILINE)


def strike(house: House, case: Case, hand: CardInReader, harm: ExitStack) -> Struck:
    """Sets up the case's harm; what undoes it goes into `harm`."""
    if case.lied:
        hand.card = cast(VirtualCard, Liar(hand.card))
    if case.asked:
        hand.before_answer = at_command(ASKED_AT, partial(look, house))
    match case.kind:
        case Kind.TERMINAL_KILLED | Kind.SERVER_KILLED:
            return _killed(house, case, harm)
        case Kind.TERMINAL_DISK_FULL | Kind.SERVER_DISK_FULL:
            return _disk_full(house, case, harm)
        case Kind.TERMINAL_CALL | Kind.SERVER_CALL:
            call, how, number = case.at.split(" ")
            what = f"inject={call}:{how}:when={number[1:]}"
            return traced(house, role_of(case), what).enter(harm)
        case Kind.LINK_CUT | Kind.LINK_SILENT:
            point, direction, number = case.at.rsplit(" ", 2)
            house.cutter.arm(Cut(direction, int(number), point, case.kind is Kind.LINK_SILENT))
            harm.callback(house.cutter.heal)
            return house.cutter.struck.is_set
        case Kind.LOSSY_FLAP | Kind.LOSSY_CUT:
            line = house.lossy_line
            line.arm(case.at, FLAP_S if case.kind is Kind.LOSSY_FLAP else None)
            harm.callback(line.heal)
            return line.struck.is_set
        case Kind.PULLED:
            when, number, _ = case.at.split(" ")
            hand.card.tear(Tear(when), None, int(number) - 1)
            return lambda: hand.card._tear is None and not hand.inserted
        case Kind.READERS_KILLED:
            pcscd = house.stage.pcscd
            hand.before_answer = at_command(int(case.at.split(" ")[1]), pcscd.kill)
            return lambda: not pcscd.running
        case Kind.COMMAND_KILLED:
            raise ValueError(f"{case.name}: no tap is interrupted by it")


def role_of(case: Case) -> str:
    """At which end it strikes."""
    return SERVER if case.kind in (Kind.SERVER_KILLED, Kind.SERVER_CALL, Kind.SERVER_DISK_FULL) else TERMINAL


def traced(house: House, role: str, what: str) -> "Traced":
    """strace on one end."""
    return Traced(house.nursery.present[house.name_of(role)].pid, what, house.stage.folder / f"{role}.calls")


def _killed(house: House, case: Case, harm: ExitStack) -> Struck:
    name = house.name_of(role_of(case))
    house.nursery.arm(name, Plan(case.name, case.at))
    harm.callback(house.nursery.arm, name, None)
    role = house.nursery.present[name]
    return lambda: not role.alive


def _disk_full(house: House, case: Case, harm: ExitStack) -> Struck:
    role = role_of(case)
    name, ballast = house.name_of(role), house.disk(role) / "ballast"
    checkpoint(house.disk(role))  # what is written next needs room
    house.nursery.arm(name, Plan(case.name, case.at, FILL, str(ballast)))
    harm.callback(ballast.unlink, missing_ok=True)
    harm.callback(house.nursery.arm, name, None)
    return ballast.exists


def at_command(number: int, act: Callable[[], object]) -> Callable[[bytes], None]:
    """Does something when the card has executed that command, counted from 1, before its answer leaves."""
    seen: list[bytes] = []

    def look(command: bytes) -> None:
        seen.append(command)
        if len(seen) == number:
            act()

    return look


@dataclass
class Liar(Between):
    """A good card whose first cryptogram is bent on its way: the server takes it for a wrong key."""

    bent: bool = False

    def transmit(self, raw: bytes) -> bytes:
        """The card's answer; the first to INITIALIZE UPDATE with its last bit changed."""
        answer = self.card.transmit(raw)
        if raw[1] != INS.INITIALIZE_UPDATE or self.bent:
            return answer
        self.bent = True
        at = 28  # the last byte of the cryptogram: 10 and 3 bytes, then challenge and cryptogram of 8
        return answer[:at] + bytes((answer[at] ^ 1,)) + answer[at + 1 :]


@dataclass(slots=True)
class Traced:
    """strace on a running process: notes system calls, or breaks one of them; each thread counts its own."""

    pid: int
    what: str  # its option -e
    notes: Path
    _process: "subprocess.Popen[bytes]" = field(init=False)

    def enter(self, stack: ExitStack) -> Struck:
        """Attaches; leaving the stack detaches. Whether a call was broken."""
        said = self.notes.with_suffix(".said")
        self.notes.unlink(missing_ok=True)
        options = ("-f", "-p", str(self.pid), "-e", self.what, "-o", str(self.notes))
        with said.open("wb") as log:
            self._process = subprocess.Popen(["strace", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(self._detach)
        until(lambda: b"attached" in said.read_bytes() or self._process.poll() is not None, "strace does not attach")
        if self._process.poll() is not None:
            raise StageFailed(f"strace: {said.read_text()}")
        return self._struck

    def _struck(self) -> bool:
        noted = self._noted()
        if "SIGKILL" in noted and self._process.poll() is None:
            time.sleep(0.2)
            self._process.kill()  # strace at times forgets to bury a thread that it has killed
        return "INJECTED" in noted or "SIGKILL" in noted

    def counts(self) -> Counter[str]:
        """How often each call was made by the thread that made it most often."""
        threads: Counter[tuple[str, str]] = Counter(_CALL.findall(self._noted()))
        found: Counter[str] = Counter()
        for (_, call), count in threads.items():
            found[call] = max(found[call], count)
        return found

    def _noted(self) -> str:
        return self.notes.read_text(errors="replace") if self.notes.exists() else ""

    def _detach(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
