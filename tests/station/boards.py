"""Batches to look at: the boards of the pictures and of the tests of the view."""

from kioskd.edges.batch_file import CardRow, CardState
from kioskd.outcomes import outcome
from kioskd.station.batch import advice_at_station
from kioskd.station.board import Board, Doing, ReaderLine

MORNING = 1_700_000_000.0
READERS = tuple(f"ACS ACR39U ICC Reader 0{number} 00" for number in range(4))


def row(number: int, at: float, name: str = "issued", reader: str = READERS[0], tries: int = 1) -> CardRow:
    """A card whose last tap ended like that, at a time; begun, and issued only if that is the outcome."""
    one, good = outcome(name), name == "issued"
    state, words = (CardState.ISSUED, ("", "")) if good else (CardState.ASIDE, (one.technician, advice_at_station(one)))
    issued = at if good else 0.0
    return CardRow(f"{number:032x}", shown(number), state, name, one.code, *words, reader, tries, at, at, at, issued)


def rows(count: int, every_s: float = 2.5) -> tuple[CardRow, ...]:
    """Cards that were issued one after the other, the last one at this moment."""
    return tuple(row(number, MORNING - every_s * (count - 1 - number)) for number in range(count))


def board(cards: tuple[CardRow, ...], lines: tuple[ReaderLine, ...], wanted: int = 100, fault: str = "") -> Board:
    """A board at work for the last ten minutes."""
    return Board("visa-debit-november", wanted, cards, lines, fault, MORNING - 600, MORNING)


def line(number: int, doing: Doing = Doing.FREE, card: int = 0, name: str = "", present: bool = True) -> ReaderLine:
    """A reader whose last card, of that number, ended like that."""
    return ReaderLine(number, READERS[number - 1], doing, present, name, shown(card) if card else "")


def shown(number: int) -> str:
    """A card's id as it is shown."""
    return f"cplc:…{0x0A10 + number:08X}"


MID = board(
    rows(37),
    (
        line(1, Doing.ISSUING, card=38),
        line(2, present=False),
        line(3, Doing.READING),
        line(4, Doing.ISSUING, card=39),
    ),
)
PULLED, BAD = row(62, MORNING - 20, "card-pulled-in-doubt", READERS[2]), row(63, MORNING, "scp-unsupported")
ASIDE = board(
    (*rows(62), PULLED, BAD),
    (
        line(1, card=63, name="scp-unsupported"),
        line(2, Doing.ISSUING, card=64),
        line(3, card=62, name="card-pulled-in-doubt", present=False),
        line(4, Doing.ISSUING, card=65),
    ),
)
DONE = board(
    (*rows(100), row(100, MORNING - 90, "wrong-cryptogram", READERS[1], 2)),
    (line(1, card=99, name="issued"), *(line(number, present=False) for number in (2, 3, 4))),
)
PICTURES = {"mid-batch": MID, "set-aside": ASIDE, "finished": DONE}
