"""What a conversation may ask of the world.

The engine and the relay are generators of these asks; whoever drives them answers. `reply = yield from SomeAsk(...)` is
typed by the ask. A failure is not an answer: the driver closes the generator, and the conversation is run again later.
"""

from dataclasses import dataclass
from typing import NewType

from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.isd import KeyField
from kioskd.gp.keys import KVN
from kioskd.gp.scp03 import Mark
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.rekey.records import Record
from kioskd.rekey.relay_asks import Ask as Ask
from kioskd.rekey.relay_asks import Conversation as Conversation
from kioskd.rekey.relay_asks import Elapsed as Elapsed
from kioskd.rekey.relay_asks import KeepReport as KeepReport
from kioskd.rekey.relay_asks import NoteInDoubt as NoteInDoubt
from kioskd.rekey.relay_asks import Transmit as Transmit
from kioskd.rekey.wire import Report, Script

KeyHandle = NewType("KeyHandle", int)
"""A key set inside the vault; nobody outside reads it."""
ChannelHandle = NewType("ChannelHandle", int)
"""An opened secure channel inside the vault."""


@dataclass(frozen=True, slots=True)
class WrappedScript:
    """Commands ready for the card, EXTERNAL AUTHENTICATE first, and what checks their responses later."""

    commands: tuple[CommandAPDU, ...]
    marks: tuple[Mark, ...]  # one for each command after EXTERNAL AUTHENTICATE
    sealed: bytes  # the response keys, under a key of the vault


# --- asked of the vault -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewChallenge(Ask[bytes]):
    """A fresh host challenge."""

    size: int = 8


@dataclass(frozen=True, slots=True)
class MintKRK(Ask[tuple[KeyHandle, Cryptogram]]):
    """A new RND and the replacement key set that it makes; the RND leaves only as a cryptogram."""

    label: KeyLabel


@dataclass(frozen=True, slots=True)
class RecoverKRK(Ask[KeyHandle]):
    """The replacement key set of a cryptogram."""

    cryptogram: Cryptogram
    label: KeyLabel


@dataclass(frozen=True, slots=True)
class DeriveMaster(Ask[KeyHandle]):
    """The master key set of a label."""

    label: KeyLabel


@dataclass(frozen=True, slots=True)
class UseFactorySet(Ask[KeyHandle]):
    """The factory key set of that name, for the card with this diversification data."""

    name: str
    kdd: bytes = b""


@dataclass(frozen=True, slots=True)
class Proves(Ask[bool]):
    """Whether the card that gave this INITIALIZE UPDATE answer holds the key set."""

    handle: KeyHandle
    host_challenge: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class OpenChannel(Ask[ChannelHandle]):
    """A secure channel on an INITIALIZE UPDATE answer whose cryptogram `Proves` has verified."""

    handle: KeyHandle
    host_challenge: bytes
    answer: bytes
    level: int


@dataclass(frozen=True, slots=True)
class WrapKeySet(Ask[tuple[KeyField, ...]]):
    """The fields of PUT KEY: `new` under the data encryption key of the channel's key set, with check values.

    `zero_kcv`: the check values of AES keys are over zeros instead of ones.
    """

    channel: ChannelHandle
    new: KeyHandle
    zero_kcv: bool = False


@dataclass(frozen=True, slots=True)
class WrapUnlockKey(Ask[bytes]):
    """The unlock key of the channel's replacement set, under its data encryption key: UNLOCK's data."""

    channel: ChannelHandle


@dataclass(frozen=True, slots=True)
class WrapCommands(Ask[WrappedScript]):
    """EXTERNAL AUTHENTICATE and these commands under the channel; the channel is spent."""

    channel: ChannelHandle
    commands: tuple[CommandAPDU, ...]


@dataclass(frozen=True, slots=True)
class UnwrapResponses(Ask[tuple[ResponseAPDU | None, ...]]):
    """Responses freed of MAC and encryption, in step with `marks`; None where a MAC is wrong.

    Error status words carry no MAC and come back as they are.
    """

    sealed: bytes
    marks: tuple[Mark, ...]
    responses: tuple[ResponseAPDU, ...]


# --- asked of the store -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recall(Ask[tuple[Record, ...]]):
    """All records of this conversation's card, oldest first."""


@dataclass(frozen=True, slots=True)
class Remember(Ask[None]):
    """Makes a record durable; refused if this conversation has lost the card."""

    record: Record


@dataclass(frozen=True, slots=True)
class FirmLease(Ask[int]):
    """Makes this conversation the card's only one; answers the fence number."""


@dataclass(frozen=True, slots=True)
class ChargeAttempt(Ask[None]):
    """Charges a wrong card cryptogram to (terminal, card)."""

    kvn: KVN


# --- asked of the terminal, by the engine -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send(Ask[Report]):
    """Has the terminal run a script: one round trip."""

    script: Script
