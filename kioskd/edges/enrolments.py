"""Who may enrol, which certificates were given out, and which are revoked, in the access server's store, by SQLAlchemy.

Each step that gives something out is one conditional UPDATE of a row: of two that come at once, one finds no row.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import sqlalchemy as sql

from kioskd.edges.tables import CERTIFICATES, CODES, REVOCATIONS
from kioskd.errors import EnrolmentRefused

T = TypeVar("T")
Connection = sql.Connection

ATTEMPTS = 5
"""Wrong codes that void an entry."""

RENEWALS = 8
"""How often one certificate may be renewed: a terminal asks again when an answer was lost."""

_COUNT = sql.select(sql.func.count()).select_from(REVOCATIONS)
_GOOD = sql.select(CERTIFICATES.c.serial).where(
    CERTIFICATES.c.serial == sql.bindparam("serial"),
    CERTIFICATES.c.name == sql.bindparam("name"),
    CERTIFICATES.c.revoked == 0,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a one-time code was made for; times in seconds since 1970."""

    entry: str
    name: str
    role: str
    salt: bytes
    digest: bytes
    until: int
    attempts: int = 0
    used: int = 0

    def state(self, now: float) -> str:
        """Where it stands, in a few words."""
        if self.used:
            return "used"
        if self.attempts >= ATTEMPTS:
            return f"void: {ATTEMPTS} wrong codes"
        return "expired" if self.until <= now else "waits for its kiosk"


@dataclass(frozen=True, slots=True)
class Given:
    """A certificate that was given out; the serial number is hex, as TLS tells it."""

    serial: str
    name: str
    role: str
    begin: int
    until: int
    renewals: int = 0
    revoked: int = 0


def serial_text(number: int) -> str:
    """A serial number as TLS tells it: whole bytes in upper-case hex."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1).hex().upper()


def add_entry(connection: Connection, entry: Entry) -> None:
    """Keeps the hash of a new code; an older code for the same name that was not used is gone."""
    older = (CODES.c.name == entry.name) & (CODES.c.used == 0)
    connection.execute(CODES.delete().where(older | (CODES.c.entry == entry.entry)))
    connection.execute(CODES.insert().values(**_columns(entry)))


def charge_attempt(connection: Connection, entry: str, now: int) -> Entry | None:
    """Counts an attempt with a code before it is looked at; None if there is no such entry that is still good."""
    good = (CODES.c.entry == entry) & _usable(now)
    changed = connection.execute(CODES.update().where(good).values(attempts=CODES.c.attempts + 1))
    return _entry(connection, entry) if changed.rowcount == 1 else None


def give_back_attempt(connection: Connection, entry: str) -> None:
    """The code was right and something else was wrong: it may be used again."""
    connection.execute(CODES.update().where(CODES.c.entry == entry).values(attempts=CODES.c.attempts - 1))


def redeem(connection: Connection, entry: Entry, given: Given, now: int) -> None:
    """Ends a code whose attempt is charged and writes its certificate down; `EnrolmentRefused` if another was first."""
    mine = (CODES.c.entry == entry.entry) & (CODES.c.salt == entry.salt) & (CODES.c.used == 0) & (CODES.c.until > now)
    if connection.execute(CODES.update().where(mine).values(used=now)).rowcount != 1:
        raise EnrolmentRefused("the code was used or withdrawn meanwhile")
    connection.execute(CERTIFICATES.insert().values(**_columns(given)))


def renew(connection: Connection, serial: str, name: str, given: Given) -> None:
    """Writes the certificate down that follows another; `EnrolmentRefused` if that one is not here, or spent."""
    mine = (
        (CERTIFICATES.c.serial == serial)
        & (CERTIFICATES.c.name == name)
        & (CERTIFICATES.c.revoked == 0)
        & (CERTIFICATES.c.renewals < RENEWALS)
    )
    changed = connection.execute(CERTIFICATES.update().where(mine).values(renewals=CERTIFICATES.c.renewals + 1))
    if changed.rowcount != 1:
        raise EnrolmentRefused(f"the certificate is revoked, or has been renewed {RENEWALS} times")
    connection.execute(CERTIFICATES.insert().values(**_columns(given)))


def given_under(connection: Connection, serial: str, name: str) -> Given | None:
    """The certificate of that serial number and name, if it was given out here."""
    wanted = (CERTIFICATES.c.serial == serial) & (CERTIFICATES.c.name == name)
    row = connection.execute(sql.select(CERTIFICATES).where(wanted)).first()
    return None if row is None else Given(*row)


def revoke(connection: Connection, name: str, now: int) -> tuple[int, int]:
    """Revokes every certificate of a name and its unused codes; how many codes and certificates there were.

    Certificates of that name that are not on record here are refused too. One that is given out later is good.
    """
    # The rows are changed before they are counted: whoever is giving out a certificate meanwhile holds one of them.
    codes = connection.execute(CODES.delete().where((CODES.c.name == name) & (CODES.c.used == 0))).rowcount
    live = (CERTIFICATES.c.name == name) & (CERTIFICATES.c.revoked == 0)
    count = 0
    while found := connection.execute(CERTIFICATES.update().where(live).values(revoked=now)).rowcount:
        count += found
    connection.execute(REVOCATIONS.insert().values(name=name, at=now))
    return codes, count


def entries(connection: Connection) -> tuple[Entry, ...]:
    """Every code that was made, by name."""
    return tuple(Entry(*row) for row in connection.execute(sql.select(CODES).order_by(CODES.c.name)))


def certificates(connection: Connection) -> tuple[Given, ...]:
    """Every certificate that was given out, by name, oldest first."""
    order = sql.select(CERTIFICATES).order_by(CERTIFICATES.c.name, CERTIFICATES.c.begin)
    return tuple(Given(*row) for row in connection.execute(order))


def revoked_names(connection: Connection) -> dict[str, int]:
    """The names that were revoked, and when last."""
    rows = connection.execute(sql.select(REVOCATIONS.c.name, REVOCATIONS.c.at).order_by(REVOCATIONS.c.position))
    return {row.name: row.at for row in rows}


class ReadsStore(Protocol):
    """A store that runs a transaction of the tables' own functions."""

    def run(self, job: Callable[[Connection], T]) -> Awaitable[T]:
        """What the job returns."""
        ...


class Revocations:
    """The revocation list as a running server holds it: read again when the store's has grown."""

    def __init__(self, store: ReadsStore) -> None:
        self._store = store
        self._count = 0
        self._names: frozenset[str] = frozenset()

    async def holds(self, name: str, serial: str) -> bool:
        """Whether the certificate of that name and serial number is revoked now."""
        return await self._store.run(lambda connection: self._holds(connection, name, serial))

    def _holds(self, connection: Connection, name: str, serial: str) -> bool:
        count = connection.execute(_COUNT).scalar() or 0
        if count != self._count:
            self._names, self._count = frozenset(revoked_names(connection)), count
        # A name that was revoked may have been enrolled again: only what is on record as good is let in then.
        return name in self._names and connection.execute(_GOOD, {"serial": serial, "name": name}).first() is None


def _usable(now: int) -> sql.ColumnElement[bool]:
    return (CODES.c.used == 0) & (CODES.c.attempts < ATTEMPTS) & (CODES.c.until > now)


def _entry(connection: Connection, entry: str) -> Entry | None:
    row = connection.execute(sql.select(CODES).where(CODES.c.entry == entry)).first()
    return None if row is None else Entry(*row)


def _columns(row: Entry | Given) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
