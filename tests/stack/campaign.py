"""Many cases on one house, kept as they are done: stopped at any time, the next run goes on from there."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.cards import OPERATIONS
from tests.stack.cases import LOSSY, Case, Kind, Recording, cases_of
from tests.stack.house import House
from tests.stack.play import Play, Result
from tests.stack.recording import record, record_packets

SLOW = (Kind.LINK_SILENT, *LOSSY)
Choose = Callable[[list[Case]], Iterable[Case]]


def every(cases: list[Case]) -> Iterable[Case]:
    """All of them."""
    return cases


def quick(cases: list[Case]) -> Iterable[Case]:
    """Those that wait for nothing."""
    return [one for one in cases if one.kind not in SLOW]


def slow(cases: list[Case]) -> Iterable[Case]:
    """Those in which a terminal waits for a link that is silent, or TCP for its next try."""
    return [one for one in cases if one.kind in SLOW]


@dataclass(slots=True)
class Kept:
    """What is done, one line a case; without a file it is only remembered."""

    file: Path | None = None
    results: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            lines = self.file.read_text(encoding="utf-8").splitlines()
            found = (Result(**json.loads(line)) for line in lines if line.endswith("}"))
            self.results = {one.case: one for one in found if not one.wrong}

    def keep(self, one: Result) -> None:
        """Adds one."""
        self.results[one.case] = one
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(one.plain()) + "\n")


@dataclass(slots=True)
class Campaign:
    """The cases of some operations; `recordings` are what they were made of."""

    house: House
    kept: Kept = field(default_factory=Kept)
    recordings: dict[str, Recording] = field(default_factory=dict)

    def run(self, operations: Iterable[str] = tuple(OPERATIONS), choose: Choose = every) -> Iterator[Result]:
        """Plays what is not done yet; each result as it comes."""
        for name in operations:
            self.house.work_on(name)
            for case in choose(list(cases_of(self._recorded(name)))):
                if case.name in self.kept.results:
                    continue
                result = Play(self.house, case).run()
                self.kept.keep(result)
                yield result
                if result.wrong:
                    self._tidy(name)

    def _recorded(self, name: str) -> Recording:
        if name not in self.recordings:
            recording = self.recordings[name] = record(self.house)
            recording.packets = record_packets(self.house)
        return self.recordings[name]

    def _tidy(self, name: str) -> None:
        """Brings the house back to where a case begins."""
        pcscd = self.house.stage.pcscd
        self.house.cutter.heal()
        if not pcscd.running:
            pcscd.start()
        for role in ("access", self.house.operation.terminal):
            self.house.nursery.arm(role, None)
        self.house.work_on(name)


def assert_good(results: Iterable[Result]) -> None:
    """Fails with a command for each case that went wrong."""
    bad = [one for one in results if one.wrong]
    told = [f"python -m tests.stack.replay '{one.case}'\n    " + "\n    ".join(one.wrong) for one in bad]
    assert not bad, f"{len(bad)} cases went wrong:\n" + "\n".join(told)
