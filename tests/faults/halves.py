"""The access server's store and vault: each call is a step, a write is on the disk when it returns."""

import hashlib
from typing import TYPE_CHECKING, Any

from kioskd.errors import LeaseLost, StoreFailed, VaultError
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import KeyField
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.holding import Holdings
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.rekey.records import Closed, Intent, Record, Registered

if TYPE_CHECKING:
    from tests.faults.joined import TapRun

_WINDOW = (0, 2**40)
_OVER = (0, 1)


class StoreHalf:
    """`ports.Store` for one card."""

    __slots__ = ("_run",)

    def __init__(self, run: "TapRun") -> None:
        self._run = run

    def _enter(self, name: str) -> bool:
        """One step; whether its reply is lost after it happened. `StoreFailed` if it fails before."""
        fault = self._run.at(name)
        if fault == "store-fails":
            raise StoreFailed("store: the disk is full")
        return fault == "store-fails-after"

    async def find(self, ids: tuple[CardId, ...]) -> CardId | None:
        """The canonical id of a known card."""
        self._enter("find")
        known = (one for one in self._run.world.records if isinstance(one, Registered))
        return next((one.card for one in known if one.card in ids or set(one.aliases) & set(ids)), None)

    async def records(self, card: CardId) -> tuple[Record, ...]:
        """The card's records, oldest first."""
        self._enter("records")
        return self._run.world.records

    async def append(self, card: CardId, record: Record, fence: int | None) -> None:
        """Adds a record, held to the lease and to the number of its script."""
        run = self._run
        lost = self._enter(f"append {type(record).__name__}")
        world = run.world
        if fence is not None and world.fence != fence:
            raise LeaseLost("another conversation is firm")
        if isinstance(record, Intent):
            taken = (one.number for one in world.records if isinstance(one, Intent))
            if record.number in taken:
                raise LeaseLost("that number is another's")
        world.records = (*world.records, record)
        if isinstance(record, Closed):
            said = run.scenario.oracle.false_closing(world.memory, world.state)
            run.wrong += [f"when it was closed: {said}"] if said else []
        if lost:
            raise StoreFailed("store: no answer to COMMIT")

    async def campaign(self, epoch: int, generation: int) -> Campaign | None:
        """One whose window may be over."""
        self._enter("campaign")
        return Campaign("joined", 0, generation, (epoch,), *(_OVER if self._run.world.over else _WINDOW))

    async def fence(self, card: CardId) -> int:
        """The present fence number."""
        self._enter("fence")
        return self._run.world.fence

    async def firm_lease(self, card: CardId, terminal: str, tap: str, seen: int) -> int:
        """The next fence number, unless another conversation was quicker."""
        lost, world = self._enter("firm_lease"), self._run.world
        if world.fence != seen:
            raise LeaseLost("another conversation became firm")
        world.fence += 1
        if lost:
            raise StoreFailed("store: no answer to COMMIT")
        return world.fence

    async def charge(self, terminal: str, card: CardId) -> int:
        """One more wrong cryptogram of that terminal."""
        lost, world = self._enter("charge "), self._run.world
        world.charges[terminal] = world.charges.get(terminal, 0) + 1
        if lost:
            raise StoreFailed("store: no answer to COMMIT")
        return world.charges[terminal]

    async def charges(self, terminal: str, card: CardId) -> int:
        """The wrong cryptograms of that terminal."""
        self._enter("charges")
        return self._run.world.charges.get(terminal, 0)


class KeysHalf:
    """`ports.KeySource`: each verb is a step and may fail."""

    instant = True
    __slots__ = ("_run", "_vault")

    def __init__(self, run: "TapRun") -> None:
        self._run, self._vault = run, run.scenario.vault

    def _enter(self, name: str) -> None:
        if self._run.at(name) == "vault-fails":
            raise VaultError("the token was removed")

    def holdings(self) -> Holdings:
        """What is held."""
        self._enter("holdings")
        return self._vault.holdings

    def challenge(self, size: int = 8) -> bytes:
        """The next numbered challenge."""
        self._enter("challenge")
        return hashlib.sha256(b"host" + self._run.drawn().to_bytes(8)).digest()[:size]

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A set of the next numbered RND."""
        self._enter("mint_krk")
        return self._vault.mint_krk(label, self._run.drawn())

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The set of a cryptogram."""
        self._enter("recover_krk")
        return self._vault.recover_krk(cryptogram, label)

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master set."""
        self._enter("derive_master")
        return self._vault.set_of("derive_master", label)

    def factory_set(self, name: str, kdd: bytes = b"") -> KeyHandle:
        """The factory set."""
        self._enter("factory_set")
        return self._vault.set_of("factory_set", name, kdd)


class VaultHalf(KeysHalf):
    """`ports.Vault`."""

    __slots__ = ()

    def proves(self, handle: KeyHandle, host_challenge: bytes, answer: bytes) -> bool:
        """Whether the cryptogram is that of the set."""
        self._enter("proves")
        return self._vault.proves(handle, host_challenge, answer)

    def open_channel(self, handle: KeyHandle, host_challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A secure channel."""
        self._enter("open_channel")
        return self._vault.open_channel(handle, host_challenge, answer, level)

    def wrap_key_set(self, channel: ChannelHandle, new: KeyHandle, zero_kcv: bool = False) -> tuple[KeyField, ...]:
        """PUT KEY's fields."""
        self._enter("wrap_key_set")
        fields: tuple[KeyField, ...] = self._vault.on_channel("wrap_key_set", channel, new, zero_kcv)
        return fields

    def wrap_unlock_key(self, channel: ChannelHandle) -> bytes:
        """UNLOCK's data."""
        self._enter("wrap_unlock_key")
        data: bytes = self._vault.on_channel("wrap_unlock_key", channel)
        return data

    def wrap_commands(self, channel: ChannelHandle, commands: Any) -> WrappedScript:
        """The commands under the channel."""
        self._enter("wrap_commands")
        return self._vault.wrap_commands(channel, commands)

    def unwrap_responses(self, sealed: bytes, marks: Any, responses: Any) -> Any:
        """The responses in the clear."""
        self._enter("unwrap_responses")
        return self._vault.unwrap_responses(sealed, marks, responses)

    def forget(self, handles: tuple[int, ...]) -> None:
        """Key sets die with their conversation."""
        self._enter("forget")
