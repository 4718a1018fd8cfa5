"""The places of one operation, found by running it: taps without harm, and what they meet."""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from kioskd.virtual.vpcd import CardInReader
from tests.stack.boundaries import Plan
from tests.stack.cases import CALL_HARM, SERVER, TERMINAL, Case, Kind, Recording
from tests.stack.harms import ASKED_AT, Liar, at_command, traced
from tests.stack.house import House, look
from tests.stack.play import Play
from tests.stack.roles import until
from tests.stack.witness import unsynced

RECORDED = "recording"
AFTERWARDS_S = 0.4
"""How long a process may be busy with a tap after its outcome."""

DIES = {TERMINAL: "after journal.keep_report", SERVER: "before store.append(Found)"}
"""Where a process dies whose return is recorded: the card is changed, and what is known of it is on its way."""


def record(house: House) -> Recording:
    """All that a case of this operation may be about."""
    made = Recording(house.operation.name)
    house.use_line(lossy=False)
    _plain(house, made)
    for role in (TERMINAL, SERVER):
        made.again[role] = _return(house, role, next(at for at in made.met[role] if at.startswith(DIES[role])))
    _looked_at(house, made)
    _lied(house, made)
    _system_calls(house, made)
    late = unsynced(made)
    assert not late, late
    return made


def record_packets(house: House) -> list[str]:
    """The packets with data that cross the slow link in a tap in which none is lost."""
    house.use_line(lossy=True)
    line = house.lossy_line
    usual, line.loss = line.loss, 0.0
    line.arm("", None)
    _tap(house, house.cards.hand(house.cards.new()))
    line.loss = usual
    return list(line.seen)


def _plain(house: House, made: Recording) -> None:
    hand = house.cards.hand(house.cards.new())
    house.cutter.arm(None)
    hand.before_answer = lambda command: made.commands.append(command[1])
    made.met = _noted(house, lambda: _tap(house, hand))
    made.records = list(house.cutter.seen)
    hand.before_answer = None
    _tap(house, hand)
    made.outcomes = tuple(house.terminal.outcomes()[-2:])
    wrong = house.cards.complaints(hand.card)
    assert not wrong, wrong


def _return(house: House, role: str, died: str) -> tuple[str, list[str]]:
    """What a process meets that is started again after its death at that place."""
    name, met = house.name_of(role), list[str]()
    kind = Kind.TERMINAL_KILLED if role == TERMINAL else Kind.SERVER_KILLED
    play = Play(house, Case(house.operation.name, kind, died))
    play.returned = lambda: met.extend(house.nursery.met(name))
    result = play.run()
    assert not result.wrong, result
    return died, met


def _looked_at(house: House, made: Recording) -> None:
    """What a look at the terminal's status meets in the midst of a tap."""
    hand = house.cards.hand(house.cards.new())
    hand.before_answer = at_command(ASKED_AT, partial(look, house))
    met = _noted(house, lambda: _tap(house, hand))[TERMINAL]
    made.met[TERMINAL] += [at for at in met if Case(made.operation, Kind.TERMINAL_KILLED, at).asked]


def _lied(house: House, made: Recording) -> None:
    """What a wrong cryptogram meets at the server: it is charged."""
    card = house.cards.new()
    hand = house.cards.hand(card)
    hand.card = Liar(card)  # type: ignore[assignment]
    met = _noted(house, lambda: _tap(house, hand))[SERVER]
    made.met[SERVER] += [at for at in met if "store.charge " in at]
    hand.card = card
    _tap(house, hand)


def _system_calls(house: House, made: Recording) -> None:
    """What each end calls in every tap: in the one of two in which it was less."""
    found: dict[str, list[Counter[str]]] = {TERMINAL: [], SERVER: []}
    for _ in range(2):
        with ExitStack() as stack:
            watched = {role: traced(house, role, f"trace={','.join(CALL_HARM)}") for role in found}
            for one in watched.values():
                one.enter(stack)
            _tap(house, house.cards.hand(house.cards.new()))
            time.sleep(AFTERWARDS_S)
        for role, one in watched.items():
            found[role].append(one.counts())
    made.calls = {role: one & other for role, (one, other) in found.items()}


def _noted(house: House, work: Callable[[], None]) -> dict[str, list[str]]:
    """The boundaries that both ends meet in some work."""
    names = {role: house.name_of(role) for role in (TERMINAL, SERVER)}
    for name in names.values():
        house.nursery.arm(name, Plan(RECORDED))
    work()
    time.sleep(AFTERWARDS_S)
    met = {role: house.nursery.met(name) for role, name in names.items()}
    for name in names.values():
        house.nursery.arm(name, None)
    return met


def _tap(house: House, hand: CardInReader) -> None:
    before = len(house.terminal.outcomes())
    hand.insert()
    until(lambda: len(house.terminal.outcomes()) > before, "no tap ends", house.terminal)
    until(lambda: not house.cards.waiting(), "a report is not acknowledged", house.terminal)
    hand.pull()
