"""The virtual card's non-volatile memory: life cycle and key sets, in a file that is replaced whole."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from kioskd.errors import Malformed
from kioskd.gp.aes import AESKey
from kioskd.gp.des import DES_KEY_BYTES, DESKey
from kioskd.gp.isd import AES_TYPE, DES_TYPE, SCP02
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.gp.keys import KeySet
from kioskd.gp.life_cycle import LifeCycle
from kioskd.secret import Secret
from kioskd.shape import ShapeError, from_plain, to_plain
from kioskd.virtual.card_options import AES_BYTES, CardOptions

FACTORY_KVN = 0xFF
FACTORY_KEY = bytes(range(0x40, 0x60))  # of a key of 32 bytes; shorter ones begin alike
TRIES = 10
SEQUENCE_MAX = 0xFFFFFF


class CardFileDamaged(Malformed):
    """A virtual card's file cannot be read, or does not say what a card remembers."""


@dataclass(frozen=True, slots=True, repr=False)
class StoredSet:
    """ENC, MAC and DEK at one key version number, with its tries left and its SCP03 sequence counter."""

    kvn: int
    enc: bytes
    mac: bytes
    dek: bytes
    tries: int = TRIES
    sequence: int = 0
    unlock: bytes = b""  # of a KRK's set, where the card has an executive
    kind: int = AES_TYPE  # of its keys; 3DES sets speak SCP02

    def __post_init__(self) -> None:
        if not 0x01 <= self.kvn <= FACTORY_KVN:
            raise ValueError(f"{self.kvn} is no key version number")
        if self.kind == DES_TYPE and len(self.enc) != DES_KEY_BYTES:
            raise ValueError("a 3DES key has 16 bytes")
        if len(self.enc) not in AES_BYTES or not len(self.enc) == len(self.mac) == len(self.dek):
            raise ValueError("the keys of a set are not of one length, 16, 24 or 32 bytes")
        if self.tries < 0 or not 0 <= self.sequence <= SEQUENCE_MAX:
            raise ValueError("tries or sequence counter are out of range")

    def keys(self) -> KeySet:
        """The set ready for use."""
        return KeySet(*(AESKey(Secret(value)) for value in (self.enc, self.mac, self.dek)))

    def des_keys(self) -> tuple[DESKey, DESKey, DESKey]:
        """The members of a 3DES set, ready for use."""
        return DESKey(Secret(self.enc)), DESKey(Secret(self.mac)), DESKey(Secret(self.dek))

    @property
    def bits(self) -> int:
        """The length of each of its keys."""
        return 8 * len(self.enc)

    def entries(self) -> tuple[KeyEntry, ...]:
        """Its part of the key information."""
        values = (self.enc, self.mac, self.dek, *((self.unlock,) if self.unlock else ()))
        return tuple(KeyEntry(kid, self.kvn, ((self.kind, len(one)),)) for kid, one in enumerate(values, 1))


@dataclass(frozen=True, slots=True)
class CardMemory:
    """All that survives a reset and may change."""

    sets: tuple[StoredSet, ...]
    life_cycle: LifeCycle = LifeCycle.SECURED
    others: tuple[KeyEntry, ...] = ()  # keys that are not ours; their values are of no interest
    sealed: bool = False  # whether the executive is past its dormant state

    def __post_init__(self) -> None:
        if not self.sets or len({one.kvn for one in self.sets}) != len(self.sets):
            raise ValueError("no key set, or two at one key version number")

    def at(self, kvn: int) -> StoredSet | None:
        """The set at a key version number; 00 stands for the first."""
        if kvn == 0:
            return self.sets[0] if self.sets else None
        return next((one for one in self.sets if one.kvn == kvn), None)

    def taken(self, kvn: int) -> bool:
        """Whether any key is at that number, ours or not."""
        return self.at(kvn) is not None or any(one.kvn == kvn for one in self.others)

    def without(self, kvn: int) -> "CardMemory":
        """The memory without any key at that number."""
        return replace(
            self,
            sets=tuple(one for one in self.sets if one.kvn != kvn),
            others=tuple(one for one in self.others if one.kvn != kvn),
        )

    def having(self, new: StoredSet, instead_of: int | None = None) -> "CardMemory":
        """The memory with the set in place of another (of its own number by default), or added."""
        gone = new.kvn if instead_of is None else instead_of
        if self.at(gone) is None or gone == 0:
            return replace(self, sets=(*self.sets, new))
        return replace(self, sets=tuple(new if one.kvn == gone else one for one in self.sets))

    def key_information(self) -> KeyInformation:
        """What GET DATA E0 tells."""
        return KeyInformation((*(entry for one in self.sets for entry in one.entries()), *self.others))


@dataclass(frozen=True, slots=True)
class CardFile:
    """A card as it lies in its file: what it is, and what it remembers."""

    options: CardOptions
    memory: CardMemory


def fresh_memory(options: CardOptions) -> CardMemory:
    """A card as it comes from the factory."""
    key = FACTORY_KEY[: options.factory_key_bytes]
    kind = DES_TYPE if options.scp == SCP02 else AES_TYPE
    factory = StoredSet(options.factory_kvn, key, key, key, options.tries, kind=kind)
    return CardMemory((factory,), options.life_cycle, options.others)


def load(path: Path) -> CardFile | None:
    """The card in a file, or None if there is no file; `CardFileDamaged` if it is no card's."""
    try:
        return from_plain(CardFile, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as wrong:
        raise CardFileDamaged(f"{path}: the card's file cannot be read: {wrong.strerror}") from wrong
    except ShapeError as wrong:
        raise CardFileDamaged(f"{path}: the card's file is damaged: {wrong}") from wrong
    except (ValueError, RecursionError) as wrong:
        raise CardFileDamaged(f"{path}: the card's file is damaged: it is not JSON") from wrong


def save(path: Path, card: CardFile, *, durable: bool = False) -> None:
    """Replaces the file as one step: a reader, or a card after a power cut, sees the old or the new, never a part.

    `durable` also waits for the disk, as a card's memory does; without it the machine, not the card, may forget.
    """
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(to_plain(card), file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
