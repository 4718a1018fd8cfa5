"""The next campaign, while the servers' commands are killed: keys are made, released and taken in, by real processes.

Each command is given again as a person would: the same once more, and if it is refused, its act from the beginning.
Then a card is replaced with the newest keys.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kioskd.demo.roles import StageFailed
from kioskd.kms.request_cli import custodian_of
from kioskd.kms.transcript_file import opened
from kioskd.private_file import read_passphrase
from kioskd.rekey.ceremony import Founded, Policy
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.kms import SoftKms
from tests.stack.boundaries import Plan
from tests.stack.campaign import Choose, Kept, every
from tests.stack.cases import ARM, Case, Kind
from tests.stack.house import House
from tests.stack.judge import KmsKeys, complaints
from tests.stack.play import Result
from tests.stack.roles import Role, until

EPOCH = 1
COMMAND = "command"
MOST_ROUNDS = 3
"""How often an act may have to be begun."""


@dataclass(slots=True)
class Servers:
    """The two servers' commands over the house's vaults."""

    house: House
    card: VirtualCard | None = None  # replaced by each campaign in turn
    deaths: int = field(init=False, default=0)
    _papers: int = field(init=False, default=0)
    _last: Role = field(init=False)

    def found(self) -> None:
        """The first custodians, in a transcript; the access server's transport key in a file."""
        custodians = self.house.stage.custodians
        custodians.make()
        words = [one for one in custodians.options if "=" in one]
        people = tuple(custodian_of(one) for one in words)
        with opened(self._transcript, self._kms(), new=True) as transcript:
            transcript.append(Founded(Policy(1, 2, people)), int(time.time()))
        self._file("transport.pem").write_bytes(self.house.cards.issuer.transport_key())

    @property
    def newest(self) -> int:
        """The newest generation."""
        return max(self._kms().holdings().generations)

    def campaign(self) -> int:
        """A new generation, released for the epoch and taken in; its number."""
        before = self.newest
        self._until_done(lambda: self._act("generate"), lambda: self.newest > before)
        bundle = self._until_done(self._arm, lambda: True)
        self._until_done(lambda: self._import(bundle), lambda: True)
        return self.newest

    def _until_done(self, act: Callable[[], Path | None], done: Callable[[], bool]) -> Path:
        for _ in range(MOST_ROUNDS):
            made = act()
            if made is not None and done():
                return made
        raise StageFailed(f"not done in {MOST_ROUNDS} rounds")

    def _arm(self) -> Path | None:
        to = ("--to", str(self._file("transport.pem")))
        out = self._next("bundle")
        what = ("--generation", str(self.newest), "--epoch", str(EPOCH), *to)
        return out if self._act("arm", what, (*to, "--out", str(out))) is not None else None

    def _import(self, bundle: Path) -> Path | None:
        done = self._command("access", "import", str(bundle), "--config", str(self._file("access.yaml")))
        return bundle if done or "was imported before" in self._last.said() else None

    def _act(self, act: str, what: tuple[str, ...] = (), how: tuple[str, ...] = ()) -> Path | None:
        """The request, two approvals, the execution; the request's file, or None if it has to be asked anew."""
        asked = self._next("request")
        self._command("kms", "request", act, *self._vault, *what, "--out", str(asked))
        if not asked.exists():
            return None
        approvals = self.house.stage.custodians.approve(asked)
        done = self._command("kms", "execute", str(asked), *map(str, approvals), *self._vault, *how)
        return asked if done else None

    def _command(self, *args: str) -> bool:
        """Whether it was done; one that was killed is given once more."""
        self._last = self.house.nursery.run(COMMAND, *args)
        if self._last.code is None:
            self.deaths += 1
            self.house.nursery.arm(COMMAND, None)
            self._last = self.house.nursery.run(COMMAND, *args)
        return self._last.code == 0

    @property
    def _vault(self) -> tuple[str, ...]:
        named = {"--vault": "kms.vault", "--passphrase-file": "kms.pass", "--transcript": self._transcript.name}
        return tuple(word for option, name in named.items() for word in (option, str(self._file(name))))

    @property
    def _transcript(self) -> Path:
        return self._file("kms.transcript")

    def _kms(self) -> SoftKms:
        return SoftKms.open(self._file("kms.vault"), read_passphrase(self._file("kms.pass")))

    def _file(self, name: str) -> Path:
        return self.house.stage.folder / name

    def _next(self, name: str) -> Path:
        self._papers += 1
        return self._file(f"{name}-{self._papers}")


def arming_cases(servers: Servers) -> list[Case]:
    """One campaign without harm is recorded: every boundary of its commands is a case."""
    servers.house.nursery.arm(COMMAND, Plan("recording"))
    servers.campaign()
    met = servers.house.nursery.met(COMMAND)
    servers.house.nursery.arm(COMMAND, None)
    return [Case(ARM, Kind.COMMAND_KILLED, at) for at in met if _is_durable(at, met)]


def _is_durable(at: str, met: list[str]) -> bool:
    """Whether its call waits for the disk: what only reads is no boundary of a command."""
    name = at.partition(" ")[2]
    if name.startswith(("disk.", "store.")):
        return True
    begins, ends = met.index(f"before {name}"), met.index(f"after {name}")
    return any("disk.fsync" in one for one in met[begins:ends])


def play_arming(servers: Servers, case: Case) -> Result:
    """One campaign with one death, and one card that is replaced with what it brought."""
    house, result, began = servers.house, Result(case.name), time.monotonic()
    deaths = servers.deaths
    house.nursery.arm(COMMAND, Plan(case.name, case.at))
    try:
        generation = servers.campaign()
        result.struck, result.restarts = servers.deaths > deaths, servers.deaths - deaths
        result.wrong += _replaced(servers, generation, result)
    except StageFailed as broken:
        result.wrong.append(f"the house: {broken}")
    finally:
        house.nursery.arm(COMMAND, None)
    if not result.struck:
        result.wrong.append("nothing struck: its place was not met")
    result.s = round(time.monotonic() - began, 2)
    return result


def _replaced(servers: Servers, generation: int, result: Result) -> list[str]:
    """What is wrong with a card that is tapped now."""
    house = servers.house
    house.rest()
    card = servers.card = servers.card or house.cards.new()
    hand, terminal = house.cards.hand(card), house.terminal
    before = len(terminal.outcomes())
    hand.insert()
    try:
        until(lambda: len(terminal.outcomes()) > before, "no tap ends", terminal)
        with suppress(StageFailed):
            until(lambda: not house.cards.waiting(), "a report waits", patience_s=10.0)
    finally:
        hand.pull()
    result.outcomes, result.taps = terminal.outcomes()[before:], 1
    keys = KmsKeys(house.stage.folder)
    wrong = complaints(keys, house.operation.profile, card, house.cards.records(card), generation, EPOCH)
    if wrong:
        servers.card = None
    return wrong


def run_arming(house: House, kept: Kept, choose: Choose = every) -> Iterator[Result]:
    """Plays what is not done yet; each result as it comes. Its cards get newer keys than other operations know."""
    house.work_on("replace")
    servers = Servers(house)
    servers.found()
    for case in choose(arming_cases(servers)):
        if case.name not in kept.results:
            result = play_arming(servers, case)
            kept.keep(result)
            yield result
