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
    generation = scenario.generation if lie == "lie-new-keys" else 1
    kvns = (profile.krk_kvn, profile.master_kvn(generation))
    return KeyInformation(tuple(entry for kvn in kvns for entry in profile.entries(kvn))).encode() + _OK


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
