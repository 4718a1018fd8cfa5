"""One case on the house: something strikes in a tap, what died is started anew, and clean taps close the case."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from kioskd.demo.roles import StageFailed
from kioskd.virtual.card import Tear
from kioskd.virtual.vpcd import CardInReader
from tests.stack.boundaries import Plan
from tests.stack.cases import Case, Kind, Recording
from tests.stack.cutter import DOWN, UP, Cut
from tests.stack.house import House
from tests.stack.roles import until

MOST_TAPS = 3
"""Clean taps within which every case must close."""

SETTLE_S = 40.0


@dataclass(slots=True)
class Result:
    """How a case went; `wrong` is empty if every promise was kept."""

    case: str
    struck: bool = False
    outcomes: list[str] = field(default_factory=list)  # of the interrupted tap, if it lived, and of the clean ones
    taps: int = 0  # clean ones
    restarts: int = 0
    wrong: list[str] = field(default_factory=list)
    s: float = 0.0

    def plain(self) -> dict[str, object]:
        """For a file."""
        return asdict(self)


@dataclass(slots=True)
class Play:
    """The case at work."""

    house: House
    case: Case
    result: Result = field(init=False)

    def __post_init__(self) -> None:
        self.result = Result(self.case.name)

    def run(self) -> Result:
        """Strikes, repairs, taps, judges; whatever breaks the house is a wrong, too."""
        began = time.monotonic()
        try:
            self._run()
        except StageFailed as broken:
            self.result.wrong.append(f"the house: {broken}")
        self.result.s = round(time.monotonic() - began, 2)
        return self.result

    def _run(self) -> None:
        house, result = self.house, self.result
        card = house.card()
        hand = house.hand(card)
        starts = house.nursery.starts
        with ExitStack() as harm:
            struck = HARMS[self.case.kind](self, hand, harm)
            before = len(house.terminal.outcomes())
            terminal = house.terminal
            hand.insert()
            until(lambda: struck() or not self._lives_on(), "nothing strikes", terminal)
            until(lambda: not terminal.alive or len(terminal.outcomes()) > before, "the tap does not end", terminal)
            result.struck = struck()
            result.outcomes += terminal.outcomes()[before:]
        self._repair(hand)
        if self.case.again:
            self._once_more(hand)
        while result.taps < MOST_TAPS:
            self._tap(hand)
            if self._settled(lambda: house.done(card)):
                break
        hand.pull()
        result.restarts = house.nursery.starts - starts
        if not result.struck:
            result.wrong.append("nothing struck: the boundary was not met")
        if house.waiting():
            result.wrong.append(f"{house.waiting()} reports wait still")
        result.wrong += house.complaints(card)

    def _lives_on(self) -> bool:
        return self.house.terminal.alive and self.house.access.alive

    def _repair(self, hand: CardInReader) -> None:
        """Starts what died, as its service manager does. A card stays in the reader of a terminal that died."""
        house = self.house
        hand.before_answer = None
        if house.terminal.alive:
            hand.pull()
        if not house.stage.pcscd.running:
            hand.pull()
            house.stage.pcscd.start()
            self._until_reader()
        if not house.access.alive:
            house.start("access")
        if not house.terminal.alive and not self.case.again:
            house.start(house.operation.terminal)

    def _until_reader(self) -> None:
        """Waits until the terminal sees its reader again."""
        name = self.house.operation.terminal

        def sees() -> bool:
            return bool((self.house.stage.roles.status(name) or {"readers": {}})["readers"])

        until(sees, "the terminal does not find its reader", self.house.terminal)

    def _once_more(self, hand: CardInReader) -> None:
        """The process that was started anew is killed again, at a boundary of its return."""
        house = self.house
        name = "access" if self.case.kind is Kind.SERVER_KILLED else house.operation.terminal
        house.nursery.arm(name, Plan(self.case.name, self.case.again))
        if name == "access":
            until(lambda: not house.access.alive, "nothing strikes again", house.access)
            house.nursery.arm(name, None)
            house.start(name)
            return
        try:
            house.start(name)
            until(lambda: not house.terminal.alive, "nothing strikes again", house.terminal)
        except StageFailed:
            if house.terminal.alive:
                raise
        house.nursery.arm(name, None)
        house.start(name)

    def _tap(self, hand: CardInReader) -> None:
        """One clean tap."""
        terminal = self.house.terminal
        before = len(terminal.outcomes()) if not hand.inserted else 0
        if not hand.inserted:
            hand.insert()
        until(lambda: len(terminal.outcomes()) > before, "no clean tap ends", terminal)
        self.result.outcomes.append(terminal.outcomes()[-1])
        self.result.taps += 1
        hand.pull()

    def _settled(self, true: Callable[[], bool]) -> bool:
        """Whether it becomes true soon: reports go up and acknowledgements come by themselves."""
        patience_s = SETTLE_S if self.result.taps == MOST_TAPS else 1.5
        end = time.monotonic() + patience_s
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


# --- what strikes ---------------------------------------------------------------------------------------------------

Struck = Callable[[], bool]


def _kills(play: Play, name: str, harm: ExitStack) -> Struck:
    nursery = play.house.nursery
    nursery.arm(name, Plan(play.case.name, play.case.at))
    harm.callback(nursery.arm, name, None)
    role = nursery.present[name]
    return lambda: not role.alive


def _terminal_killed(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    return _kills(play, play.house.operation.terminal, harm)


def _server_killed(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    return _kills(play, "access", harm)


def _pulled(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    when, number, _ = play.case.at.split(" ")
    hand.card.tear(Tear(when), None, int(number) - 1)
    return lambda: hand.card._tear is None and not hand.inserted


def _readers_killed(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    number, seen, pcscd = int(play.case.at.split(" ")[1]), [0], play.house.stage.pcscd

    def look(_: bytes) -> None:
        seen[0] += 1
        if seen[0] == number:
            pcscd.kill()

    hand.before_answer = look
    return lambda: not pcscd.running


def _cut(play: Play, silent: bool, harm: ExitStack) -> Struck:
    cutter = play.house.cutter
    point, direction, number = play.case.at.rsplit(" ", 2)
    assert direction in (UP, DOWN)
    cutter.arm(Cut(direction, int(number), point, silent))
    harm.callback(cutter.heal)
    return cutter.struck.is_set


def _link_cut(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    return _cut(play, False, harm)  # noqa: FBT003


def _link_silent(play: Play, hand: CardInReader, harm: ExitStack) -> Struck:
    return _cut(play, True, harm)  # noqa: FBT003


HARMS: dict[Kind, Callable[[Play, CardInReader, ExitStack], Struck]] = {
    Kind.TERMINAL_KILLED: _terminal_killed,
    Kind.SERVER_KILLED: _server_killed,
    Kind.PULLED: _pulled,
    Kind.READERS_KILLED: _readers_killed,
    Kind.LINK_CUT: _link_cut,
    Kind.LINK_SILENT: _link_silent,
}


# --- a tap without harm --------------------------------------------------------------------------------------------


def record(house: House) -> Recording:
    """The places of one operation: a tap without harm, and a second one that finds nothing to do."""
    made = Recording(house.operation.name)
    terminal = house.operation.terminal
    hand = house.hand(house.card())
    for name in (terminal, "access"):
        house.nursery.arm(name, Plan("recording"))
    house.cutter.arm(None)
    hand.before_answer = lambda command: made.commands.append(command[1])
    _tap_once(house, hand)
    time.sleep(0.3)  # what follows the outcome
    made.terminal, made.server = (_boundaries(house.nursery.met(name)) for name in (terminal, "access"))
    made.records = list(house.cutter.seen)
    for name in (terminal, "access"):
        house.nursery.arm(name, None)
    hand.before_answer = None
    _tap_once(house, hand)
    made.outcomes = tuple(house.terminal.outcomes()[-2:])
    assert house.complaints(hand.card) == [], house.complaints(hand.card)
    return made


def _tap_once(house: House, hand: CardInReader) -> None:
    before = len(house.terminal.outcomes())
    hand.insert()
    until(lambda: len(house.terminal.outcomes()) > before, "no tap ends", house.terminal)
    until(lambda: not house.waiting(), "a report is not acknowledged", house.terminal)
    hand.pull()


def _boundaries(met: list[str]) -> list[str]:
    """Without what a look at the status socket causes."""
    return [one for one in met if ".status" not in one]
