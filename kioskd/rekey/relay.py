"""The terminal's half: runs a script on the card, knows no key, forwards little.

The whole script is held against the allow-list before its first command goes out. One durable note precedes the first
card-changing command; the answers are durable before they go up. A torn card ends the script: nothing is retried.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kioskd.errors import KioskError, Malformed
from kioskd.gp.apdu import INS, MAX_RESPONSE_BYTES, CommandAPDU, ResponseAPDU
from kioskd.gp.scp03 import LEVELS
from kioskd.rekey.exchange import exchange
from kioskd.rekey.relay_asks import Conversation, Elapsed, KeepReport, NoteInDoubt
from kioskd.rekey.wire import End, Report, Script, Step

_PLAIN_CLAS = (0x00, 0x80)
_SECURE_CLA = 0x84
_EXECUTIVE = frozenset({INS.SEAL, INS.UNLOCK, INS.RELOCK})
_CHANGING = frozenset({INS.DELETE, INS.PUT_KEY, INS.SET_STATUS, INS.SEAL})
_SECURED_ONLY = frozenset({INS.DELETE, INS.PUT_KEY, INS.SET_STATUS, INS.GET_STATUS}) | _EXECUTIVE
_LIFE_CYCLES = (0x0F, 0x7F)
_CARD = 0x80  # SET STATUS of the card, through its issuer security domain
_RELATED = 0x80  # DELETE of an object and of all that hangs on it
_HOST_CHALLENGE_BYTES = (8, 16)
_PROOF_BYTES = (16, 32)  # the host's cryptogram and its MAC, S8 or S16


class Forbidden(KioskError):
    """A script asks for something that the allow-list does not let through."""

    outcome = "script-refused"


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """What this terminal lets through; it comes from the terminal's own configuration, never from the server."""

    aids: tuple[bytes, ...]
    level: int
    tags: tuple[int, ...]
    executive: bool = False  # SEAL, UNLOCK and RELOCK, which only cards with an executive know


@dataclass(frozen=True, slots=True)
class CardSession:
    """Where one card connection stands."""

    last_answer: bytes = b""  # the INITIALIZE UPDATE answer that is still open
    last_number: int = 0  # of the scripts run in this connection
    bare: bool = False  # commands with data go without Le: the card has refused one with it
    greeted_by: bytes = b""  # the digest of the last one with an INITIALIZE UPDATE: some cards count each


@dataclass(frozen=True, slots=True)
class _Gate:
    """The allow-list's own view of the channel while it reads a script."""

    greeted: bool
    authenticated: bool = False


def check(steps: Sequence[Step], policy: RelayPolicy, *, greeted: bool) -> None:
    """Holds every command of a script against the allow-list; `Forbidden` names the first that is not on it."""
    gate = _Gate(greeted)
    for position, step in enumerate(steps, 1):
        try:
            gate = _pass(CommandAPDU.decode(step.command), gate, policy)
        except Malformed as wrong:
            raise Forbidden(f"step {position}: not a command") from wrong
        except Forbidden as wrong:
            raise Forbidden(f"step {position}: {wrong}") from wrong


def _pass(command: CommandAPDU, gate: _Gate, policy: RelayPolicy) -> _Gate:
    """The gate after one allowed command."""
    if command.cla not in (*_PLAIN_CLAS, _SECURE_CLA):
        raise Forbidden(f"class {command.cla:02X}")
    if command.cla == _SECURE_CLA and command.ins != INS.EXTERNAL_AUTHENTICATE and not gate.authenticated:
        raise Forbidden(f"{command.ins:02X} before EXTERNAL AUTHENTICATE")
    match command.ins:
        case INS.SELECT:
            _need(command.cla == 0x00 and (command.p1, command.p2) == (0x04, 0x00), "SELECT other than by name")
            _need(command.data in policy.aids, "SELECT of a foreign application")
            return _Gate(greeted=False)
        case INS.INITIALIZE_UPDATE:
            _need(command.cla == 0x80 and command.p2 == 0, "INITIALIZE UPDATE with other parameters")
            _need(len(command.data) in _HOST_CHALLENGE_BYTES, "INITIALIZE UPDATE with another challenge length")
            return _Gate(greeted=True)
        case INS.EXTERNAL_AUTHENTICATE:
            _need(command.cla == _SECURE_CLA, "EXTERNAL AUTHENTICATE in the clear")
            _need(command.p2 == 0 and len(command.data) in _PROOF_BYTES, "EXTERNAL AUTHENTICATE of another form")
            _need(gate.greeted, "EXTERNAL AUTHENTICATE twice, or without INITIALIZE UPDATE")
            _need(command.p1 in LEVELS, "EXTERNAL AUTHENTICATE at a level that does not exist")
            _need(command.p1 & policy.level == policy.level, "EXTERNAL AUTHENTICATE below the security level")
            return _Gate(greeted=False, authenticated=True)
        case INS.GET_DATA:
            _need(command.p1 << 8 | command.p2 in policy.tags, "GET DATA of another tag")
            _need(not gate.authenticated or command.cla == _SECURE_CLA, "a plain read in a secure channel")
            _need(command.cla == _SECURE_CLA or not command.data, "a plain read with data")
            return gate
        case INS.GET_RESPONSE:
            _need(command.cla == 0x00 and not command.data, "GET RESPONSE with data")
            return gate
        case ins if ins in _SECURED_ONLY:
            _need(command.cla == _SECURE_CLA, f"{ins:02X} in the clear")
            _need(ins not in _EXECUTIVE or policy.executive, f"{ins:02X}, a command of the executive")
            allowed = command.p1 == _CARD and command.p2 in _LIFE_CYCLES
            _need(ins != INS.SET_STATUS or allowed, "SET STATUS of something else, or to another state")
            alone = command.p1 == 0 and command.p2 & _RELATED == 0
            _need(ins != INS.DELETE or alone, "DELETE of related objects as well")
            return gate
    raise Forbidden(f"instruction {command.ins:02X}")


def _need(allowed: bool, otherwise: str) -> None:
    if not allowed:
        raise Forbidden(otherwise)


def relay(script: Script, policy: RelayPolicy, session: CardSession) -> Conversation[tuple[Report, CardSession]]:
    """Runs a script in this card connection; the report, and where the connection stands after it."""
    try:
        _belongs(script, session)
        check(script.steps, policy, greeted=bool(script.after))
    except Forbidden:
        return Report(script.number, script.digest, End.REFUSED, ()), session
    elapsed_ms = yield from Elapsed()
    if elapsed_ms > script.deadline_ms:
        return Report(script.number, script.digest, End.LATE, ()), session
    greeted_by = script.digest if _greets(script) else session.greeted_by
    session = replace(session, last_number=max(session.last_number, script.number), greeted_by=greeted_by)
    return (yield from _run(script, session))


def _belongs(script: Script, session: CardSession) -> None:
    """A script runs at most once, and only right after the answer that it belongs to."""
    changing = any(_changes(step) for step in script.steps)
    _need(not changing or script.number > 0, "a changing script without a number")
    _need(not changing or bool(script.after), "a changing script that names no session")
    _need(script.digest != session.greeted_by, "a greeting that already ran")
    _need(not script.number or script.number > session.last_number, "a script that already ran")
    _need(not script.after or script.after == session.last_answer, "a script for another session")


def _greets(script: Script) -> bool:
    return any(step.command[1:2] == bytes((INS.INITIALIZE_UPDATE,)) for step in script.steps)


def _changes(step: Step) -> bool:
    return step.command[1] in _CHANGING if len(step.command) > 1 else False


def _run(script: Script, session: CardSession) -> Conversation[tuple[Report, CardSession]]:
    answers: list[bytes] = []
    end, noted = End.COMPLETE, False
    for step in script.steps:
        if _changes(step) and not noted:
            elapsed_ms = yield from Elapsed()
            if elapsed_ms > script.deadline_ms:
                end = End.LATE
                break
            yield from NoteInDoubt(script)
            noted = True
        raw, bare = yield from exchange(step.command, session.bare)
        session = replace(session, bare=bare)
        if raw is None or not 2 <= len(raw) <= MAX_RESPONSE_BYTES:
            end, session = End.TORN, replace(session, last_answer=b"")
            break
        answers.append(raw)
        response = ResponseAPDU.decode(raw)
        session = _after(step, response, session)
        if step.accept and response.sw not in step.accept:
            end = End.STOPPED
            break
    report = Report(script.number, script.digest, end, tuple(answers))
    if noted:
        yield from KeepReport(report)
    return report, session


def _after(step: Step, response: ResponseAPDU, session: CardSession) -> CardSession:
    """An INITIALIZE UPDATE answer stays open until the next SELECT, INITIALIZE UPDATE or EXTERNAL AUTHENTICATE."""
    match step.command[1]:
        case INS.INITIALIZE_UPDATE:
            return replace(session, last_answer=response.data if response.ok else b"")
        case INS.SELECT | INS.EXTERNAL_AUTHENTICATE:
            return replace(session, last_answer=b"")
    return session
