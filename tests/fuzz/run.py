"""`python -m tests.fuzz.run --seconds S --seed N`: bent inputs for every reader, in a process whose memory is bounded.

Each input has a bound of processor time, which a busy machine does not use up. The table, as JSON with --json, goes to
standard output; a failure's input goes to standard error, in hex.
"""

import argparse
import json
import logging
import resource
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.readers import Reader, readers
from tests.fuzz.rows import NotARow

INPUT_S = 5.0
"""Of processor time: a reader that needs more for one input hangs."""
MEMORY_BYTES = 512 << 20
"""That a run may need above what the process has when it begins."""


_MEMORY = Path("/dev/shm")  # noqa: S108 - databases that wait for a disk would take most of the time


class Hang(BaseException):
    """One input has used up its time."""


@dataclass(slots=True)
class Row:
    """What came of one reader."""

    name: str
    inputs: int = 0
    refused: int = 0
    understood: int = 0
    crashes: int = 0
    hangs: int = 0
    slowest_ms: float = 0.0


def fuzz(reader: Reader, seed: int, seconds: float, most: int = 10**9) -> Row:
    """Feeds one reader for so many seconds of processor time."""
    row, some = Row(reader.name), Random(f"{seed} {reader.name}")
    began, wall = time.process_time(), time.monotonic()
    # One that waits for its answers uses less of the processor than of the day.
    while row.inputs < most and time.process_time() - began < seconds and time.monotonic() - wall < 10 * seconds:
        raw = reader.input(some)
        before = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, INPUT_S)
        try:
            reader.read(raw)
            row.understood += 1
        except NotARow:
            continue  # was no input
        except reader.errors:
            row.refused += 1
        except Hang:
            row.hangs += 1
            _tell(reader, "hangs", raw)
        except Exception as wrong:  # noqa: BLE001 - whatever it is, it is counted
            row.crashes += 1
            if row.crashes <= 3:
                _tell(reader, repr(wrong)[:200], raw)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        row.inputs += 1
        row.slowest_ms = max(row.slowest_ms, 1000 * (time.process_time() - before))
    return row


def _tell(reader: Reader, what: str, raw: bytes) -> None:
    print(f"{reader.name}: {what}: {raw[:400].hex()}", file=sys.stderr)


def bound_memory() -> int:
    """From now on an allocation above the bound is a MemoryError; the bytes that are mapped now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    mapped = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY_BYTES, resource.RLIM_INFINITY))
    return mapped


def table(rows: list[Row]) -> str:
    """For people."""
    head = (
        f"{'codec':<28} {'inputs':>9} {'refused':>9} {'understood':>10} {'crashes':>7} {'hangs':>5} {'slowest ms':>10}"
    )
    lines = [
        f"{one.name:<28} {one.inputs:>9,} {one.refused:>9,} {one.understood:>10,} {one.crashes:>7} {one.hangs:>5}"
        f" {one.slowest_ms:>10.1f}"
        for one in rows
    ]
    return "\n".join([head, *lines])


def _hang(_: int, __: FrameType | None) -> None:
    raise Hang


def main() -> int:
    """Fuzzes all of them; 1 if any has crashed or hung."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15.0, help="of processor time, for all readers together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="the readers whose name begins so")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGPROF, _hang)
    with tempfile.TemporaryDirectory(prefix="kioskd-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None) as one:
        chosen = [reader for reader in readers(Path(one)) if reader.name.startswith(args.only)]
        for reader in chosen:  # what is loaded late is loaded now
            fuzz(reader, args.seed, 1.0, most=3)
        bound_memory()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = [fuzz(reader, args.seed, args.seconds / len(chosen)) for reader in chosen]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"rows": [asdict(row) for row in rows], "grown_kib": grown}) if args.json else table(rows))
    if not args.json:
        print(f"{sum(row.inputs for row in rows):,} inputs; memory grew by {grown / 1024:.0f} MiB")
    return int(any(row.crashes or row.hangs for row in rows))


if __name__ == "__main__":
    sys.exit(main())
