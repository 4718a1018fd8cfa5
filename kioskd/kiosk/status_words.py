"""A terminal's status in words, and the one thing to do next. Pure: `status`, `watch` and the pictures share it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kioskd.outcome import Severity
from kioskd.outcomes import outcome
from kioskd.terminal.limits import LITTLE_BYTES, SET_THE_CLOCK, SOON_DAYS, WRONG_BY_S

SHOWN_TAPS = 8
COMPLETE = "complete"  # `End.COMPLETE` of a report, which is not loaded here: every command was answered
NOTHING = "nothing; the terminal is ready for cards."


class Mood(StrEnum):
    """How a piece is shown."""

    PLAIN = "plain"
    GOOD = "good"
    LOOK = "look"
    BAD = "bad"
    FAINT = "faint"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some words of a line, and how they are shown."""

    words: str
    mood: Mood = Mood.PLAIN


Line = tuple[Piece, ...]

_STATES = {
    "ready": ("ready for cards", Mood.GOOD),
    "busy": ("with a card", Mood.GOOD),
    "drained": ("drained: takes no card", Mood.LOOK),
    "no-link": ("no link to the access server", Mood.BAD),
    "out-of-service": ("out of service", Mood.BAD),
    "stopped": ("does not run", Mood.BAD),
}
_MOODS = {
    Severity.GOOD: Mood.GOOD,
    Severity.NOTICE: Mood.PLAIN,
    Severity.RETRY: Mood.LOOK,
    Severity.FAULT: Mood.BAD,
    Severity.ALARM: Mood.BAD,
}


def state_words(told: dict[str, Any]) -> str:
    """How the terminal is, in a few words."""
    return _state(told)[0]


def _state(told: dict[str, Any]) -> tuple[str, Mood]:
    if told["state"] == "drained" and _all_closed(told):
        return ("every reader is closed: takes no card", Mood.LOOK)
    return _STATES[told["state"]]


def _all_closed(told: dict[str, Any]) -> bool:
    return bool(told["readers"].keys() <= set(told["closed_readers"]))


def table(told: dict[str, Any]) -> list[str]:
    """The status for a person, as plain lines."""
    return ["".join(piece.words for piece in line) for line in lines(told)]


def lines(told: dict[str, Any]) -> list[Line]:
    """The status for a person: a table, the last taps, one next step."""
    state, mood = _state(told)
    head = f"{told['role']} {told['name']}, {told['software']}, up {age(told['uptime_s'])}: "
    shown: list[Line] = [(Piece(head), Piece(state, mood))]
    shown += [(Piece(f"  {label:<21}"), *pieces) for label, pieces in _rows(told)]
    if told["current"]:
        shown += [(), (Piece("  now under way", Mood.FAINT),)]
        shown += [_current(tap) for tap in told["current"]]
    if told["taps"]:
        shown += [(), (Piece("  last taps   code  outcome                     ms  card              tap", Mood.FAINT),)]
        shown += [tap_line(tap) for tap in reversed(told["taps"][-SHOWN_TAPS:])]
    step = next_step(told)
    return [*shown, (), (Piece(f"Next: {step}", Mood.GOOD if step == NOTHING else Mood.LOOK),)]


def next_step(told: dict[str, Any]) -> str:
    """The one thing to do now: what helps first."""
    if told["pending_reports"] is None:
        return outcome("journal-failed").advice
    if told["pcscd"] != "up":
        return outcome("pcscd-down").advice
    if not told["readers"]:
        return outcome("no-reader").advice
    if clock_is_wrong(told):
        return SET_THE_CLOCK
    certificate = told["certificate"]
    if certificate is not None and certificate["days_left"] < 0:
        return "Renew this terminal's certificate: it has ended."
    if not told["link"]["connected"]:
        return outcome(told["link"]["problem"] or "server-down").advice
    if _all_closed(told):
        return "When the work at the readers is done: kioskctl readers open NAME."
    if told["state"] == "drained":
        return outcome("drained").advice
    if certificate is not None and certificate["days_left"] < SOON_DAYS:
        return f"Renew this terminal's certificate within {certificate['days_left']:.0f} days."
    last = outcome(told["taps"][-1]["outcome"]) if told["taps"] else None
    if last is not None and last.severity in (Severity.RETRY, Severity.FAULT, Severity.ALARM):
        return last.advice
    if told["open_cases"]:
        return "Look at the waiting cases: kioskctl cases."
    return NOTHING


def clock_is_wrong(told: dict[str, Any]) -> bool:
    """Whether the clock cannot be right: far from the server's, or before this terminal's certificate was made."""
    clock, certificate = told["clock"], told["certificate"]
    ahead = clock["server_ahead_s"]
    early = certificate is not None and clock["now"] < certificate["not_before"]
    return early or (ahead is not None and abs(ahead) > WRONG_BY_S)


def tap_line(tap: dict[str, Any]) -> Line:
    """One tap that has ended."""
    began = time.strftime("%H:%M:%S", time.localtime(tap["began"]))
    mood = _MOODS[outcome(tap["outcome"]).severity]
    return (
        Piece(f"  {began}    {tap['code']}  "),
        Piece(f"{tap['outcome']:<24}", mood),
        Piece(f" {tap['ms']:>6.0f}  {tap['card'] or '-':<16}"),
        Piece(f"  {tap['tap']}", Mood.FAINT),
    )


def case_lines(case: dict[str, Any]) -> list[str]:
    """The story of one card at this terminal."""
    waiting = f"open, {counted(len(case['reports']), 'report')} waiting" if case["open"] else "nothing waits here"
    told = [f"card {case['card']}: {waiting}"]
    for tap in case["taps"]:
        one = outcome(tap["outcome"])
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(tap["began"]))
        where = f", {tap['reader']}" if tap["reader"] else ""
        told += [f"  {began}  {one.code} {one.name}, {tap['ms']:.0f} ms, tap {tap['tap']}{where}"]
        told += [f"      {one.technician}", f"      {one.advice}"]
        told += [f"      {moment['what']:<44} {moment['ms']:>8.1f} ms" for moment in tap["moments"]]
    for report in case["reports"]:
        told.append(
            f"  report of script {report['script']}: {report['end']}, {report['answers']} answers, not yet taken"
        )
    if case["cryptograms"]:
        told.append(f"  kept here: {counted(case['cryptograms'], 'cryptogram')} of its replacement set")
    told += ["", f"Next: {case_step(case)}"]
    return told


def case_step(case: dict[str, Any]) -> str:
    """The one thing to do for a card: to have it tapped again, where the last that is known of it is not an end."""
    last = outcome(case["taps"][-1]["outcome"]) if case["taps"] else None
    if any(report["end"] != COMPLETE for report in case["reports"]):
        return (
            "have the card tapped again, here or at any other kiosk. The report goes up by itself when the link is up."
        )
    if case["open"]:
        return "nothing, if the link is up: the report goes up by itself. Else mend the link."
    if last is not None and last.severity in (Severity.RETRY, Severity.FAULT, Severity.ALARM):
        return last.advice
    return "nothing: this terminal has no part in it any more."


def reader_lines(told: dict[str, Any]) -> list[str]:
    """The readers, one a line."""
    states = {"empty": "ready", "card": "has a card", "mute": "has a card that does not answer"}
    closed = set(told["closed_readers"])
    rows = [
        f"  {name:<44} {'closed' if name in closed else states.get(state, state)}"
        for name, state in sorted(told["readers"].items())
    ]
    rows += [f"  {name:<44} closed, not connected" for name in sorted(closed - told["readers"].keys())]
    return rows or [f"  none. {outcome('pcscd-down' if told['pcscd'] != 'up' else 'no-reader').advice}"]


def _rows(told: dict[str, Any]) -> Iterable[tuple[str, Line]]:
    yield "link to the server", (_link(told["link"]),)
    if told["server"]:
        yield "access server", (Piece(told["server"]),)
    yield "PC/SC daemon", (Piece(told["pcscd"], Mood.GOOD if told["pcscd"] == "up" else Mood.BAD),)
    yield "readers", (_readers(told),)
    yield "reports waiting", (_waiting(told),)
    yield "taps under way", (Piece(str(told["under_way"])),)
    if told["outcomes"]:
        yield "taps since start", (Piece(_tally(told["outcomes"])),)
    if told["certificate"] is not None:
        yield "certificate", (_certificate(told["certificate"]),)
    yield "clock", (_clock(told),)
    if told["journal"] is not None:
        free = told["journal"]["free_bytes"]
        words = f"{size(told['journal']['bytes'])}, {size(free)} free"
        yield "journal", (Piece(words, Mood.PLAIN if free >= LITTLE_BYTES else Mood.BAD),)


def _link(link: dict[str, Any]) -> Piece:
    if link["connected"]:
        return Piece("connected", Mood.GOOD)
    return Piece(outcome(link["problem"] or "server-down").technician, Mood.BAD)


def _readers(told: dict[str, Any]) -> Piece:
    closed = set(told["closed_readers"])
    names = [f"{name} ({'closed' if name in closed else state})" for name, state in told["readers"].items()]
    mood = Mood.BAD if not names else Mood.LOOK if closed else Mood.PLAIN
    return Piece(", ".join(names) or "none", mood)


def _waiting(told: dict[str, Any]) -> Piece:
    waiting, cases = told["pending_reports"], told["open_cases"]
    if waiting is None:
        return Piece(outcome("journal-failed").technician, Mood.BAD)
    return Piece(f"{waiting}, of {counted(cases, 'card')}" if waiting else "0", Mood.LOOK if waiting else Mood.PLAIN)


def _certificate(certificate: dict[str, Any]) -> Piece:
    end = datetime.fromtimestamp(certificate["not_after"], UTC).strftime("%Y-%m-%d")
    left = certificate["days_left"]
    if left < 0:
        return Piece(f"ended on {end}", Mood.BAD)
    return Piece(f"until {end}, {left:.0f} days", Mood.LOOK if left < SOON_DAYS else Mood.PLAIN)


def _clock(told: dict[str, Any]) -> Piece:
    clock = told["clock"]
    now = datetime.fromtimestamp(clock["now"]).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    ahead, steered = clock["server_ahead_s"], clock["synchronised"]
    if clock_is_wrong(told):
        far = f"the server's is {age(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}" if ahead else "far too early"
        return Piece(f"{now}: wrong, {far}", Mood.BAD)
    words = {True: "a time service steers it", False: "no time service steers it", None: ""}[steered]
    agrees = "agrees with the server's" if ahead is not None else ""
    said = ", ".join(filter(None, (agrees, words)))
    return Piece(f"{now}{': ' if said else ''}{said}", Mood.LOOK if steered is False and ahead is None else Mood.PLAIN)


def _current(tap: dict[str, Any]) -> Line:
    return (Piece(f"  {tap['reader']}  {tap['card'] or 'a card'}  {tap['ms'] / 1000:.1f} s"),)


def _tally(outcomes: dict[str, int]) -> str:
    most = sorted(outcomes.items(), key=lambda one: (-one[1], one[0]))
    return f"{sum(outcomes.values())}: " + ", ".join(f"{count} {name}" for name, count in most)


def counted(count: int, thing: str) -> str:
    """So many things, in words."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def age(seconds: float) -> str:
    """A span of time, in the one or two units that matter."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min"
    hours = whole // 3600
    return f"{hours} h" if hours < 48 else f"{hours // 24} days"


def size(count: int) -> str:
    """A number of bytes, in the unit that matters."""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.0f} {unit}"
    return f"{count} bytes"
