"""The ports: what the floors above need from a card, a reader, a vault, a journal, a store, a link, a panel.

Each has one stand-in in virtual/ or one edge in edges/ behind it, held to the same contract tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # ports are for the type checker: who offers one of them does not load what the others speak of
    from collections.abc import AsyncGenerator, Iterable

    from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
    from kioskd.gp.cplc import CardId
    from kioskd.gp.factory_keys import Method
    from kioskd.gp.isd import KeyField
    from kioskd.gp.scp03 import Mark
    from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
    from kioskd.rekey.bundle import BundleHeader, Campaign, Imported
    from kioskd.rekey.holding import Holdings
    from kioskd.rekey.labels import Cryptogram, KeyLabel
    from kioskd.rekey.master_bundle import MasterHeader
    from kioskd.rekey.records import Record
    from kioskd.rekey.release import KmsHoldings, Release
    from kioskd.rekey.wire import CardReport, Message, Report, Script
    from kioskd.secret import Secret


class Card(Protocol):
    """One connection to one card in a reader."""

    @property
    def atr(self) -> bytes:
        """The card's answer to reset; empty if the reader does not tell."""
        ...

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's raw answer with its status word; None if torn: the command's outcome is unknown.

        `ReaderHung` or `PcscdDown` if that is why; the connection is dead then, and the outcome as unknown.
        """
        ...

    async def close(self) -> None:
        """Powers the card down and ends the connection."""
        ...


class ReaderState(StrEnum):
    """What a reader says of itself."""

    EMPTY = "empty"
    CARD = "card"
    MUTE = "mute"  # a card that does not answer to reset
    GONE = "gone"  # the reader was unplugged
    DOWN = "down"  # no PC/SC daemon


@dataclass(frozen=True, slots=True)
class ReaderEvent:
    """A change at one reader. With no reader named: DOWN, the daemon does not answer; GONE, it has no reader."""

    reader: str
    state: ReaderState


class CardReaders(Protocol):
    """Where cards are connected to."""

    async def connect(self, reader: str) -> Card:
        """An exclusive connection to the card; `NoCard` or `PcscdDown` otherwise."""
        ...


class Readers(CardReaders, Protocol):
    """All readers of the terminal."""

    def events(self) -> AsyncGenerator[ReaderEvent, None]:
        """Changes as they happen, starting with the present states; never polls, never ends by itself."""
        ...

    async def close(self) -> None:
        """Ends the watching."""
        ...


class KeySource(Protocol):
    """Where key sets come from."""

    def holdings(self) -> Holdings:
        """What is held, without a key."""
        ...

    def challenge(self, size: int = 8) -> bytes:
        """Fresh random bytes: 8, or 16 for S16."""
        ...

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A new replacement key set; needs the epoch's issuing keys."""
        ...

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set of a cryptogram; needs the epoch's private key (`NotArmed` otherwise)."""
        ...

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master key set; needs the generation's block (`NotArmed` otherwise)."""
        ...

    def factory_set(self, name: str, kdd: bytes = b"") -> KeyHandle:
        """The factory key set of that name; a diversified one of the card with this diversification data, 10 bytes."""
        ...


class Channels(Protocol):
    """What key sets are used for."""

    def proves(self, handle: KeyHandle, host_challenge: bytes, answer: bytes) -> bool:
        """Whether the INITIALIZE UPDATE answer's cryptogram is that of the key set."""
        ...

    def open_channel(self, handle: KeyHandle, host_challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A secure channel; refuses an answer that `proves` refuses."""
        ...

    def wrap_key_set(self, channel: ChannelHandle, new: KeyHandle, zero_kcv: bool = False) -> tuple[KeyField, ...]:
        """PUT KEY's fields, ENC MAC DEK and UNLOCK if there is one, under the channel's key set.

        `zero_kcv`: the check values of AES keys are over zeros instead of ones.
        """
        ...

    def wrap_unlock_key(self, channel: ChannelHandle) -> bytes:
        """The unlock key of the channel's key set under its own data encryption key; `VaultError` without one."""
        ...

    def wrap_commands(self, channel: ChannelHandle, commands: tuple[CommandAPDU, ...]) -> WrappedScript:
        """EXTERNAL AUTHENTICATE and the commands; the channel's commands side is spent."""
        ...

    def unwrap_responses(
        self, sealed: bytes, marks: tuple[Mark, ...], responses: tuple[ResponseAPDU, ...]
    ) -> tuple[ResponseAPDU | None, ...]:
        """The responses in the clear; None where a MAC is wrong."""
        ...

    def forget(self, handles: tuple[int, ...]) -> None:
        """Destroys key sets and channels; unknown handles are ignored."""
        ...


class Vault(KeySource, Channels, Protocol):
    """The verbs of the access server's keys. No key is ever read through it: handles go in, wrapped things come out.

    Blocking; called from one worker. Failures are `VaultError` and its kinds. A handle is dead after `forget`.
    """

    @property
    def instant(self) -> bool:
        """Whether it answers from memory within about a millisecond, so that no worker is needed."""
        ...


class KeptVault(Vault, Protocol):
    """A vault with its keeper's verbs: what bundles bring in and take away. Every change is durable when it returns."""

    def transport_key(self) -> bytes:
        """The public key that the KMS wraps bundles to, PEM."""
        ...

    def import_bundle(self, raw: bytes, kms_key: bytes, now: int) -> Imported:
        """Takes in a bundle, once; `kms_key` is the pinned PEM, `now` seconds since 1970. `BadBundle` if refused."""
        ...

    def end_issue(self, epoch: int) -> None:
        """Destroys the issuing keys of an epoch, for ever; `NotArmed` if it does not issue."""
        ...

    def disarm(self, epoch: int) -> None:
        """Destroys the replacing keys of an armed epoch; `NotArmed` if it is not armed."""
        ...

    def add_factory_set(
        self, name: str, keys: Iterable[Secret], des: bool | None = None, method: Method | None = None
    ) -> None:
        """Keeps a factory key set, ENC MAC DEK, under a name; `VaultError` if other keys have that name.

        With a method: the one master that each card's set is made of. `des`: of 3DES, or of AES; None: unsaid.
        """
        ...


class KmsSigner(Protocol):
    """The key management server's signing key, and what it remembers of its transcript. Blocking."""

    def public_key(self) -> bytes:
        """The key that checks this server's bundles, PEM; an access server pins it."""
        ...

    def sign(self, text: bytes) -> bytes:
        """An Ed25519 signature by this server's signing key."""
        ...

    def head(self) -> tuple[int, bytes]:
        """The number and digest of the transcript's newest entry, as far as this vault was told."""
        ...

    def remember_head(self, number: int, digest: bytes) -> None:
        """Notes the transcript's newest entry: an older copy put back is found out."""
        ...


class KmsVault(KmsSigner, Protocol):
    """The key management server's keys: made, wrapped for a recipient, never read. Blocking."""

    def generate(self) -> int:
        """Makes the master block of the next generation; its number."""
        ...

    def new_epoch(self, rsa_bits: int) -> int:
        """Makes the replacement block and the RSA pair of the next epoch; its number."""
        ...

    def new_p256_epoch(self) -> int:
        """The same with a pair of P-256: faster, where the token's RSA is slow."""
        ...

    def destroy_epoch(self, number: int) -> None:
        """Destroys the block and the pair of an armed epoch, for ever; `VaultError` for any other."""
        ...

    def note_release(self, note: Release) -> None:
        """Writes a release down; `VaultError` for what is not held, or may not be released any more."""
        ...

    def seal(self, header: BundleHeader, transport: bytes) -> bytes:
        """The signed bundle file for a transport key (PEM), with what the header's purpose allows."""
        ...

    def seal_master(self, header: MasterHeader, transport: bytes) -> bytes:
        """The signed master bundle for a transport key (PEM): one master block, and nothing of an epoch."""
        ...

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        ...


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """How big a journal is on disk, and how many cryptograms it keeps."""

    bytes: int
    cryptograms: int


class Journal(Protocol):
    """The terminal's memory across power cuts; every call is durable when it returns."""

    async def alive(self) -> bool:
        """Whether calls are taken and done, for the watchdog."""
        ...

    async def note_in_doubt(self, script: Script) -> None:
        """The script's first card-changing command may go out now. Keeps its cryptogram."""
        ...

    async def keep_report(self, card: str, report: Report) -> None:
        """The answers of a script, until acknowledged."""
        ...

    async def pending(self) -> tuple[CardReport, ...]:
        """Reports that are not acknowledged; a note without answers counts as one, `in-doubt`."""
        ...

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Forgets a report (its cryptogram stays)."""
        ...

    async def figures(self, card: str = "") -> JournalFigures:
        """The journal's figures; with a card, only its own cryptograms are counted."""
        ...


class Store(Protocol):
    """The access server's records; every write is durable when it returns."""

    async def find(self, ids: tuple[CardId, ...]) -> CardId | None:
        """The canonical id of a known card, by any of its ids."""
        ...

    async def records(self, card: CardId) -> tuple[Record, ...]:
        """A card's records, oldest first."""
        ...

    async def append(self, card: CardId, record: Record, fence: int | None) -> None:
        """Adds a record; with a fence, `LeaseLost` if the card's firm lease is another's by now.

        `CampaignOver` for the intent that would begin a card of a campaign that is being disarmed.
        """
        ...

    async def campaign(self, epoch: int, generation: int) -> Campaign | None:
        """The armed campaign that brings an epoch's cards to a generation."""
        ...

    async def fence(self, card: CardId) -> int:
        """The card's present fence number; 0 before its first lease."""
        ...

    async def firm_lease(self, card: CardId, terminal: str, tap: str, seen: int) -> int:
        """Makes (terminal, tap) the card's only conversation; the new fence number, one higher.

        `LeaseLost` if the fence is not `seen` any more: another conversation became firm after this one's challenge.
        """
        ...

    async def charge(self, terminal: str, card: CardId) -> int:
        """Counts one wrong cryptogram of (terminal, card); the count."""
        ...

    async def charges(self, terminal: str, card: CardId) -> int:
        """The wrong cryptograms of (terminal, card) so far."""
        ...


class Uplink(Protocol):
    """One live link to the access server, at the terminal's side."""

    @property
    def server_ahead_s(self) -> float | None:
        """How far the server's clock is ahead of ours, to a second; None if it did not tell."""
        ...

    async def send(self, message: Message) -> None:
        """Sends; `LinkLost` if the link is gone."""
        ...

    async def receive(self) -> Message:
        """The next message; `LinkLost` if the link goes."""
        ...


class Panel(Protocol):
    """What the cardholder sees."""

    def show(self, outcome: str) -> None:
        """An outcome of the catalogue, by name."""
        ...

    def say(self, words: str) -> None:
        """Passing words, such as 'leave the card in'."""
        ...
