"""Which card an operator means: any id of it, or the end of one, as terminals and `kioskctl` show it."""

import string

import sqlalchemy as sql

from kioskd.edges.tables import CHARGES, IDS, RECORDS
from kioskd.errors import BadConfiguration, Malformed
from kioskd.gp.cplc import ID_KINDS, CardId

SHORTEST = 6
"""So many digits of an id's end are needed at least."""

SHOWN = 4  # of the cards that a short end fits

_HEX = frozenset(string.hexdigits)


def card_named(connection: sql.Connection, words: str, *, new: bool = False) -> CardId:
    """The id under which the one card that `words` names is on record.

    `words` is an id such as cplc:4790..., or at least `SHORTEST` digits of its end. `BadConfiguration` where no card on
    record, or more than one, is named so; with `new`, a whole id that is not on record stands for itself.
    """
    if ":" in words and "…" not in words:
        return _whole(connection, words, new=new)
    end = words.rpartition("…")[2].upper()
    if len(end) < SHORTEST or not _HEX.issuperset(end):
        raise BadConfiguration(
            f"{words[:80]!r}: no card's id: needs one such as cplc:4790..., or {SHORTEST} or more hexadecimal digits"
            " of an id's end"
        )
    found = sorted(_ending(connection, end))
    if not found:
        raise BadConfiguration(f"{end}: no card on record has an id that ends so")
    if len(found) > 1:
        shown = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
        raise BadConfiguration(f"{end}: {len(found)} cards on record have an id that ends so ({shown}): say more of it")
    return CardId.parse(found[0])


def on_record(connection: sql.Connection, card: CardId) -> bool:
    """Whether a card of this id, under which its records are, has ever been here."""
    return connection.execute(sql.select(IDS.c.id).where(IDS.c.id == str(card))).first() is not None


def _whole(connection: sql.Connection, words: str, *, new: bool) -> CardId:
    kind, _, digits = words.partition(":")
    try:
        card = CardId.parse(f"{kind.lower()}:{digits}")
    except Malformed as wrong:
        kinds = ", ".join(f"{one}:" for one in ID_KINDS)
        raise BadConfiguration(f"{words[:80]!r}: no card's id: needs {kinds} and hexadecimal digits") from wrong
    row = connection.execute(sql.select(IDS.c.card_kind, IDS.c.card_value).where(IDS.c.id == str(card))).first()
    if row is not None:
        return CardId(row.card_kind, row.card_value)
    noted = any(
        connection.execute(sql.select(table.c.card).where(table.c.card == str(card)).limit(1)).first()
        for table in (RECORDS, CHARGES)
    )
    if not (noted or new):
        raise BadConfiguration(f"{card}: no card on record has this id")
    return card


def _ending(connection: sql.Connection, end: str) -> set[str]:
    """The cards with an id that ends so. Hexadecimal digits have no meaning in LIKE."""
    rows = connection.execute(sql.select(IDS.c.card_kind, IDS.c.card_value).where(IDS.c.id.like(f"%{end}")))
    found = {str(CardId(row.card_kind, row.card_value)) for row in rows}
    for table in (RECORDS, CHARGES):
        found.update(connection.execute(sql.select(table.c.card).where(table.c.card.like(f"%{end}"))).scalars())
    return found
