"""The access server's store, by SQLAlchemy: append-only records, leases, charges.

One worker thread owns the connection, so that calls are serialised; every transaction is on disk when it returns.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from kioskd.edges.campaigns import check_begin, covering
from kioskd.edges.card_index import index
from kioskd.edges.tables import CARDS, CHARGES, HEAD, IDS, LEASES, METADATA, RECORDS, VERSION
from kioskd.errors import LeaseLost, Malformed, StoreFailed
from kioskd.gp.cplc import CardId
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.notices import HandedBack, Listed, MoreTries, Restored
from kioskd.rekey.records import RECORD_KINDS, CardState, Intent, Record, Registered, fold
from kioskd.shape import from_plain, to_plain

T = TypeVar("T")
log = logging.getLogger(__name__)

_KIND_NAMES = {kind: name for name, kind in RECORD_KINDS.items()}

# Made once: SQLAlchemy takes longer to build and to look up a statement than SQLite to run it.
_FIND_ID = sql.select(IDS.c.card_kind, IDS.c.card_value).where(IDS.c.id == sql.bindparam("one"))
_FIND_RECORDS = (
    sql.select(RECORDS.c.kind, RECORDS.c.body)
    .where(RECORDS.c.card == sql.bindparam("card"))
    .order_by(RECORDS.c.position)
)
_FIND_FENCE = sql.select(LEASES.c.fence).where(LEASES.c.card == sql.bindparam("card"))
_FIND_CHARGES = sql.select(CHARGES.c.count).where(
    CHARGES.c.terminal == sql.bindparam("terminal"), CHARGES.c.card == sql.bindparam("card")
)
_ADD_RECORD, _ADD_LEASE, _ADD_CHARGE = RECORDS.insert(), LEASES.insert(), CHARGES.insert()

BEGIN_READING, BEGIN_WRITING = "BEGIN", "BEGIN IMMEDIATE"
RECORDS_KEPT = 512


class SqlStore:
    """The store behind a database URL such as sqlite:////var/lib/kioskd/access.db."""

    def __init__(self, url: str) -> None:
        self._worker = ThreadPoolExecutor(1, "store")
        self._read: dict[str, Record] = {}  # by their text, which never changes its meaning
        try:
            self._engine = engine_of(url)
            self._connection = self._engine.connect()
            with self._connection.begin():
                _make_tables(self._connection)
        except (SQLAlchemyError, ImportError, ValueError) as wrong:
            # A URL may hold a password: only its scheme is told. Drivers that are not installed are ImportErrors.
            raise StoreFailed(f"store ({url.partition(':')[0]}): {_first_line(wrong)}") from wrong

    def close(self) -> None:
        """Ends the worker and the connections."""
        self._worker.shutdown()
        self._connection.close()
        self._engine.dispose()

    async def find(self, ids: tuple[CardId, ...]) -> CardId | None:
        """The canonical id of a known card, by any of its ids, the first that is known."""

        def look(connection: sql.Connection) -> CardId | None:
            for one in ids:
                row = connection.execute(_FIND_ID, {"one": str(one)}).first()
                if row is not None:
                    return CardId(row.card_kind, row.card_value)
            return None

        return await self.run(look)

    async def records(self, card: CardId) -> tuple[Record, ...]:
        """A card's records, oldest first; `StoreFailed` for one that does not read."""

        def read(connection: sql.Connection) -> tuple[Record, ...]:
            rows = connection.execute(_FIND_RECORDS, {"card": str(card)})
            return tuple(self._record(kind, body) for kind, body in rows)

        return await self.run(read)

    async def append(self, card: CardId, record: Record, fence: int | None) -> None:
        """Adds a record; with a fence, `LeaseLost` if the card's firm lease is another's by now.

        `CampaignOver` for the intent that would begin a card of a campaign that is being disarmed.
        """

        def write(connection: sql.Connection) -> str:
            if fence is not None and _fence(connection, card) != fence:
                raise LeaseLost(f"{card}: the lease with fence {fence} has gone to another conversation")
            if isinstance(record, Intent):
                check_begin(connection, card, record)
            if isinstance(record, Registered):
                _register(connection, record)
            return _add(connection, card, record)

        self._keep(await self.run(write, BEGIN_WRITING), record)

    async def fence(self, card: CardId) -> int:
        """The card's present fence number; 0 before its first lease."""
        return await self.run(lambda connection: _fence(connection, card))

    async def firm_lease(self, card: CardId, terminal: str, tap: str, seen: int) -> int:
        """Makes (terminal, tap) the card's only conversation, unless another became firm since `seen`."""

        def take(connection: sql.Connection) -> int:
            present = _fence(connection, card)
            if present != seen:
                raise LeaseLost(f"{card}: another conversation became firm (fence {present}, seen {seen})")
            if present:
                connection.execute(LEASES.delete().where(LEASES.c.card == str(card)))
            row = {"card": str(card), "fence": present + 1, "terminal": terminal, "tap": tap}
            connection.execute(_ADD_LEASE, row)
            return present + 1

        return await self.run(take, BEGIN_WRITING)

    async def charge(self, terminal: str, card: CardId) -> int:
        """Counts one wrong cryptogram of (terminal, card); the count."""

        def count(connection: sql.Connection) -> int:
            so_far = _charges(connection, terminal, card)
            if so_far:
                mine = (CHARGES.c.terminal == terminal) & (CHARGES.c.card == str(card))
                connection.execute(CHARGES.update().where(mine).values(count=so_far + 1))
            else:
                connection.execute(_ADD_CHARGE, {"terminal": terminal, "card": str(card), "count": 1})
            return so_far + 1

        return await self.run(count, BEGIN_WRITING)

    async def charges(self, terminal: str, card: CardId) -> int:
        """The wrong cryptograms of (terminal, card) so far."""
        return await self.run(lambda connection: _charges(connection, terminal, card))

    async def campaign(self, epoch: int, generation: int) -> Campaign | None:
        """The armed campaign that brings an epoch's cards to a generation."""
        return await self.run(lambda connection: covering(connection, epoch, generation))

    async def run(self, job: Callable[[sql.Connection], T], begin: str = BEGIN_READING) -> T:
        """One transaction of the tables' own functions, in the worker; `BEGIN_WRITING` if it writes."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._transact, job, begin)

    def _record(self, kind: str, body: str) -> Record:
        """A record of its text, read once: a conversation recalls its card's records several times."""
        known = self._read.get(body)
        if known is None or _KIND_NAMES[type(known)] != kind:
            known = _record(kind, body)
            self._keep(body, known)
        return known

    def _keep(self, body: str, record: Record) -> None:
        if len(self._read) >= RECORDS_KEPT:
            self._read.clear()
        self._read[body] = record

    def _transact(self, job: Callable[[sql.Connection], T], begin: str) -> T:
        try:
            self._connection.info["begin"] = begin
            with self._connection.begin():
                return job(self._connection)
        except IntegrityError as wrong:
            raise LeaseLost("another conversation has written this script's number") from wrong
        except SQLAlchemyError as wrong:
            raise StoreFailed(f"store: {_first_line(wrong)}") from wrong


def exists(url: str) -> bool:
    """Whether there is a store at a URL; of a database that is no file this is not known, and said to be so."""
    try:
        made = sql.make_url(url)
    except SQLAlchemyError:
        return True  # opening it says what is wrong
    return made.get_backend_name() != "sqlite" or made.database is None or Path(made.database).exists()


def engine_of(url: str) -> sql.Engine:
    """SQLAlchemy's engine; SQLite by WAL, synchronous FULL, and transactions that lock when they begin to write."""
    engine = sql.create_engine(url)
    if engine.dialect.name == "sqlite":
        _make_sqlite_durable(engine)
    return engine


def _make_sqlite_durable(engine: sql.Engine) -> None:
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver's own implicit BEGIN comes too late
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    def on_begin(connection: sql.Connection) -> None:
        connection.exec_driver_sql(connection.info.get("begin", BEGIN_WRITING))

    sql.event.listen(engine, "connect", on_connect)
    sql.event.listen(engine, "begin", on_begin)


def _make_tables(connection: sql.Connection) -> None:
    """Makes a new store's tables; brings an older one to them. One that a newer kioskd wrote is `StoreFailed`."""
    tables = set(sql.inspect(connection).get_table_names())
    if RECORDS.name not in tables:
        METADATA.create_all(connection)
        connection.execute(VERSION.insert(), {"version_num": HEAD})
        return
    found = connection.execute(sql.select(VERSION.c.version_num)).scalar() if VERSION.name in tables else None
    if found != HEAD:
        from kioskd.edges.store_versions import upgrade

        upgrade(connection, found or "before 0001")
        _make_index(connection)
        log.info("the store was brought from version %s to %s", found or "before 0001", HEAD)


def _record(kind: str, body: str) -> Record:
    try:
        record: Record = from_plain(RECORD_KINDS[kind], json.loads(body), kind)
    except (KeyError, ValueError, TypeError, RecursionError, Malformed) as wrong:
        raise StoreFailed(f"store: a record of kind {kind} does not read: {wrong}") from wrong
    return record


def _register(connection: sql.Connection, record: Registered) -> None:
    known = sql.select(IDS.c.id).where(IDS.c.id.in_([str(one) for one in record.aliases]))
    taken = set(connection.execute(known).scalars())  # an alias may be shared; the first card keeps it
    for one in (record.card, *(alias for alias in record.aliases if str(alias) not in taken)):
        row = {"id": str(one), "card_kind": record.card.kind, "card_value": record.card.value}
        connection.execute(IDS.insert().values(**row))


def clear_charges(connection: sql.Connection, terminal: str, card: CardId) -> int:
    """Forgives the wrong cryptograms of (terminal, card); how many there were."""
    so_far = _charges(connection, terminal, card)
    connection.execute(CHARGES.delete().where(CHARGES.c.terminal == terminal, CHARGES.c.card == str(card)))
    return so_far


def charged_terminals(connection: sql.Connection, card: CardId) -> tuple[str, ...]:
    """The terminals that have wrong cryptograms with a card."""
    rows = connection.execute(sql.select(CHARGES.c.terminal).where(CHARGES.c.card == str(card)))
    return tuple(sorted(rows.scalars()))


def mark_restored(connection: sql.Connection) -> tuple[int, int]:
    """After a backup was put back: the store's epoch rises, every card is in doubt; the epoch, and how many cards."""
    cards = list(connection.execute(sql.select(RECORDS.c.card).distinct()).scalars())
    known = connection.execute(sql.select(RECORDS.c.body).where(RECORDS.c.kind == "restored")).scalars()
    epoch = max((json.loads(body)["epoch"] for body in known), default=0) + 1
    for card in cards:
        _add(connection, CardId.parse(card), Restored(epoch))
    return epoch, len(cards)


def hand_back(connection: sql.Connection, card: CardId, cryptogram: Cryptogram) -> bool:
    """Merges a cryptogram out of a terminal's journal; whether it was not here."""
    if cryptogram in _state(connection, card).krks:
        return False
    _add(connection, card, HandedBack(cryptogram))
    return True


def note(connection: sql.Connection, card: CardId, record: Record) -> None:
    """Adds a record that needs no lease: it is about the card, not about a script."""
    _add(connection, card, record)


def grant_tries(connection: sql.Connection, card: CardId) -> int:
    """Forgives the INITIALIZE UPDATEs that a card was sent without a session; how many were noted by themselves.

    Nothing is written where there are none.
    """
    state = _state(connection, card)
    if state.greeted:
        _add(connection, card, MoreTries(state.next_number - 1))
    return len(state.greeted)


def blocked_cards(connection: sql.Connection) -> tuple[tuple[CardId, str], ...]:
    """The cards that are refused, and why."""
    wanted = sql.select(RECORDS.c.card, RECORDS.c.body).where(RECORDS.c.kind == "blocked")
    rows = connection.execute(wanted.order_by(RECORDS.c.position))
    newest = {card: json.loads(body)["reason"] for card, body in rows}
    return tuple((CardId.parse(card), reason) for card, reason in sorted(newest.items()) if reason)


def listed_cards(connection: sql.Connection, card: CardId | None = None) -> tuple[tuple[CardId, Listed], ...]:
    """What the cards, or that one alone, said last of security domains of others."""
    wanted = sql.select(RECORDS.c.card, RECORDS.c.body).where(RECORDS.c.kind == "listed")
    if card is not None:
        wanted = wanted.where(RECORDS.c.card == str(card))
    newest = {row.card: row.body for row in connection.execute(wanted.order_by(RECORDS.c.position))}
    found = ((CardId.parse(name), _record("listed", body)) for name, body in sorted(newest.items()))
    return tuple((one, record) for one, record in found if isinstance(record, Listed))


def _add(connection: sql.Connection, card: CardId, record: Record) -> str:
    """Writes a record and what the index says of it; the record's text."""
    body = json.dumps(to_plain(record), separators=(",", ":"))
    number = record.number if isinstance(record, Intent) else None
    row = {"card": str(card), "kind": _KIND_NAMES[type(record)], "intent": number, "body": body}
    connection.execute(_ADD_RECORD, row)
    index(connection, card, record)
    return body


def _state(connection: sql.Connection, card: CardId) -> CardState:
    """A card's records, folded."""
    rows = connection.execute(_FIND_RECORDS, {"card": str(card)})
    return fold(tuple(_record(kind, body) for kind, body in rows))


def _make_index(connection: sql.Connection) -> None:
    """Makes the index of a store that an older version wrote."""
    if connection.execute(sql.select(CARDS.c.card).limit(1)).first() is not None:
        return
    rows = connection.execute(sql.select(RECORDS.c.card, RECORDS.c.kind, RECORDS.c.body).order_by(RECORDS.c.position))
    for card, kind, body in rows.all():
        index(connection, CardId.parse(card), _record(kind, body))


def _fence(connection: sql.Connection, card: CardId) -> int:
    return connection.execute(_FIND_FENCE, {"card": str(card)}).scalar() or 0


def _charges(connection: sql.Connection, terminal: str, card: CardId) -> int:
    return connection.execute(_FIND_CHARGES, {"terminal": terminal, "card": str(card)}).scalar() or 0


def _first_line(wrong: Exception) -> str:
    return str(wrong).splitlines()[0]
