"""The store in lists, for attacks: it never waits, and every call of it is a point at which a test may stop."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from kioskd.errors import LeaseLost
from kioskd.gp.cplc import CardId
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.records import Intent, Record, Registered


class Point:
    """Where a stepped conversation stops."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __await__(self) -> Generator[str, None, None]:
        yield self.name


def _nobody(_: Record) -> None:
    """Looks at nothing."""


@dataclass(slots=True)
class Ledger:
    """`ports.Store` for one card."""

    log: list[Record] = field(default_factory=list)
    lease: tuple[int, str] = (0, "")
    charged: dict[str, int] = field(default_factory=dict)
    known: dict[str, CardId] = field(default_factory=dict)
    witness: Callable[[Record], None] = _nobody  # sees every record just written

    def copy(self) -> "Ledger":
        """The same rows, without a witness."""
        return Ledger(list(self.log), self.lease, dict(self.charged), dict(self.known))

    async def find(self, ids: tuple[CardId, ...]) -> CardId | None:
        """The canonical id of a known card."""
        await Point("find")
        return next((self.known[str(one)] for one in ids if str(one) in self.known), None)

    async def records(self, card: CardId) -> tuple[Record, ...]:
        """The card's records, oldest first."""
        await Point("records")
        return tuple(self.log) if str(card) in self.known or not self.known else ()

    async def append(self, card: CardId, record: Record, fence: int | None) -> None:
        """Adds a record, held to the lease and to the number of its script."""
        await Point("append")
        if fence is not None and self.lease[0] != fence:
            raise LeaseLost("another conversation is firm")
        if isinstance(record, Registered):
            self.known |= {str(one): card for one in (*record.aliases, card)}
        if isinstance(record, Intent) and any(isinstance(o, Intent) and o.number == record.number for o in self.log):
            raise LeaseLost("that number is another's")
        self.log.append(record)
        self.witness(record)

    async def campaign(self, epoch: int, generation: int) -> Campaign | None:
        """One that never ends."""
        await Point("campaign")
        return Campaign("attacked", 0, generation, (epoch,), 0, 2**40)

    async def fence(self, card: CardId) -> int:
        """The present fence number."""
        await Point("fence")
        return self.lease[0]

    async def firm_lease(self, card: CardId, terminal: str, tap: str, seen: int) -> int:
        """The next fence number, unless another conversation was quicker."""
        await Point("firm_lease")
        if self.lease[0] != seen:
            raise LeaseLost("another conversation became firm")
        self.lease = (seen + 1, terminal)
        return seen + 1

    async def charge(self, terminal: str, card: CardId) -> int:
        """One more wrong cryptogram of that terminal."""
        await Point("charge")
        self.charged[terminal] = self.charged.get(terminal, 0) + 1
        return self.charged[terminal]

    async def charges(self, terminal: str, card: CardId) -> int:
        """The wrong cryptograms of that terminal."""
        await Point("charges")
        return self.charged.get(terminal, 0)
