"""One case on the house: something strikes in a tap, what died is started anew, and clean taps close the case."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from kioskd.demo.roles import StageFailed
from kioskd.virtual.vpcd import CardInReader
from tests.stack.boundaries import Plan
from tests.stack.cases import SERVER, Case
from tests.stack.harms import role_of, strike
from tests.stack.house import House
from tests.stack.roles import until
from tests.stack.witness import Witness, both

MOST_TAPS = 3
"""Clean taps within which every case must close."""

SOON_S, SETTLE_S = 1.5, 40.0
"""How long reports and acknowledgements may take by themselves: before the next tap, and after the last."""


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
    returned: Callable[[], None] | None = None  # told what a process met on its return, when all is done
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
        house.use_line(lossy=self.case.lossy)
        house.rest()
        card = house.cards.new()
        hand, witness = house.cards.hand(card), Witness(house, card)
        starts = house.nursery.starts
        self._interrupted(hand, witness)
        hand.before_answer, hand.card = witness, card
        self._repair(hand)
        if self.case.again:
            self._once_more()
        elif self.returned is not None and role_of(self.case) == SERVER:
            until(lambda: not house.cards.waiting(), "a report waits", house.terminal)
            self._tell_return()
        while result.taps < MOST_TAPS:
            self._tap(hand)
            if self._settled(lambda: house.cards.done(card)):
                break
        self._tell_return()
        result.restarts = house.nursery.starts - starts
        if not result.struck and self.case.certain:
            result.wrong.append("nothing struck: its place was not met")
        if house.cards.waiting():
            result.wrong.append(f"{house.cards.waiting()} reports wait still")
        if not witness.seen:
            result.wrong.append("the card was never changed")
        result.wrong += witness.wrong + house.cards.complaints(card)

    def _interrupted(self, hand: CardInReader, witness: Witness) -> None:
        """The tap in which something strikes; it has ended, one way or another."""
        house, terminal = self.house, self.house.terminal
        with ExitStack() as harm:
            struck = strike(house, self.case, hand, harm)
            hand.before_answer = both(witness, hand.before_answer)
            before = len(terminal.outcomes())
            hand.insert()

            def ended() -> bool:
                struck()
                return not terminal.alive or len(terminal.outcomes()) > before

            until(ended, "the tap does not end", terminal)
            self.result.struck = self._settled(lambda: struck() or not terminal.alive) and struck()
            self.result.outcomes += terminal.outcomes()[before:]
        if self.result.struck and "signal=KILL" in self.case.at:
            role = house.nursery.present[house.name_of(role_of(self.case))]
            until(lambda: not role.alive, f"{role.name} does not die", role)

    def _repair(self, hand: CardInReader) -> None:
        """Starts what died, as its service manager does. A card stays in the reader of a terminal that died."""
        house = self.house
        if house.terminal.alive:
            hand.pull()
        if not house.stage.pcscd.running:
            house.stage.pcscd.start()
            self._until_reader()
        if self.case.again:
            return
        if self.returned is not None:
            house.nursery.arm(house.name_of(role_of(self.case)), Plan("recording"))
        if not house.access.alive:
            house.start("access")
        if not house.terminal.alive:
            house.start(house.operation.terminal)

    def _tell_return(self) -> None:
        """Once: what the process has met since it came back is complete."""
        if self.returned is not None:
            self.returned()
            self.returned = None
            self.house.nursery.arm(self.house.name_of(role_of(self.case)), None)

    def _until_reader(self) -> None:
        """Waits until the terminal sees its reader again."""
        name = self.house.operation.terminal

        def sees() -> bool:
            return bool((self.house.stage.roles.status(name) or {"readers": {}})["readers"])

        until(sees, "the terminal does not find its reader", self.house.terminal)

    def _once_more(self) -> None:
        """The process that was started anew is killed again, at a boundary of its return."""
        house, role = self.house, role_of(self.case)
        name = house.name_of(role)
        house.nursery.arm(name, Plan(self.case.name, self.case.again))
        house.start(name)
        until(lambda: not house.nursery.present[name].alive, "nothing strikes again", house.nursery.present[name])
        house.nursery.arm(name, None)
        house.start(name)

    def _tap(self, hand: CardInReader) -> None:
        """One clean tap: of the card that is still in the reader, or put in again."""
        terminal = self.house.terminal
        before = 0 if hand.inserted else len(terminal.outcomes())
        if not hand.inserted:
            hand.insert()
        until(lambda: len(terminal.outcomes()) > before, "no clean tap ends", terminal)
        self.result.outcomes.append(terminal.outcomes()[-1])
        self.result.taps += 1
        hand.pull()

    def _settled(self, true: Callable[[], bool]) -> bool:
        """Whether it becomes true soon, or, after the last tap, at last."""
        end = time.monotonic() + (SETTLE_S if self.result.taps == MOST_TAPS else SOON_S)
        while not true():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True
