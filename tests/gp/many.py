"""Inputs by the hundred thousand: values of the card's language, and bytes that are nearly right, from a seed.

Hypothesis finds the small counterexample; this finds the rare one, at some ten thousand inputs a second.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from kioskd.gp.apdu import MAX_ANSWER_BYTES, CommandAPDU, ResponseAPDU
from kioskd.gp.isd import AES_TYPE, PSEUDO_RANDOM, S16, SCP03, InitializeUpdateAnswer, KeyField, PutKeyData, Receipt
from kioskd.gp.keyinfo import MAX_ENTRIES, KeyEntry, KeyInformation
from kioskd.gp.registry import SecurityDomain
from kioskd.gp.tlv import TLV


@dataclass(slots=True)
class Count:
    """What came of all inputs."""

    codecs: int = 0
    round_trips: int = 0
    understood: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds

    @property
    def inputs(self) -> int:
        """How many inputs were read."""
        return self.round_trips + self.understood + self.refused

    def __str__(self) -> str:
        return (
            f"codecs: {self.codecs} codecs, {self.inputs:,} inputs: {self.round_trips:,} round trips, "
            f"{self.understood:,} bent ones understood, {self.refused:,} refused, slowest {1000 * self.slowest:.1f} ms"
        )


COUNT = pytest.StashKey[Count]()
"""Where the last test leaves its count for the terminal summary."""


def bent(some: Random, good: bytes) -> bytes:
    """Bytes that are nearly right: a bit or a byte changed, cut, put in, doubled; now and then mere noise."""
    if some.random() < 0.1:
        return some.randbytes(some.randrange(300))
    raw = bytearray(good)
    for _ in range(some.randint(1, 4)):
        at = some.randrange(len(raw) + 1)
        match some.randrange(7):
            case 0 if raw:
                raw[at % len(raw)] ^= 1 << some.randrange(8)
            case 1 if raw:
                raw[at % len(raw)] = some.choice((0x00, 0x01, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFE, 0xFF))
            case 2:
                raw[at:at] = some.randbytes(some.randint(1, 4))
            case 3:
                del raw[at : at + some.randint(1, 4)]
            case 4:
                del raw[at:]
            case 5:
                raw += raw[at:]
            case _:
                raw[at : at + 1] = some.randbytes(1)
    return bytes(raw[:1200])


def command(some: Random) -> CommandAPDU:
    """Any short command."""
    le = some.choice((None, 256, some.randint(1, 256)))
    cla, ins, p1, p2 = some.randbytes(4)
    return CommandAPDU(cla, ins, p1, p2, some.randbytes(some.randrange(256)), le)


def response(some: Random) -> ResponseAPDU:
    """Any response, also one that came in parts."""
    return ResponseAPDU(some.randbytes(some.randrange(MAX_ANSWER_BYTES + 1)), some.randrange(0x10000))


def data_objects(some: Random) -> tuple[TLV, ...]:
    """Up to six data objects with tags of one to three bytes."""
    return tuple(TLV(_tag(some), some.randbytes(some.choice((0, 1, 127, 128, 255, 256, 300)))) for _ in range(6))


def _tag(some: Random) -> int:
    last, middle = some.randrange(0x80), some.randint(0x80, 0xFF)
    short = some.choice([one for one in range(1, 0x100) if one & 0x1F != 0x1F])
    first = some.choice((0x1F, 0x3F, 0x5F, 0x7F, 0x9F, 0xBF, 0xDF, 0xFF))
    return some.choice((short, first << 8 | last, first << 16 | middle << 8 | last))


def key_information(some: Random) -> KeyInformation:
    """Up to 128 basic entries, of four components at most."""

    def entry() -> KeyEntry:
        components = ((some.randrange(0xFF), some.randint(1, 256)) for _ in range(some.randrange(5)))
        return KeyEntry(some.randrange(256), some.randrange(256), tuple(components))

    return KeyInformation(tuple(entry() for _ in range(some.randrange(MAX_ENTRIES + 1))))


def update_answer(some: Random) -> InitializeUpdateAnswer:
    """S8 or S16, with and without the sequence counter, as i says."""
    i = some.randrange(256)
    size = 16 if i & S16 else 8
    sequence = some.randbytes(3) if i & PSEUDO_RANDOM else None
    proofs = some.randbytes(size), some.randbytes(size)
    return InitializeUpdateAnswer(some.randbytes(10), some.randrange(256), SCP03, i, *proofs, sequence)


def put_key(some: Random) -> PutKeyData:
    """Up to five keys in both layouts."""

    def field() -> KeyField:
        ciphertext = some.randbytes(16 * some.randint(1, 2))
        with_length = some.random() < 0.5
        length = some.randint(1, 32) if with_length else len(ciphertext)
        kcv = some.randbytes(3) if some.random() < 0.9 else b""
        return KeyField(some.choice((AES_TYPE, 0x80, 0xFF)), ciphertext, length, kcv, with_length)

    return PutKeyData(some.randrange(256), tuple(field() for _ in range(some.randint(1, 5))))


def receipt(some: Random) -> Receipt:
    """Up to eight check values."""
    return Receipt(some.randrange(256), tuple(some.randbytes(3) for _ in range(some.randrange(9))))


def security_domains(some: Random) -> tuple[SecurityDomain, ...]:
    """Up to ten, some with an owner."""

    def domain() -> SecurityDomain:
        privileges = bytes((some.randrange(0x80, 0x100),)) + some.randbytes(some.choice((0, 2)))
        owner = some.randbytes(some.randint(5, 16)) if some.random() < 0.5 else b""
        return SecurityDomain(some.randbytes(some.randint(5, 16)), some.randrange(256), privileges, owner)

    return tuple(domain() for _ in range(some.randrange(11)))


VALUES: Mapping[str, Callable[[Random], Any]] = {
    "command": command,
    "response": response,
    "TLV": data_objects,
    "key information": key_information,
    "INITIALIZE UPDATE answer": update_answer,
    "PUT KEY": put_key,
    "receipt": receipt,
    "security domains": security_domains,
}
"""For each codec that writes: a value that it must read again as it was."""
