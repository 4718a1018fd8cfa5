"""The access server's index: one row a card, written in the transaction of the card's record, by SQLAlchemy.

It answers what would otherwise need every record of every card: which cases are open, which cards rely on an epoch,
what each card holds. The records remain the truth; the index can be made again from them.
"""

import sqlalchemy as sql

from kioskd.edges.tables import CARDS
from kioskd.gp.cplc import CardId
from kioskd.rekey.campaign import CardRow, OpenCase
from kioskd.rekey.labels import AES
from kioskd.rekey.notices import HandedBack, Restored
from kioskd.rekey.records import Closed, Intent, Record

_NUMBERS = ("last", "settled", "epoch", "sent_epoch", "generation", "kvn", "install", "aes_bits")
_NEW = dict.fromkeys(_NUMBERS, 0)
_ROW = sql.select(CARDS).where(CARDS.c.card == sql.bindparam("one"))
_ADD = CARDS.insert()
_CHANGE = CARDS.update().where(CARDS.c.card == sql.bindparam("one"))


def index(connection: sql.Connection, card: CardId, record: Record) -> None:
    """Brings the card's row up to date with a record that is being written."""
    match record:
        case Intent():
            before = row_of(connection, card)
            sent = record.cryptogram.epoch if record.cryptogram is not None else before["sent_epoch"]
            _write(connection, card, before | {"last": max(record.number, before["last"]), "sent_epoch": sent})
        case Restored(epoch):
            before = row_of(connection, card)
            _write(connection, card, before | {"last": max(before["last"], epoch << 16)})
        case HandedBack(cryptogram):
            _write(connection, card, row_of(connection, card) | {"sent_epoch": cryptogram.epoch})
        case Closed():
            before = row_of(connection, card)
            if record.number < before["settled"]:
                return  # an older script's proof, overtaken
            proven = {"epoch": record.krk.epoch, "generation": record.master.generation}
            kind = record.master.kind
            slot = {"kvn": record.master.kvn, "install": record.master.install, "aes_bits": kind.bits if kind else 0}
            still = {"sent_epoch": 0 if record.number >= before["last"] else before["sent_epoch"]}
            _write(connection, card, before | proven | slot | still | {"settled": record.number})


def row_of(connection: sql.Connection, card: CardId) -> dict[str, int]:
    """The card's row as it stands, without its id; zeros for a card that has none."""
    row = connection.execute(_ROW, {"one": str(card)}).mappings().first()
    return dict(_NEW) if row is None else {name: row[name] for name in _NEW}


def begun(connection: sql.Connection, card: CardId) -> bool:
    """Whether an issued card was begun and is not proven finished."""
    row = row_of(connection, card)
    return row["last"] > row["settled"] > 0


def cards_left(connection: sql.Connection, epochs: tuple[int, ...], generation: int) -> int:
    """How many issued cards of those epochs have an older generation than this one."""
    older = (CARDS.c.settled > 0) & CARDS.c.epoch.in_(epochs) & (CARDS.c.generation < generation)
    return connection.execute(sql.select(sql.func.count()).select_from(CARDS).where(older)).scalar() or 0


def open_cases(connection: sql.Connection, epochs: tuple[int, ...]) -> tuple[OpenCase, ...]:
    """The issued cards of those epochs that were begun and are not proven finished."""
    begun = (CARDS.c.last > CARDS.c.settled) & (CARDS.c.settled > 0) & CARDS.c.epoch.in_(epochs)
    rows = connection.execute(sql.select(CARDS).where(begun).order_by(CARDS.c.card))
    return tuple(OpenCase(CardId.parse(row.card), row.epoch, row.generation, row.last) for row in rows)


def cards_of_epochs(connection: sql.Connection) -> dict[int, int]:
    """How many cards rely on each epoch: they hold its replacement set, or may hold it."""
    counts: dict[int, int] = {}
    for epoch, sent in connection.execute(sql.select(CARDS.c.epoch, CARDS.c.sent_epoch)):
        for one in {epoch, sent} - {0}:
            counts[one] = counts.get(one, 0) + 1
    return counts


def issued_cards(connection: sql.Connection) -> tuple[CardRow, ...]:
    """Every card whose issuance was proven finished."""
    rows = connection.execute(sql.select(CARDS).where(CARDS.c.settled > 0).order_by(CARDS.c.card))
    return tuple(
        CardRow(
            *(CardId.parse(r.card), r.epoch, r.generation, r.kvn, r.install, r.last > r.settled),
            keys=f"{AES}-{r.aes_bits}" if r.aes_bits else "",
        )
        for r in rows
    )


def _write(connection: sql.Connection, card: CardId, row: dict[str, int]) -> None:
    if not connection.execute(_CHANGE.values(**row), {"one": str(card)}).rowcount:
        connection.execute(_ADD, {"card": str(card), **row})
