"""What a lying terminal says instead of the card, and what a thief of the old master set leaves on it."""

from collections.abc import Callable
from dataclasses import replace

from kioskd.gp.keyinfo import KeyInformation
from kioskd.virtual.card_memory import CardMemory, StoredSet
from tests.faults.scenarios import Scenario

_OK = b"\x90\x00"


def keys_told(scenario: Scenario, lie: str) -> bytes:
    """Key information as the liar wants it."""
    profile = scenario.profile
    if lie == "lie-short":
        return _OK
    generation, kind = 1, None
    if lie == "lie-new-keys":
        generation, kind = scenario.generation, profile.migrates.kind if profile.migrates is not None else None
    told = profile.entries(profile.krk_kvn) | profile.entries(profile.master_kvn(generation), kind)
    return KeyInformation(tuple(told)).encode() + _OK


def bent(scenario: Scenario, lie: str) -> Callable[[bytes], bytes]:
    """How one answer is bent."""
    match lie:
        case "lie-sw":
            return lambda raw: raw[:-2] + (b"\x6a\x88" if raw[-2:] == _OK else _OK)
        case "lie-bit":
            return lambda raw: bytes((raw[0] ^ 1,)) + raw[1:]
        case "lie-short":
            return lambda _: _OK
    return lambda _: keys_told(scenario, lie)


def planted(scenario: Scenario, memory: CardMemory) -> CardMemory:
    """A thief of the leaked master set has put a set of their own in its place, if it is still there."""
    profile = scenario.profile
    strange = profile.first_master_kvn + profile.master_kvns - 2
    old = memory.at(profile.master_kvn(1))
    if old is None or memory.at(strange) is not None:
        return memory
    size = len(old.enc)
    theirs = replace(old, kvn=strange, enc=b"e" * size, mac=b"m" * size, dek=b"d" * size)
    return memory.having(theirs, old.kvn)


def is_strange(stored: StoredSet) -> bool:
    """Whether a set is the thief's."""
    return set(stored.enc) == set(b"e")
