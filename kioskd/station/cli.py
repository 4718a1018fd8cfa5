"""`kioskd station`: the issuing station. Each card that is inserted is issued, alone or as one of a batch."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from kioskd.config import TerminalConfig, load_terminal
from kioskd.edges.batch_file import BatchFile, read_batch
from kioskd.edges.systemd import log_to_file, set_up_log
from kioskd.errors import BadConfiguration, KioskError
from kioskd.outcomes import outcome
from kioskd.station.batch import Batch
from kioskd.station.order import order_of
from kioskd.station.report import as_csv, as_json
from kioskd.terminal.observer import Nobody
from kioskd.terminal.run import identity, run_terminal
from kioskd.terminal.tap import TapRecord

_BATCH = "the batch: an order FILE.yaml, its FILE.batch, or a name"


class Count(Nobody):
    """Prints a line for each card and says when the last one is done."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.good, self.bad = wanted, 0, 0

    async def ends(self, tap: TapRecord) -> bool:
        """Counts one card; True after the last."""
        good = tap.outcome == "issued"
        self.good, self.bad = self.good + good, self.bad + (not good)
        _print_card(f"card {self.good + self.bad}", tap)
        return self.good == self.wanted


class Lines:
    """A batch without a screen of its own: a line for each card, and one whenever something else is to be done."""

    def __init__(self) -> None:
        self._said = ""

    def show(self, name: str) -> None:
        """Nothing: the batch has said more about it."""

    def say(self, words: str) -> None:
        """Nothing: the batch says what is to be done."""

    def card(self, tap: TapRecord, batch: Batch) -> None:
        """A card's tap has ended."""
        line = batch.readers.get(tap.reader)
        where = f"reader {line.number}" if line else tap.reader
        _print_card(f"{batch.issued} of {batch.wanted} issued; {where}", tap)

    def next_step(self, batch: Batch) -> None:
        """Something has changed."""
        words = batch.board().next_step.words
        if words != self._said:
            print(f"next: {words}", flush=True)
            self._said = words


def main(argv: list[str]) -> int:
    """Issues cards until told to stop or until enough are good, or reports; 2 for what is not usable."""
    try:
        return _report(argv[1:]) if argv[:1] == ["report"] else _issue(argv)
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return 2 if isinstance(wrong, BadConfiguration) else 1


def _issue(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "kioskd station",
        description="the issuing station",
        epilog="`kioskd station report --help` tells of a batch's report.",
    )
    parser.add_argument("--config", type=Path, required=True, help="its YAML file")
    parser.add_argument("--check", action="store_true", help="only say whether the configuration is usable")
    parser.add_argument("--batch", metavar="B", help=f"{_BATCH}; one that was begun goes on where it stopped")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N cards that are issued well")
    parser.add_argument("--plain", action="store_true", help="lines instead of the full-screen view of a batch")
    args = parser.parse_args(argv)
    config = load_terminal(args.config)
    if args.check:
        identity(config)
        print(f"{args.config}: station {config.name} is configured well")
        return 0
    if args.batch is not None:
        return _issue_batch(config, args.batch, args.count, plain=args.plain or not _is_screen())
    set_up_log("kioskd-station")
    count = Count(args.count)
    asyncio.run(run_terminal(config, "issue", "station", observer=count))
    print(f"issued {count.good}, set aside {count.bad}")
    return 0


def _issue_batch(config: TerminalConfig, text: str, count: int, *, plain: bool) -> int:
    order = order_of(text, Path(config.journal).parent, count)
    with BatchFile(order.path, order.name, order.wanted) as file:
        batch = Batch(file)
        asyncio.run(_in_lines(config, batch) if plain else _in_view(config, batch))
        board = batch.board()
        print(f"{board.name}: {board.issued} of {board.wanted} issued, {len(board.aside)} set aside")
    return 0


async def _in_lines(config: TerminalConfig, batch: Batch) -> None:
    set_up_log("kioskd-station")
    lines = Lines()
    batch.on_end, batch.on_change = lines.card, lambda: lines.next_step(batch)
    await batch.resume()
    if batch.issued < batch.wanted:
        await run_terminal(config, "issue", "station", observer=batch, panel=lines)


async def _in_view(config: TerminalConfig, batch: Batch) -> None:
    from kioskd.station.view import StationView  # only who looks at the view pays for its library

    log_to_file(batch.file.path.with_suffix(".log"))
    await batch.resume()
    stop = asyncio.Event()

    async def work() -> None:
        if batch.issued < batch.wanted:
            await run_terminal(config, "issue", "station", observer=batch, panel=Lines(), stop=stop)

    view = StationView(batch.board, work, stop)
    await view.run_async()
    if view.wrong is not None:
        raise view.wrong


def _is_screen() -> bool:
    """Whether a person looks: the view draws on standard error, and reads keys."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM", "dumb") != "dumb"


def _report(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("kioskd station report", description="how each card of a batch ended")
    parser.add_argument("--batch", required=True, metavar="B", help=_BATCH)
    parser.add_argument("--config", type=Path, help="the station's YAML file, where the batch is a name")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--csv", metavar="OUT", help="a table in this file; - for the screen")
    form.add_argument("--json", metavar="OUT", help="the same for programs, with the totals")
    args = parser.parse_args(argv)
    folder = Path(load_terminal(args.config).journal).parent if args.config else None
    batch = read_batch(order_of(args.batch, folder).path)
    _write(args.csv or args.json, as_csv(batch) if args.csv else as_json(batch))
    return 0


def _write(out: str, text: str) -> None:
    if out == "-":
        print(text, end="")
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise BadConfiguration(f"{out}: cannot be written: {wrong.strerror}") from wrong


def _print_card(head: str, tap: TapRecord) -> None:
    one = outcome(tap.outcome)
    print(f"{head}: {one.code} {tap.outcome} in {tap.ms:.0f} ms", flush=True)
    if tap.outcome != "issued":
        print(f"  {one.technician} {one.advice}", flush=True)
