"""`kioskd sim`: the virtual card in a virtual reader at a test engineer's word; many of them in virtual time."""

import argparse
import contextlib
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kioskd.command_line import run_command
from kioskd.config import load_yaml
from kioskd.errors import BadConfiguration, NoCard
from kioskd.gp.apdu import INS
from kioskd.gp.isd import DES_TYPE
from kioskd.sim import run_cli
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.card_memory import StoredSet
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader, Pace

PORT = 35963
"""Where Debian's vpcd listens for its first slot."""

HELP = """\
  insert                  put the card in
  pull                    take it out
  tear before|after INS   lose power once, before or after a command: PUT_KEY, DELETE, any, ...
  state                   what the card holds
  quit                    end (so does Ctrl-D)
"""


@dataclass(frozen=True, slots=True)
class SimulatedCard:
    """The options file: the card's kind and pace."""

    card: CardOptions | None = None  # the standard one, or the one that there is
    pace: Pace = field(default_factory=Pace)


def main(argv: list[str]) -> int:
    """Runs a tool to its end; 2 with one sentence for anything that cannot be done."""
    parser = argparse.ArgumentParser("kioskd sim", description="tools for test engineers")
    tools = parser.add_subparsers(required=True, metavar="TOOL")
    raw = argparse.RawDescriptionHelpFormatter
    card = tools.add_parser("card", help="the virtual card in a virtual reader", epilog=HELP, formatter_class=raw)
    card.add_argument("--state", type=Path, required=True, help="the card's memory; made if it is not there")
    card.add_argument("--options", type=Path, help="YAML: what kind of card a new one is, and its pace")
    card.add_argument("--host", default="127.0.0.1", help="where vpcd listens")
    card.add_argument("--port", type=int, default=PORT, help=f"its port (default {PORT})")
    card.add_argument("--private", action="store_true", help="start a pcscd of its own, that nobody else sees (root)")
    run = tools.add_parser("run", help="many cards, kiosks and campaigns in virtual time, under random faults")
    run_cli.add_arguments(run)
    card.set_defaults(work=_card)
    run.set_defaults(work=run_cli.sim_run)
    return run_command(parser, argv)


def _card(args: argparse.Namespace) -> int:
    options = load_yaml(SimulatedCard, args.options) if args.options else SimulatedCard()
    try:
        card = VirtualCard(args.state, options.card or CardOptions())
    except OSError as wrong:
        raise BadConfiguration(f"{args.state}: {wrong.strerror}") from wrong
    if options.card is not None and card.options != options.card:
        raise BadConfiguration(
            f"{args.state}: holds a card of another kind than {args.options} has under `card:`;"
            " a new card needs a --state that is not there yet, this one goes without `card:`"
        )
    with _reader(args) as connect:
        _obey(CardInReader(card, connect, options.pace))
    return 0


@contextlib.contextmanager
def _reader(args: argparse.Namespace) -> Iterator[Callable[[], socket.socket]]:
    """A way to put a card into a reader."""
    if not args.private:
        yield lambda: _connect(args.host, args.port)
        return
    with tempfile.TemporaryDirectory(prefix="kioskd-") as folder, PrivatePcscd(Path(folder)) as pcscd:
        for name, value in pcscd.environment.items():
            print(f"For PC/SC programs: {name}={value}, reader {pcscd.readers[0].name!r}")
        yield pcscd.connect_card


def _connect(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=None)
    except OSError as wrong:
        raise NoCard(f"{host}:{port}: no vpcd listens there ({wrong.strerror}); is pcscd running with vpcd?") from wrong


def _obey(hand: CardInReader) -> None:
    """Obeys one line at a time until quit or the end of input."""
    print(HELP, end="")
    try:
        for line in sys.stdin:
            if line.split()[:1] == ["quit"]:
                return
            _do(hand, line.split())
    finally:
        hand.pull()


def _do(hand: CardInReader, words: list[str]) -> None:
    match words:
        case ["insert"] if hand.inserted:
            print("the card is in already")
        case ["insert"]:
            hand.insert()
            print("the card is in the reader")
        case ["pull"]:
            hand.pull()
            print("the card is out")
        case ["tear", ("before" | "after") as when, name]:
            _tear(hand, Tear(when), name.upper())
        case ["state"]:
            print("\n".join(state(hand.card)))
        case []:
            pass
        case _:
            print(HELP, end="")


def _tear(hand: CardInReader, when: Tear, name: str) -> None:
    if name != "ANY" and name not in INS.__members__:
        print(f"no command is called {name}; there are any, {', '.join(INS.__members__)}")
        return
    hand.card.tear(when, None if name == "ANY" else INS[name])
    print(f"the card will lose power once {when.value} the next {name.replace('_', ' ')}")


def _kind(one: StoredSet) -> str:
    return "3DES" if one.kind == DES_TYPE else f"AES-{8 * len(one.enc)}"


def state(card: VirtualCard) -> list[str]:
    """The card's memory for a person: no key value."""
    memory = card.memory
    lines = [
        f"card {card.options.serial.hex().upper()}, life cycle {memory.life_cycle.name}, i={card.options.scp_i:02X}",
        "  KVN   keys         tries left   sequence",
    ]
    for one in memory.sets:
        lines.append(f"  {one.kvn:02X}    {_kind(one):<13}{one.tries:>10} {one.sequence:>10}")
    return lines
