"""`python -m tests.fuzz.guided READER --seconds S`: one reader under atheris, which leads inputs to new code.

Needs the library atheris (the extra `fuzz`). A failure, an input of more than ten seconds and a process of more than
two GiB end it with an input on the screen; otherwise it ends with 0.
"""

import argparse
import contextlib
import logging
import sys
import tempfile
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    sys.exit("the library atheris is not installed: pip install atheris, where it has a wheel (the extra `fuzz`)")

with atheris.instrument_imports(include=["kioskd"]):
    from tests.fuzz.readers import Reader, readers
    from tests.fuzz.rows import NotARow

EXAMPLES = 200
INPUT_S, MOST_MIB, LONGEST = 10, 2048, 4096


def feed(reader: Reader, folder: Path, seconds: int, seed: int) -> None:
    """Begins with bent examples; never returns."""

    refusals: tuple[type[Exception], ...] = (NotARow, *reader.errors)

    def one(raw: bytes) -> None:
        with contextlib.suppress(*refusals):
            reader.read(raw)

    corpus = folder / "corpus"
    corpus.mkdir()
    some = Random(seed)
    for number, raw in enumerate((*reader.good, *(reader.input(some) for _ in range(EXAMPLES)))):
        (corpus / str(number)).write_bytes(raw[:LONGEST])
    bounds = f"-timeout={INPUT_S} -rss_limit_mb={MOST_MIB} -max_len={LONGEST} -max_total_time={seconds} -seed={seed}"
    atheris.Setup([sys.argv[0], *bounds.split(), "-verbosity=0", "-print_final_stats=1", str(corpus)], one)
    atheris.Fuzz()


def main() -> None:
    """One reader, by name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reader")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="kioskd-guided-"))
    chosen = [one for one in readers(folder) if one.name == args.reader]
    if not chosen:
        sys.exit(f"no reader is called {args.reader}")
    feed(chosen[0], folder, args.seconds, args.seed)


if __name__ == "__main__":
    main()
