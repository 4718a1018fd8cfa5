"""One installation in virtual time: cards are issued, campaigns replace their master sets, things go wrong.

All of it follows from one seed. In the end everything is healed, each card is tapped until it is done, and the oracle
is asked.
"""

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kioskd.access.office import ATTEMPTS
from kioskd.gp.factory_keys import FactoryKeys
from kioskd.rekey.bundle import BundlePurpose, Campaign
from kioskd.rekey.profile import Lock
from kioskd.rekey.records import Closed, Record, fold
from kioskd.secret import Secret
from kioskd.sim.cards import HeldCard
from kioskd.sim.faults import Kind, Plan, Side, draw
from kioskd.sim.kinds import FACTORY_SIZES, KINDS, factory_name
from kioskd.sim.link import Wire
from kioskd.sim.place import Place
from kioskd.sim.scheduler import Mailbox, Sleep
from kioskd.sim.server import AccessServer
from kioskd.sim.store import Tables
from kioskd.sim.terminal import Terminal
from kioskd.virtual.oracle import Oracle, Violation, factory_values
from kioskd.virtual.seeded_vault import KeyServer, SeededVault

VISITS = 7
"""How often a person comes back in one campaign."""

FINAL_TAPS = 4
GOOD = frozenset({"done", "not-migrated", "already-done", "issued", "already-issued", "adopted", "nothing-to-do"})
PHASE_S = 600
DAY_S = 86_400
RESTORE_MS = 180_000
"""How long a restore takes: longer than the deadline of any script that is still on its way."""


@dataclass(frozen=True, slots=True)
class Size:
    """What one round has."""

    kiosks: int = 4
    cards: int = 40
    campaigns: int = 3
    faults: float = 0.5
    keep: frozenset[int] | None = None  # only these taps have their faults; None: all


def _factory_keys(size: int) -> tuple[Secret, ...]:
    values = factory_values(size)
    return values.enc, values.mac, values.dek


class World:
    """One round."""

    def __init__(self, seed: int, size: Size, tell: Callable[[str], None] | None = None) -> None:
        some = random.Random(f"world {seed}")  # noqa: S311 - a simulation's, so that it can be run again
        self.seed, self.size = seed, size
        self.place = Place(some) if tell is None else Place(some, tell)
        self.keys = KeyServer(random.Random(f"keys {seed}"))  # noqa: S311
        self.oracle = Oracle(self.keys)
        factory = {factory_name(one): FactoryKeys(_factory_keys(one)) for one in FACTORY_SIZES}
        vault = SeededVault(random.Random(f"vault {seed}"), factory)  # noqa: S311
        self.server = AccessServer(self.place, vault)
        wire = Wire(self.place.scheduler, some, self.place.struck)
        self.terminals = [
            Terminal(self.place, f"kiosk-{number}", "replace", self.server, wire)
            for number in range(1, size.kiosks + 1)
        ]
        stations = max(1, size.kiosks // 4)
        self.stations = [
            Terminal(self.place, f"station-{number}", "issue", self.server, wire) for number in range(1, stations + 1)
        ]
        for one in (*self.terminals, *self.stations):
            one.shares = self._share
        self.cards = [self._new_card(number) for number in range(size.cards)]
        self.generation, self.epoch = 1, 1
        self._backups: list[Tables] = []
        self._planned: set[int] = set()
        self._restoring = False
        vault.bring(self.keys, BundlePurpose.ISSUE, 1, 1)

    def _new_card(self, number: int) -> HeldCard:
        some = self.place.some
        serial = (0x0A000001 + number).to_bytes(4)
        card = HeldCard(some.choice(KINDS), serial, some, self.oracle)
        card.records = lambda: self.server.tables.records.get(card.key, ())
        card.cryptograms = lambda: (
            one for terminal in self._everyone for name, one in terminal.journal.kept if name == card.key
        )
        self.place.tally.cards += 1
        return card

    @property
    def faulty(self) -> tuple[int, ...]:
        """The taps so far for which faults were planned."""
        return tuple(sorted(self._planned))

    @property
    def _everyone(self) -> tuple[Terminal, ...]:
        return (*self.terminals, *self.stations)

    # --- the story ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """From blank cards to the oracle's word; `Violation` if a promise was broken."""
        try:
            self._story()
        finally:
            self.place.scheduler.close()

    def _story(self) -> None:
        self.place.tally.rounds += 1
        self.server.tables.witness = self._witness
        self._phase(self._first_place)
        self._heal()
        self._finish(self._first_place, "issued", "adopted", "nothing-to-do")
        for number in range(1, self.size.campaigns + 1):
            self._arm(rotates=number < self.size.campaigns and self.place.some.random() < 0.6)
            self._backups.append(self.server.tables.copy())
            self._phase(lambda _: self.terminals)
        self._heal()
        self._finish(lambda _: self.terminals, "done")
        self._judge()

    def _first_place(self, card: HeldCard) -> list[Terminal]:
        """Where a card becomes ours: one that was issued elsewhere is adopted at a kiosk."""
        return self.terminals if card.kind.profile.adopts else self.stations

    def _arm(self, *, rotates: bool) -> None:
        """The next campaign: every epoch's cards go to a new generation; perhaps their KRK to a new epoch."""
        self.generation += 1
        vault, now = self.server.vault, self.place.wall_s()
        campaign = Campaign(
            f"campaign-{self.generation}",
            0,
            self.generation,
            tuple(range(1, self.epoch + 1)),
            now - 60,
            now + DAY_S,
        )
        if rotates:
            vault.bring(self.keys, BundlePurpose.ISSUE, self.generation, self.epoch + 1)
        for epoch in campaign.epochs:
            vault.bring(self.keys, BundlePurpose.REPLACE, self.generation, epoch, campaign)
        self.epoch += rotates
        self.server.arm(vault, campaign, rotates=rotates)
        self.place.log(f"armed {campaign.id}, {'with' if rotates else 'without'} rotation")

    def _phase(self, place: Callable[[HeldCard], list[Terminal]]) -> None:
        """Everybody comes, at some time, to some terminal."""
        for card in self.cards:
            self._spawn(self._person(card, place(card)))
        self._run()

    def _finish(self, place: Callable[[HeldCard], list[Terminal]], *wanted: str) -> None:
        """Clean taps, one card after the other, until each is done."""
        for card in self.cards:
            self._spawn(self._clean(card, place(card)[0], wanted))
            self._run()

    def _run(self) -> None:
        self.place.scheduler.run()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.place.scheduler.spawn(work)

    async def _person(self, card: HeldCard, terminals: list[Terminal]) -> None:
        some = self.place.some
        await Sleep(some.randrange(1000 * PHASE_S))
        for _ in range(VISITS):
            terminal = await self._free(terminals)
            visit = terminal.visit(card, self._plan(card))
            outcome = await self._outcome(visit.outcome)
            if outcome in GOOD and some.random() < 0.9:
                return
            if some.random() < 0.1:
                return  # goes home
            await Sleep(some.randrange(200, 2_000) if visit.carried else some.randrange(1_000, 40_000))

    async def _outcome(self, mailbox: Mailbox) -> str:
        outcome = await mailbox.get(1000 * DAY_S)
        self.place.tally.outcomes[outcome] += 1
        return str(outcome)

    async def _free(self, terminals: list[Terminal]) -> Terminal:
        """A terminal that takes a card now."""
        while True:
            terminal = self.place.some.choice(terminals)
            if terminal.free:
                return terminal
            await Sleep(1_500)

    async def _clean(self, card: HeldCard, terminal: Terminal, wanted: tuple[str, ...]) -> None:
        for count in range(1, FINAL_TAPS + 1):
            outcome = await self._outcome(terminal.visit(card, Plan()).outcome)
            if outcome.removeprefix("already-") in wanted:
                self.place.tally.most_final_taps = max(self.place.tally.most_final_taps, count)
                await Sleep(2_000)  # the acknowledgements
                return
        raise Violation(f"not finished after {FINAL_TAPS} clean taps", card.key, f"{card.kind.name}: {outcome}")

    # --- faults ---------------------------------------------------------------------------------------------------

    def _plan(self, card: HeldCard) -> Plan:
        """The faults of the next tap, from the round's seed and the tap's number alone."""
        number = self.place.tally.taps + 1
        keep = self.size.keep
        if keep is not None and number not in keep:
            return Plan()
        some = random.Random(f"tap {self.seed} {number}")  # noqa: S311
        plan = draw(some, self.size.faults)
        if plan.due:
            self._planned.add(number)
        kind = plan.next(Side.WORLD)
        if kind is not None and self._befalls(kind, card, some):
            self.place.struck(kind)
        return plan

    def _befalls(self, kind: Kind, card: HeldCard, some: random.Random) -> bool:
        match kind:
            case Kind.CLOCK_JUMPS:
                self.server.jump_s = some.choice((-1, 1)) * some.randrange(60, 4 * DAY_S)
                self.place.scheduler.after(some.randrange(10_000, 200_000), self._clock_is_right)
                return True
            case Kind.PLANTED:
                return self.generation > 1 and self._plant(card, some)
            case Kind.RESTORED if self._backups and self.server.up and not self._restoring:
                self._restoring = True
                backup = some.choice(self._backups)
                self.place.scheduler.after(RESTORE_MS - 1, lambda: self._restore(backup))
                self.server.die(RESTORE_MS)
                return True
        return False

    def _clock_is_right(self) -> None:
        self.server.jump_s = 0

    def _plant(self, card: HeldCard, some: random.Random) -> bool:
        """Somebody has the leaked master key, and the card is not replaced yet."""
        state, profile = fold(card.records()), card.kind.profile
        closed = state.closed
        waits = any(one.card == card.key for terminal in self._everyone for one in terminal.journal.rows.values())
        if closed is None or state.open or waits or self._held(card) or closed.master.generation >= self.generation:
            return False
        if not profile.response_mac or profile.lock is not Lock.SESSION:
            return False
        if card.card.memory.at(closed.master.kvn) is None:
            return False  # somebody was there before
        free = [kvn for kvn in profile.our_kvns if not profile.is_krk(kvn) and card.card.memory.at(kvn) is None]
        card.plant(some.choice((closed.master.kvn, some.choice(free))), closed.master.kvn, some)
        self.place.log(f"planted {card.name}")
        return True

    def _held(self, card: HeldCard) -> bool:
        return any(terminal.holds(card) for terminal in self._everyone) or self.server.speaks_of(card.key)

    def _restore(self, backup: Tables) -> None:
        """The backup takes the store's place; whoever did it says so, with every terminal's journal."""
        given = tuple(one for terminal in self._everyone for one in terminal.journal.kept)
        tables = backup.copy()
        tables.campaigns = self.server.tables.campaigns  # armed again
        tables.witness = self._witness
        epoch = tables.mark_restored(given)
        self.server.tables = tables
        self._restoring = False
        # A copy from before is never put back again: the store's epoch would not rise a second time.
        self._backups = [tables.copy()]
        self.place.log(f"restored, epoch {epoch}")

    def _share(self, card: HeldCard) -> None:
        """The same card in a second reader, while the first still speaks with it."""
        terminals = self.terminals if fold(card.records()).issued else self._first_place(card)
        terminal = next((one for one in terminals if one.free), None)
        if terminal is not None:
            visit = terminal.visit(card, Plan())
            self._spawn(self._outcome(visit.outcome))

    def _heal(self) -> None:
        """Everything works again, and what waits goes up."""
        self.server.jump_s = 0
        self._spawn(self._settled())
        self._run()

    async def _settled(self) -> None:
        """Whatever is still under way ends by itself; then each link is made anew."""
        await Sleep(600_000)
        for terminal in self._everyone:
            terminal.cut_link()
        await Sleep(60_000)

    # --- the oracle -----------------------------------------------------------------------------------------------

    def _witness(self, card: str, record: Record) -> None:
        """Every closing is held against the card, unless something newer is under way."""
        if not isinstance(record, Closed):
            return
        self.place.tally.closed += 1
        held = next(one for one in self.cards if one.key == card)
        state = fold(held.records())
        if not state.open:
            self.oracle.closed_truly(held.watched, state)

    def _judge(self) -> None:
        for card in self.cards:
            state = self.oracle.finished(card.watched, card.records(), self.generation)
            self.oracle.audited(card.key, card.scripts, state)
        for terminal in self._everyone:
            waiting = [one.report.number for one in terminal.journal.rows.values()]
            if waiting:
                raise Violation("the outbox is not empty", terminal.name, f"scripts {waiting[:5]}")
        if self.server.busy:
            raise Violation("a conversation never ended", "-")
        spent = {key: count for key, count in self.server.tables.charges.items() if count >= ATTEMPTS}
        self.place.tally.charged += sum(self.server.tables.charges.values())
        if spent:
            raise Violation("a terminal has spent its attempts", next(iter(spent))[1])
        self.place.log("judged")
