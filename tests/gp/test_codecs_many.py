"""Two hundred thousand inputs and more: each is read as it was written, or refused by the one error, and none hangs."""

from random import Random
from time import perf_counter

import pytest

from kioskd.errors import Malformed
from tests.gp.codecs import CODECS, Codec
from tests.gp.many import COUNT, VALUES, Count, bent

INPUTS = 208_000
SEED = 2031

PER_CODEC = INPUTS // len(CODECS)


def read_many(codec: Codec, some: Random, count: Count) -> None:
    """As many inputs as one codec's share; the first that is neither is an assertion that shows it."""
    good = bytes.fromhex(codec.good)
    make = VALUES.get(codec.name)
    for number in range(PER_CODEC):
        value = make(some) if make is not None and number % 2 else None
        if value is not None:
            assert codec.write is not None
            good = codec.write(value)  # the next bent one is bent from this
        raw = good if value is not None else bent(some, good)
        started = perf_counter()
        try:
            read = codec.read(raw)
        except Malformed:
            assert value is None, f"{codec.name} refuses what it wrote: {raw.hex()}"
            count.refused += 1
        except Exception as wrong:
            raise AssertionError(f"{codec.name} fails at {raw.hex()}") from wrong
        else:
            _judge(codec, raw, value, read)
            count.round_trips += value is not None
            count.understood += value is None
        count.slowest = max(count.slowest, perf_counter() - started)


def _judge(codec: Codec, raw: bytes, value: object, read: object) -> None:
    if value is not None:
        assert read == value, f"{codec.name}: {raw.hex()}"
    elif codec.write is not None and codec.writable(read):
        assert codec.read(codec.write(read)) == read, f"{codec.name}: {raw.hex()}"


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_two_hundred_thousand_inputs_are_read_as_written_or_refused(pytestconfig: pytest.Config) -> None:
    count, some = Count(len(CODECS)), Random(SEED)
    for codec in CODECS:
        before = count.refused, count.understood
        read_many(codec, some, count)
        # Bent inputs that are all refused, or all understood, would have tested nothing.
        assert count.refused - before[0] > PER_CODEC // 100, codec.name
        assert count.understood - before[1] > PER_CODEC // 100, codec.name
    pytestconfig.stash[COUNT] = count
    assert count.inputs == INPUTS >= 200_000
    assert count.round_trips == len(VALUES) * (PER_CODEC // 2)
    assert count.slowest < 1.0


def test_every_codec_that_writes_is_given_values() -> None:
    assert {codec.name for codec in CODECS if codec.write is not None} == set(VALUES)
