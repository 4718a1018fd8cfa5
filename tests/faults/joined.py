"""One tap of the joined world: the shipped engine, relay and settling, with every step of it a numbered choice point.

The terminal's half and the server's half die apart: a relay goes on to its end without a server, a server without its
terminal. A write counts when it is synced. Nothing waits, nothing is drawn: the same schedule makes the same run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from kioskd.access.office import Office
from kioskd.access.taps import converse, settle_report
from kioskd.errors import JournalFailed, KioskError, LinkLost, TapEnds
from kioskd.gp.apdu import INS
from kioskd.gp.executive import STATE_TAG
from kioskd.ports import Store, Vault
from kioskd.rekey.asks import Ask, Conversation, Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.exchange import exchange
from kioskd.rekey.profile import Lock
from kioskd.rekey.records import Intent
from kioskd.rekey.relay import CardSession, RelayPolicy, relay
from kioskd.rekey.tries import spent
from kioskd.rekey.wire import WIRE_VERSION, CardReport, End, Head, Report, Script, Tap
from tests.faults.halves import StoreHalf, VaultHalf
from tests.faults.lies import bent, is_strange, keys_told, planted
from tests.faults.line import Dies, Line, finish
from tests.faults.remembered import Node
from tests.faults.scenarios import EMPTY, Notes, Scenario, World
from tests.faults.stopped import restore

TAGS = (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF)
CHANGING = (INS.DELETE, INS.PUT_KEY, INS.SET_STATUS, INS.SEAL)
_FAR = 10**9
_OK = b"\x90\x00"


@dataclass(slots=True)
class TapRun:
    """One tap under the faults that strike it, by step number counted from 0 in this tap."""

    scenario: Scenario
    world: World
    faults: Mapping[int, str] = field(default_factory=dict)
    terminal: str = "k1"
    snapshots: list[World] | None = None  # the world before each step, if wanted
    steps: list[str] = field(default_factory=list)
    dirty: list[bool] = field(default_factory=list)
    relaying: list[bool] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)  # how often the link was looked at before each step
    wrong: list[str] = field(default_factory=list)
    outcome: str = ""
    kiosk_dead: bool = False
    server_dead: bool = False
    link_down: bool = False
    pulled: bool = False
    late: bool = False
    restored: bool = False
    bare: bool = False  # commands with data go without Le
    _over: bool = False
    _looked: int = 0
    _in_relay: bool = False
    _node: Node | None = None
    _script: Script | None = None
    _step: int = 0
    _unkept: bool = False  # a note is on the disk, its answers are not
    _lies: dict[int, Any] = field(default_factory=dict)
    _began: World | None = None

    def run(self) -> str:
        """From the card's arrival to the outcome's name."""
        self._began = self.world.fork()
        self.world.here = self.terminal
        try:
            self.outcome = self._run()
        except Dies:
            self.outcome = "dead"
        except TapEnds as end:
            self.outcome = end.name
        except KioskError as wrong:
            self.outcome = wrong.outcome
        self._over = True
        if self.restored:
            assert self._began is not None
            restore(self.world, self._began)
        return self.outcome

    def _run(self) -> str:
        answers = self._identify()
        fault = self.at("tap")
        if fault.startswith("lie-"):
            answers = (*answers[:-1], keys_told(self.scenario, fault))
        if self.kiosk_dead or self.link_down:
            raise LinkLost("before the tap's first message")
        pending = self.world.written.get(self.terminal, EMPTY).reports
        for one in pending:
            self.settle(one)
        head = Head(WIRE_VERSION, self.terminal, 1, f"tap-{self.world.drawn}", 2, 0, "")
        tap = Tap(head, self.scenario.purpose, answers, pending)
        line = Line(self, CardSession(bare=self.bare))
        return cast(str, finish(converse(self.office(), self.terminal, self.scenario.role, tap, line)))

    def office(self) -> Office:
        """The access server."""
        scenario = self.scenario
        vault, store = cast(Vault, VaultHalf(self)), cast(Store, StoreHalf(self))
        return Office(vault, store, (scenario.profile,), scenario.rotates, worker=cast(Any, None))

    # --- the choice points ---

    def at(self, name: str) -> str:
        """Enters a step; its fault, if it is one that the step itself has to deal with."""
        if self._over:
            return ""
        number = len(self.steps)
        self.steps.append(name)
        self.dirty.append(self.terminal in self.world.unsynced)
        self.relaying.append(self._in_relay)
        self.looks.append(self._looked)
        if self.snapshots is not None:
            self.snapshots.append(self.world.fork())
        fault = self.faults.get(number, "")
        return "" if not fault or self._strikes(fault) else fault

    def _strikes(self, fault: str) -> bool:
        """Does what a fault does at any step; False for one that the step itself has to deal with."""
        world = self.world
        match fault:
            case "power-cut":
                world.lose_power(self.terminal)
                self._die()
            case "kill-kiosk" | "kiosk-power":
                self._kill_kiosk(power=fault == "kiosk-power")
            case "kill-server" | "restored":
                self.server_dead, self.restored = True, self.restored or fault == "restored"
                if not self._in_relay:
                    self._die()
            case "cut-link":
                self.link_down = True
            case "carried":
                self._carry()
            case "window-closes":
                world.over = True
            case "journal-lost":
                world.note(self.terminal, EMPTY)
                world.sync(self.terminal)
            case "planted":
                world.memory = planted(self.scenario, world.memory)
                self._node = self.scenario.card.powered(world.memory)
            case _:
                return False
        return True

    def _kill_kiosk(self, *, power: bool) -> None:
        self.kiosk_dead = True
        if power:
            self.world.lose_power(self.terminal)
        if self._in_relay:
            raise Dies

    def _die(self) -> None:
        self._over = True
        raise Dies

    def _carry(self) -> None:
        """The card is pulled, has a whole tap at another terminal, and does not come back to this one."""
        self.pulled = True
        other = TapRun(self.scenario, self.world, terminal="k9")
        other.run()
        self.wrong += other.wrong

    # --- the terminal ---

    def _identify(self) -> tuple[bytes, ...]:
        self._node = self.scenario.card.powered(self.world.memory)
        fault = self.at("identify")
        if fault == "pull-before" or self.pulled:
            raise TapEnds("card-pulled")
        answers = []
        for command in self.scenario.identify:
            raw, self.bare = self._follow(exchange(command, self.bare))
            answers.append(raw or b"")
        return tuple(answers)

    def _follow(self, conversation: Conversation[Any]) -> Any:
        """Drives a conversation of the terminal's."""
        reply: Any = None
        try:
            while True:
                ask = conversation.send(reply)
                reply = self._answer(ask)
        except StopIteration as end:
            return end.value
        finally:
            conversation.close()

    def _answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Transmit(command):
                return self._transmit(command) if self._in_relay else self._to_card(command)
            case NoteInDoubt(script):
                return self._note(script)
            case KeepReport(report):
                return self._keep(report)
            case Elapsed():
                return _FAR if self.late else 0
        raise AssertionError(ask)

    def relay(self, script: Script, session: CardSession) -> tuple[Report, CardSession]:
        """Runs a script in this card connection."""
        self._script, self._step, self._lies, self._in_relay, self._unkept = script, -1, {}, True, False
        try:
            report, session = self._follow(relay(script, policy(self.scenario), session))
        except JournalFailed:
            self.kiosk_dead = True  # it goes on to its screen: there is no more of this tap
            return Report(script.number, script.digest, End.REFUSED, ()), session
        finally:
            self._in_relay = False
        if self._unkept:
            self.wrong.append("answers went up that are not on the disk")
        if self._lies:
            told = (self._lies[at](raw) if at in self._lies else raw for at, raw in enumerate(report.answers))
            report = replace(report, answers=tuple(told))
        return report, session

    def _note(self, script: Script) -> None:
        if self.at("note") == "journal-fails":
            raise JournalFailed("full")
        world, notes = self.world, self.world.written.get(self.terminal, EMPTY)
        row = CardReport(script.card, Report(script.number, script.digest, End.IN_DOUBT, ()))
        kept = notes.cryptograms if script.cryptogram is None else (*notes.cryptograms, script.cryptogram)
        world.note(self.terminal, Notes((*notes.reports, row), kept))
        self.at("note: sync")
        world.sync(self.terminal)
        self._unkept = True

    def _keep(self, report: Report) -> None:
        assert self._script is not None
        self._unkept = False
        if self.at("keep") == "journal-fails":
            return  # the note stands: nothing turns back a card that is begun
        world, notes = self.world, self.world.written.get(self.terminal, EMPTY)
        others = tuple(one for one in notes.reports if one.report.digest != self._script.digest)
        world.note(self.terminal, Notes((*others, CardReport(self._script.card, report)), notes.cryptograms))
        self.at("keep: sync")
        world.sync(self.terminal)

    def forget(self, number: int, digest: bytes) -> None:
        """An acknowledgement reaches the terminal: not on the disk before the next write that is."""
        self.at("ack")
        self._looked += 1
        if self.kiosk_dead or self.link_down:
            return
        notes = self.world.written.get(self.terminal, EMPTY)
        left = tuple(one for one in notes.reports if (one.report.number, one.report.digest) != (number, digest))
        self.world.note(self.terminal, Notes(left, notes.cryptograms))

    def _transmit(self, command: bytes) -> bytes | None:
        """One command of a script."""
        assert self._script is not None
        if command[1] != INS.GET_RESPONSE:
            self._step += 1
        fault = self.at(f"transmit {_name(command)}")
        if self.pulled or fault == "pull-before":
            self.pulled = True
            return None
        if command[1] in CHANGING:
            self._written_down(self._script)
        raw = self._to_card(command, fails=fault in ("card-fails", "card-fails-on"))
        if command[1] in CHANGING and not self.scenario.oracle.opens(self.world.memory, self.world.state):
            self.wrong.append(f"nothing opens the card after {_name(command)}")
        if fault == "pull-after":
            self.pulled = True
            return None
        if fault == "late":
            self.late = True
        if fault == "card-fails-on":
            self._lies[self._step] = lambda _, raw=raw: raw
            return _OK
        if fault.startswith("lie-"):
            self._lies[self._step] = bent(self.scenario, fault)
        return raw

    def _to_card(self, command: bytes, *, fails: bool = False) -> bytes:
        assert self._node is not None
        raw, self._node = self.scenario.card.transmit(self._node, command, fails=fails)
        self.world.memory = self._node.memory
        if command[1] == INS.INITIALIZE_UPDATE and self.scenario.profile.greeting_tries:
            self._count_tries()
        return raw

    def _count_tries(self) -> None:
        """Each greeting is on record before it reaches the card, and none is one too many."""
        world, kept = self.world, self.scenario.fewest_tries
        ours = [one for one in world.memory.sets if not is_strange(one)]
        if any(one.tries < kept for one in ours):
            self.wrong.append("INITIALIZE UPDATE was sent too often")
        if self.server_dead or world.state.store_epoch:
            return  # a store that was put back has forgotten some: that is what the other half is for
        for one in ours:
            if self.scenario.options.tries - one.tries > spent(self.scenario.profile, world.state, one.kvn):
                self.wrong.append(f"KVN {one.kvn:02X} was greeted more often than is on record")

    def _written_down(self, script: Script) -> None:
        """Invariant 4, before the card sees the command."""
        world, notes = self.world, self.world.synced.get(self.terminal, EMPTY)
        known = [one for one in world.records if isinstance(one, Intent)]
        intent = next((one for one in known if one.digest == script.digest), None)
        if intent is None and not self.server_dead:
            self.wrong.append("a card-changing command without an intent")
        if not any(one.report.digest == script.digest for one in notes.reports):
            self.wrong.append("a card-changing command without a note on the disk")
        cryptogram = intent.cryptogram if intent is not None else script.cryptogram
        if cryptogram is not None and cryptogram not in notes.cryptograms:
            self.wrong.append("a KRK whose cryptogram is not on the terminal's disk")

    # --- between the two ---

    def look(self) -> None:
        """The server uses the link; `LinkLost` if it is gone."""
        self._looked += 1
        if self.kiosk_dead or self.link_down:
            raise LinkLost("the terminal is gone")

    def after_script(self) -> None:
        """The relay has ended; whoever died meanwhile is dead now."""
        if self.server_dead:
            self._die()

    def settle(self, report: CardReport) -> None:
        """A report that comes without its conversation is judged, and acknowledged if it may be."""
        try:
            if finish(settle_report(self.office(), self.terminal, report)):
                self.forget(report.report.number, report.report.digest)
        except KioskError:
            return

    def drawn(self) -> int:
        """A number that no challenge of this history has had."""
        self.world.drawn += 1
        return self.world.drawn


def policy(scenario: Scenario) -> RelayPolicy:
    """What a terminal for this card lets through."""
    executive = scenario.profile.lock is Lock.EXECUTIVE
    tags = (*TAGS, STATE_TAG) if executive else TAGS
    return RelayPolicy((scenario.profile.aid,), scenario.profile.level, tags, executive)


def clean_tap(scenario: Scenario, world: World, terminal: str) -> str:
    """A tap without a fault; what was wrong in it is an error of ours."""
    run = TapRun(scenario, world, terminal=terminal)
    outcome = run.run()
    assert not run.wrong, run.wrong
    return outcome


def _name(command: bytes) -> str:
    return INS(command[1]).name.replace("_", " ")
