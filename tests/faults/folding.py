"""Which states are one: what a later tap could tell apart is kept, what only looks different is left out.

Left out: challenges, MACs, digests and sealed response keys (each fits its own script and no other), names of taps,
fence numbers (they are compared within one conversation), the card's sequence counters. A waiting report counts as what
it would prove today. Key values count as whose they are.
"""

from typing import Any

from kioskd.rekey.asks import Proves, UnwrapResponses
from kioskd.rekey.evidence import judge
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.notices import HandedBack
from kioskd.rekey.records import CardState, Closed, Found, Intent, Record
from kioskd.rekey.wire import CardReport, Report
from kioskd.virtual.card_memory import CardMemory, StoredSet
from tests.faults.scenarios import Scenario, World

Key = tuple[Any, ...]


def key_of(scenario: Scenario, world: World) -> Key:
    """The state, as far as it matters."""
    state = world.state
    return (
        _card(scenario, world.memory, state),
        tuple(_record(one) for one in world.records),
        tuple(sorted(world.charges.items())),
        tuple(sorted((name, _notes(scenario, state, rows)) for name, rows in world.written.items())),
        world.unsynced,
        world.over,
        world.here,
    )


def _card(scenario: Scenario, memory: CardMemory, state: CardState) -> Key:
    sets = tuple((one.kvn, one.tries, _whose(scenario, one, state)) for one in memory.sets)
    return (sets, memory.life_cycle, memory.sealed, memory.others)


def _whose(scenario: Scenario, stored: StoredSet, state: CardState) -> Key:
    """Whose a key set is: one of ours by its place in the records, else its value."""
    oracle = scenario.oracle
    for krk in state.krks:
        if oracle.is_krk(stored, krk):
            return ("krk", krk.install)
    for intent in state.intents:
        if intent.master is not None and oracle.is_master(stored, intent.master):
            return ("master", intent.master)
    return ("value", stored.enc, stored.mac, stored.dek, stored.unlock)


def _krk(cryptogram: Cryptogram | None) -> Key | None:
    return None if cryptogram is None else (cryptogram.epoch, cryptogram.kvn, cryptogram.install)


def _record(record: Record) -> Any:
    match record:
        case Intent():
            return (
                *(record.number, record.purpose, record.opened.kvn, record.opened_krk, record.acts, record.deletes),
                *(record.put_kvn, record.master, _krk(record.cryptogram), record.with_length),
                *(one.kvn for one in record.greetings),
            )
        case Found():
            return _found(record)
        case Closed():
            return (
                *("closed", record.number, record.purpose, record.master, _krk(record.krk), record.receipt),
                *(record.krk_proof, record.audit, record.krk_trust),
            )
        case HandedBack(cryptogram):
            return ("back", _krk(cryptogram))
    return record


def _found(found: Found) -> Key:
    return (
        *(found.number, found.end, found.receipt, found.key_information, found.proven_master, _krk(found.proven_krk)),
        *(found.forged, found.locked, found.told, found.refused_put, found.declined, found.opened),
    )


def _notes(scenario: Scenario, state: CardState, notes: Any) -> Key:
    reports = tuple(_report(scenario, state, one) for one in notes.reports)
    return (reports, tuple(_krk(one) for one in notes.cryptograms))


def _report(scenario: Scenario, state: CardState, waiting: CardReport) -> Key:
    """What a waiting report would prove."""
    report = waiting.report
    intent = state.intent(report.number, report.digest)
    words = tuple(raw[-2:] for raw in report.answers)
    if intent is None:
        return ("unknown", report.number, report.end, words)
    return (report.number, report.end, words, _found(_judged(scenario, state, intent, report)))


def _judged(scenario: Scenario, state: CardState, intent: Intent, report: Report) -> Found:
    """The shipped judgement, with the vault's answers and no step counted."""
    judging, vault, reply = judge(scenario.subject, state, intent, report), scenario.vault, None
    try:
        while True:
            match judging.send(reply):
                case UnwrapResponses(sealed, marks, responses):
                    reply = vault.unwrap_responses(sealed, marks, responses)
                case Proves(handle, challenge, answer):
                    reply = vault.proves(handle, challenge, answer)
                case ask:
                    named = getattr(ask, "label", None) or getattr(ask, "name", None)
                    verb = "derive_master" if hasattr(ask, "label") else "factory_set"
                    reply = vault.set_of(verb, named)
    except StopIteration as end:
        found: Found = end.value
        return found
