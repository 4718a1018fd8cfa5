"""What there is to see of a batch, and the one thing to do next. Pure: the view and the plain lines both ask it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum

from kioskd.edges.batch_file import CardRow, CardState
from kioskd.outcome import Severity
from kioskd.outcomes import outcome

PACE_S = 300.0
"""How far back the pace looks."""

_LINK = frozenset({"server-down", "link-lost", "server-not-trusted", "kiosk-not-trusted"})


class Doing(Enum):
    """What a reader is at."""

    FREE = "free"
    READING = "reads the card"
    ISSUING = "issues the card"
    SURPLUS = "has a card that the batch does not need"


class Mood(StrEnum):
    """How the next step is shown: carry on, wait, look, finished."""

    GO = "go"
    WAIT = "wait"
    LOOK = "look"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """The one thing to do next, and why."""

    words: str
    why: str
    mood: Mood


@dataclass(frozen=True, slots=True)
class ReaderLine:
    """One reader: its number for people, what it does, how its last card ended and whether that one is still in it."""

    number: int
    name: str
    doing: Doing = Doing.FREE
    present: bool = False
    outcome: str = ""
    card: str = ""
    before: bool = False  # its last card had been counted before

    @property
    def busy(self) -> bool:
        """Whether a card is being worked on."""
        return self.doing in (Doing.READING, Doing.ISSUING)

    @property
    def good(self) -> bool:
        """Whether its last card counts."""
        return self.outcome == "issued"

    @property
    def again(self) -> bool:
        """Whether its last card is worth another try at once."""
        return bool(self.outcome) and outcome(self.outcome).severity is Severity.RETRY

    @property
    def words(self) -> str:
        """What it does, in words."""
        if self.busy or (self.doing is Doing.SURPLUS and self.present):
            return self.doing.value
        if self.present and self.outcome:
            return "done: take the card out" if self.good else f"take the card out ({outcome(self.outcome).code})"
        if self.again:
            return "waits for the same card again"
        return "has a card" if self.present else "free"


@dataclass(frozen=True, slots=True)
class Board:
    """The batch at one moment; times are seconds since 1970."""

    name: str
    wanted: int
    rows: tuple[CardRow, ...]
    readers: tuple[ReaderLine, ...]
    fault: str
    started: float
    now: float

    @property
    def issued(self) -> int:
        """How many cards are proven."""
        return counted(self.rows)

    @property
    def aside(self) -> tuple[CardRow, ...]:
        """The cards that are set aside, the newest first."""
        return tuple(sorted((row for row in self.rows if row.state is CardState.ASIDE), key=lambda row: -row.last))

    @property
    def pace(self) -> float:
        """Cards a minute, over the last minutes of work; 0 before the first."""
        times = [row.issued for row in self.rows if row.state is CardState.ISSUED]
        return pace(times, self.started, max(times) if times and self.issued >= self.wanted else self.now)

    @property
    def minutes_left(self) -> float | None:
        """How long the rest takes at this pace; None while there is none."""
        return (self.wanted - self.issued) / self.pace if self.pace else None

    @property
    def next_step(self) -> Step:
        """The one thing to do next."""
        if self.issued >= self.wanted:
            return self._finished()
        if self.fault:
            one = outcome(self.fault)
            return Step(one.advice, one.technician, Mood.LOOK)
        readers = sorted(self.readers, key=lambda line: line.number)
        if not readers:
            return Step("Wait: the readers are being looked for", "", Mood.WAIT)
        for line in readers:
            if line.present and not line.busy and (line.outcome or line.doing is Doing.SURPLUS):
                return _take_out(line)
        for line in readers:
            if line.again and not line.present and not line.busy:
                words = f"Put the same card into reader {line.number} again"
                return Step(words, outcome(line.outcome).technician, Mood.LOOK)
        return self._feed(readers)

    def _feed(self, readers: list[ReaderLine]) -> Step:
        under_way = sum(line.busy for line in readers)
        free = [line for line in readers if not line.busy and not line.present]
        if not free or self.issued + under_way >= self.wanted:
            return Step("Wait: leave the cards in", "They are being issued.", Mood.WAIT)
        left = self.wanted - self.issued - under_way
        aside = len(self.aside)
        why = f"{left} more to come" + (f"; {aside} set aside can be put in again" if aside else "") + "."
        return Step(f"Put the next card into reader {free[0].number}", why, Mood.GO)

    def _finished(self) -> Step:
        aside = len(self.aside)
        why = f"{aside} set aside: see the report for each reason." if aside else "None is set aside."
        words = "The one card is issued" if self.wanted == 1 else f"All {self.wanted} cards are issued"
        return Step(words, why, Mood.DONE)


def _take_out(line: ReaderLine) -> Step:
    out = f"Take the card out of reader {line.number}"
    if line.doing is Doing.SURPLUS:
        return Step(out, "The batch has enough cards under way.", Mood.LOOK)
    if line.good:
        why = f"Card {line.card} was counted before." if line.before else f"Card {line.card} is issued and verified."
        return Step(f"{out}: done", why, Mood.GO)
    one = outcome(line.outcome)
    if line.outcome in _LINK:
        return Step(f"{out}, then: {one.advice}", one.technician, Mood.LOOK)
    if line.again or line.outcome == "journal-failed":
        return Step(f"{out} and put it in again", one.technician, Mood.LOOK)
    return Step(f"{out} and set it aside", f"{one.code}: {one.technician} {one.advice}", Mood.LOOK)


def counted(rows: Iterable[CardRow]) -> int:
    """How many cards are proven."""
    return sum(row.state is CardState.ISSUED for row in rows)


def pace(times: Iterable[float], started: float, now: float) -> float:
    """Cards a minute since `started`, of which only the last minutes count; 0 if there are none."""
    begin = max(started, now - PACE_S)
    recent = [at for at in times if begin <= at <= now]
    return 60 * len(recent) / max(now - begin, 1.0) if recent else 0.0
