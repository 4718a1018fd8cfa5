"""What happens at a tap, seen from the terminal: one task from the card's arrival to one outcome."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kioskd.drive import drive
from kioskd.errors import (
    JournalFailed,
    KioskError,
    KioskNotTrusted,
    LinkLost,
    Malformed,
    PcscdDown,
    ReaderHung,
    ServerDown,
    ServerNotTrusted,
    TapEnds,
)
from kioskd.gp.apdu import INS, SW
from kioskd.gp.cplc import canonical_id
from kioskd.log_fields import MessageId, card_hash, entry, tell
from kioskd.outcomes import CATALOGUE
from kioskd.ports import Card, CardReaders, Journal, Panel
from kioskd.rekey.exchange import exchange
from kioskd.rekey.relay import CardSession, RelayPolicy, check, relay
from kioskd.rekey.relay_asks import Ask, Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.wire import (
    End,
    Refuse,
    Report,
    ReportMessage,
    Script,
    ScriptMessage,
    Step,
    Tap,
    Verdict,
)
from kioskd.terminal.observer import Nobody, Observer
from kioskd.terminal.panel import LEAVE_IT
from kioskd.terminal.uplink import TapLine, Uplink

log = logging.getLogger(__name__)

_LINK = frozenset(one.outcome for one in (LinkLost, ServerDown, ServerNotTrusted, KioskNotTrusted, Malformed))
UNTOUCHED = "Your card is as it was before."
"""The cardholder's words that are not true any more once a change was begun."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of a tap's timeline: what, and how long it took in milliseconds."""

    what: str
    ms: float


@dataclass(slots=True)
class TapRecord:
    """How a tap went, for status and demo: no data, only names and times."""

    tap: str
    reader: str
    began: float = field(default_factory=time.time)
    card: str = ""  # its canonical id, once it is known
    outcome: str = ""
    ms: float = 0
    moments: list[Moment] = field(default_factory=list)


@dataclass(slots=True)
class Terminal:
    """What all taps of a terminal share."""

    purpose: str  # "replace" or "issue"
    readers: CardReaders
    uplink: Uplink
    journal: Journal
    panel: Panel
    policy: RelayPolicy
    link_patience_s: float = 3.0  # how long a tap waits for the link, where there is none
    observer: Observer = field(default_factory=Nobody)


class TapRun:
    """One tap."""

    def __init__(self, terminal: Terminal, reader: str, same_card: Callable[[], bool] = lambda: False) -> None:
        self.record = TapRecord(f"{secrets.token_hex(4)}", reader)
        self._same_card = same_card  # whether the card has been in the reader ever since
        self._terminal = terminal
        self._session = CardSession()
        self._readings: dict[int, bytes] = {}  # what the card said of itself, by tag
        self._card: Card | None = None
        self._script: Script | None = None
        self._arrived = 0.0
        self._noted = b""  # the digest of the last script that may have changed the card
        self._end: End | None = None  # how that script ended
        self._trouble: KioskError | None = None  # of the reader, or of the journal before its note

    async def run(self) -> str:
        """From the card's arrival to the outcome's name; every error ends in one."""
        began = time.monotonic()
        tell(TAP=self.record.tap, READER=self.record.reader)
        try:
            outcome = await self._run()
        except TapEnds as end:
            log.info("tap %s: %s", self.record.tap, end, extra=_trouble(end.name))
            outcome = end.name
        except LinkLost as lost:
            log.info("tap %s: %s", self.record.tap, lost, extra=_trouble(lost.outcome))
            outcome = lost.outcome
        except KioskError as wrong:
            log.warning("tap %s: %s: %s", self.record.tap, wrong.outcome, wrong, extra=_trouble(wrong.outcome))
            outcome = wrong.outcome
        except Exception:
            log.exception("tap %s: failed", self.record.tap, extra=_trouble("internal"))
            outcome = "internal"
        finally:
            if self._card is not None:
                await self._card.close()
        outcome = self._true(outcome)
        self.record.outcome, self.record.ms = outcome, 1000 * (time.monotonic() - began)
        asyncio.get_running_loop().call_soon(self._log_moments)  # the cardholder does not wait for the log
        return outcome

    async def _run(self) -> str:
        terminal = self._terminal
        terminal.panel.say(LEAVE_IT)
        await self._connect()
        if not terminal.uplink.connected:
            await terminal.uplink.wait(terminal.link_patience_s)
        waiting = asyncio.create_task(terminal.uplink.waiting_for_tap())  # while the card is read
        try:
            answers = await self._identify_again(terminal.uplink.identify)
            pending = await waiting
        finally:
            waiting.cancel()
        assert self._card is not None
        atr = self._card.atr
        async with terminal.uplink.tap(self.record.tap) as line:
            sent = time.monotonic()
            await line.send(lambda head: Tap(head, terminal.purpose, answers, pending, atr))
            return await self._obey(line, sent)

    async def _connect(self) -> None:
        began = time.monotonic()
        self._card = await self._terminal.readers.connect(self.record.reader)
        self._time("connect", began)

    async def _identify_again(self, steps: tuple[Step, ...]) -> tuple[bytes, ...]:
        """The plain readings; once more if the connection was lost, nothing is begun, and the card never left."""
        try:
            return await self._identify(steps)
        except TapEnds as end:
            if end.name != "card-pulled" or self._card is None or not self._same_card() or self._trouble is not None:
                raise
            log.info("tap %s: the card was lost and is still there: it is read once more", self.record.tap)
            await self._card.close()
            self._readings.clear()
            await self._connect()
            return await self._identify(steps)

    async def _identify(self, steps: tuple[Step, ...]) -> tuple[bytes, ...]:
        check(steps, self._terminal.policy, greeted=False)
        answers = []
        for step in steps:
            raw, bare = await drive(exchange(step.command, self._session.bare), self._answer)
            self._session = replace(self._session, bare=bare)
            if raw is None:
                raise TapEnds("card-pulled")
            answers.append(raw)
            if step.accept and int.from_bytes(raw[-2:]) not in step.accept:
                break
        self._read(steps, tuple(answers))
        return tuple(answers)

    def _read(self, steps: tuple[Step, ...], answers: tuple[bytes, ...]) -> None:
        """Takes the card's id from what it answered to plain reads, as the server does from the same answers."""
        for step, raw in zip(steps, answers, strict=False):
            if step.command[1] == INS.GET_DATA and int.from_bytes(raw[-2:]) == SW.OK:
                self._readings[int.from_bytes(step.command[2:4])] = raw[:-2]
        with contextlib.suppress(Malformed):
            self._name_card(str(canonical_id(self._readings)))

    async def _obey(self, line: TapLine, sent: float) -> str:
        """Runs what the server sends until it says how the tap ended; its last message left at `sent`."""
        while True:
            message = await line.receive()
            self._time("round trip", sent)
            match message:
                case ScriptMessage(_, script):
                    line.running = script.digest
                    try:
                        report = await self._run_script(script)
                    finally:
                        line.running = b""
                    sent = time.monotonic()
                    await line.send(lambda head, report=report: ReportMessage(head, report))  # type: ignore[misc]
                    if isinstance(self._trouble, JournalFailed):
                        raise self._trouble
                case Verdict(_, outcome) if outcome in CATALOGUE:
                    return outcome
                case Refuse(_, outcome, detail) if outcome in CATALOGUE:
                    log.info("tap %s: refused: %s: %s", self.record.tap, outcome, detail, extra=_trouble(outcome))
                    return outcome
                case Verdict() | Refuse():
                    raise TapEnds("bad-message", "an outcome that is not in the catalogue")
                case _:
                    raise TapEnds("bad-message", f"a server does not send {type(message).__name__}")

    async def _run_script(self, script: Script) -> Report:
        self._script, self._arrived = script, time.monotonic()
        self._name_card(script.card or self.record.card)
        try:
            report, self._session = await drive(relay(script, self._terminal.policy, self._session), self._answer)
        except JournalFailed as wrong:
            # Nothing was changed: without its note the script went no further.
            self._trouble = wrong
            return Report(script.number, script.digest, End.REFUSED, ())
        if report.end is End.REFUSED:
            kind = entry(MessageId.SCRIPT_REFUSED)
            log.warning("tap %s: script %d is not on the allow-list", self.record.tap, script.number, extra=kind)
        if self._noted == script.digest:
            self._end = report.end
        if not script.card:
            self._read(script.steps, report.answers)  # a card without CPLC
        return report

    async def _answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Transmit(command):
                return await self._transmit(command)
            case NoteInDoubt(script):
                began = time.monotonic()
                if not self._noted:
                    await self._terminal.observer.begins(self.record)
                await self._terminal.journal.note_in_doubt(script)
                self._noted, self._end = script.digest, None
                self._time("journal: note", began)
                changing = entry(MessageId.CARD_CHANGING)
                log.info(
                    "tap %s: script %d may change the card from now on", self.record.tap, script.number, extra=changing
                )
                return None
            case KeepReport(report):
                return await self._keep(report)
            case Elapsed():
                return int(1000 * (time.monotonic() - self._arrived))
        raise AssertionError(f"no answer to {type(ask).__name__}")

    async def _keep(self, report: Report) -> None:
        """Makes the answers durable. A full disk does not turn back a card that is begun: its note stands."""
        assert self._script is not None
        began = time.monotonic()
        try:
            await self._terminal.journal.keep_report(self._script.card, report)
        except JournalFailed as wrong:
            words = "tap %s: the answers are not in the journal, they go up all the same: %s"
            log.error(words, self.record.tap, wrong, extra=entry(MessageId.JOURNAL_FAILED, wrong.outcome))
        self._time("journal: answers", began)

    async def _transmit(self, command: bytes) -> bytes | None:
        assert self._card is not None
        began = time.monotonic()
        try:
            raw = await self._card.transmit(command)
        except (PcscdDown, ReaderHung) as wrong:
            # For the card it is as if it had been pulled: what is known goes up.
            log.warning("tap %s: %s: %s", self.record.tap, wrong.outcome, wrong, extra=_trouble(wrong.outcome))
            self._trouble, raw = wrong, None
        answered = "torn" if raw is None else f"{raw[-2:].hex().upper()}"
        self._time(f"{_name(command)} {answered}", began)
        return raw

    def _log_moments(self) -> None:
        for moment in self.record.moments:
            kind = entry(MessageId.TAP_MOMENT)
            log.info("tap %s: %s in %.1f ms", self.record.tap, moment.what, moment.ms, extra=kind)
        kind = entry(MessageId.TAP_ENDED, self.record.outcome)
        log.info("tap %s: %s in %.0f ms", self.record.tap, self.record.outcome, self.record.ms, extra=kind)

    def _name_card(self, card: str) -> None:
        self.record.card = card
        tell(CARD=card_hash(card))

    def _time(self, what: str, began: float) -> None:
        self.record.moments.append(Moment(what, 1000 * (time.monotonic() - began)))

    def _true(self, outcome: str) -> str:
        """What is true of the card at this outcome, which may not know that a change was begun."""
        if self._trouble is not None:
            return self._trouble.outcome
        if not self._noted:
            known = self._terminal.uplink.problem if outcome == "link-lost" and self._script is None else ""
            return known or outcome
        if outcome not in _LINK and not CATALOGUE[outcome].cardholder.endswith(UNTOUCHED):
            return outcome
        if self._end is End.COMPLETE and self._terminal.purpose == "replace":
            return "ready-unconfirmed"  # one script does it all; issuing takes more
        return "card-pulled-in-doubt" if self._end is End.TORN else "not-finished"


def _trouble(name: str) -> dict[str, str]:
    return entry(MessageId.TAP_TROUBLE, name)


def _name(command: bytes) -> str:
    """A command in words: its instruction and parameters, never its data."""
    try:
        ins = INS(command[1]).name.replace("_", " ")
    except (ValueError, IndexError):
        ins = command[1:2].hex().upper()
    return f"{ins} {command[2:4].hex().upper()}"
