"""What all conversations of one access server share, and how one conversation's asks are answered."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from kioskd.errors import LeaseLost, TapEnds, VaultError
from kioskd.gp.cplc import CardId
from kioskd.log_fields import MessageId, entry
from kioskd.ports import Store, Vault
from kioskd.rekey.asks import (
    Ask,
    ChargeAttempt,
    DeriveMaster,
    FirmLease,
    MintKRK,
    NewChallenge,
    OpenChannel,
    Proves,
    Recall,
    RecoverKRK,
    Remember,
    Send,
    UnwrapResponses,
    UseFactorySet,
    WrapCommands,
    WrapKeySet,
    WrapUnlockKey,
)
from kioskd.rekey.profile import Profile
from kioskd.rekey.records import Closed, Found, Intent, Record
from kioskd.rekey.wire import Report, Script
from kioskd.under_way import UnderWay

T = TypeVar("T")
log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Wrong cryptograms that one terminal may have with one card."""


class TerminalLine(Protocol):
    """One tap's line to its terminal."""

    async def run(self, script: Script, fence: int) -> Report:
        """Has the terminal run a script; its report."""
        ...

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Tells the terminal that the report of a script is durable here."""
        ...


RECOVERIES = 60
RECOVERIES_S = 60.0
"""So many replacement sets may be recovered for one terminal in so many seconds: it taps one card at a time."""


@dataclass(slots=True)
class Office:
    """The vault behind its one worker, the store, the card profiles."""

    vault: Vault
    store: Store
    profiles: tuple[Profile, ...]  # in the order in which they are tried on an unknown card
    rotates: bool = False  # whether a replaced card gets a KRK of a newer epoch
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "vault"))
    tallies: dict[str, int] = field(default_factory=dict)  # outcomes since the start, by name
    recoveries: dict[str, deque[float]] = field(default_factory=dict)  # when, by terminal
    taps: UnderWay = field(default_factory=UnderWay)
    monotonic: Callable[[], float] = time.monotonic  # seconds; a simulation has a time of its own
    now: Callable[[], float] = time.time  # seconds since 1970

    async def in_vault(self, job: Callable[..., T], *args: Any) -> T:
        """Calls a vault verb: at once if the vault is instant, in the vault's worker if the call may wait."""
        if self.vault.instant:
            return job(*args)
        return await asyncio.get_running_loop().run_in_executor(self.worker, job, *args)

    def admit_recovery(self, terminal: str) -> None:
        """Counts one recovery of a replacement set; `TapEnds` if the terminal has had too many of late."""
        times, now = self.recoveries.setdefault(terminal, deque()), self.monotonic()
        while times and times[0] < now - RECOVERIES_S:
            times.popleft()
        if len(times) >= RECOVERIES:
            raise TapEnds("too-many", f"{terminal}: {len(times)} recoveries in {RECOVERIES_S:g} s")
        times.append(now)

    def count(self, outcome: str) -> None:
        """Counts how a tap ended."""
        self.tallies[outcome] = self.tallies.get(outcome, 0) + 1


@dataclass(slots=True)
class Answerer:
    """Answers one conversation's asks: vault, store and terminal. Its key sets die with it."""

    office: Office
    terminal: str
    tap: str
    card: CardId | None = None
    line: TerminalLine | None = None
    seen_fence: int = 0  # the card's fence when this conversation's newest challenge was drawn
    fence: int | None = None  # this conversation's own, once firm
    digests: dict[int, bytes] = field(default_factory=dict)  # of the scripts sent, by number
    owed: list[int] = field(default_factory=list)  # numbers of judged scripts that the terminal still keeps
    handles: list[int] = field(default_factory=list)
    recalled: tuple[Record, ...] | None = None  # read just now, for the first Recall

    async def answer(self, ask: Ask[Any]) -> Any:
        """The reply to one ask."""
        if not isinstance(ask, Remember):
            await self.acknowledge()
        match ask:
            case Send(script):
                assert self.line is not None
                return await self.line.run(script, self.fence or 0)
            case Recall():
                known, self.recalled = self.recalled, None
                return await self.office.store.records(self.known) if known is None else known
            case Remember(record):
                return await self._remember(record)
            case FirmLease():
                return await self._firm_lease()
            case ChargeAttempt(kvn):
                count = await self.office.store.charge(self.terminal, self.known)
                wrong = entry(MessageId.WRONG_CRYPTOGRAM, "wrong-cryptogram")
                log.warning("tap %s: wrong cryptogram under KVN %02X, attempt %d", self.tap, kvn, count, extra=wrong)
                return None
            case NewChallenge(size):
                if self.card is not None and self.fence is None:
                    self.seen_fence = await self.office.store.fence(self.card)
                return await self.office.in_vault(self.office.vault.challenge, size)
        return await self._ask_vault(ask)

    async def acknowledge(self) -> None:
        """Lets the terminal forget its reports, not before the case that they close is closed."""
        while self.owed and self.line is not None:
            number = self.owed.pop(0)
            await self.line.acknowledge(number, self.digests[number])

    async def close(self) -> None:
        """Destroys this conversation's key sets; a vault that is lost has lost them, and the card's outcome stands."""
        try:
            await self.office.in_vault(self.office.vault.forget, tuple(self.handles))
        except VaultError as wrong:
            log.warning("tap %s: its key sets could not be destroyed: %s", self.tap, wrong)

    @property
    def known(self) -> CardId:
        """The card that this conversation is about, once it is identified."""
        assert self.card is not None
        return self.card

    async def _remember(self, record: Record) -> None:
        # Evidence is true whoever holds the card by now; an intent is only for the holder to write.
        fence = self.fence if isinstance(record, Intent) else None
        if isinstance(record, Intent):
            assert fence is not None
            self.digests[record.number] = record.digest
        await self.office.store.append(self.known, record, fence)
        if isinstance(record, Found) and self.line is not None:
            self.owed.append(record.number)
        if isinstance(record, Closed):
            words, closed = "tap %s: case closed by script %d, receipt %s", entry(MessageId.CASE_CLOSED)
            log.info(words, self.tap, record.number, record.receipt.value, extra=closed)

    async def _firm_lease(self) -> int:
        if self.fence is not None:
            if await self.office.store.fence(self.known) != self.fence:
                raise LeaseLost(f"{self.card}: carried to another terminal")
            return self.fence
        self.fence = await self.office.store.firm_lease(self.known, self.terminal, self.tap, self.seen_fence)
        return self.fence

    async def _ask_vault(self, ask: Ask[Any]) -> Any:
        vault, go = self.office.vault, self.office.in_vault
        match ask:
            case MintKRK(label):
                handle, cryptogram = await go(vault.mint_krk, label)
                self.handles.append(handle)
                return handle, cryptogram
            case RecoverKRK(cryptogram, label):
                self.office.admit_recovery(self.terminal)
                return self._held(await go(vault.recover_krk, cryptogram, label))
            case DeriveMaster(label):
                return self._held(await go(vault.derive_master, label))
            case UseFactorySet(name, kdd):
                return self._held(await go(vault.factory_set, name, kdd))
            case Proves(handle, challenge, answer):
                return await go(vault.proves, handle, challenge, answer)
            case OpenChannel(handle, challenge, answer, level):
                return self._held(await go(vault.open_channel, handle, challenge, answer, level))
            case WrapKeySet(channel, new, zero_kcv):
                return await go(vault.wrap_key_set, channel, new, zero_kcv)
            case WrapUnlockKey(channel):
                return await go(vault.wrap_unlock_key, channel)
            case WrapCommands(channel, commands):
                return await go(vault.wrap_commands, channel, commands)
            case UnwrapResponses(sealed, marks, responses):
                return await go(vault.unwrap_responses, sealed, marks, responses)
        raise AssertionError(f"no answer to {type(ask).__name__}")

    def _held(self, handle: Any) -> Any:
        self.handles.append(handle)
        return handle
