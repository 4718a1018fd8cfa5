"""The real card and the real vault, asked each question once: the same history gets the same answer from memory.

SCP03 in Python costs most of a tap. Schedules share their beginnings to the byte, because challenges are numbered and
not drawn; so nearly every question was asked before. What is remembered came out of the shipped code.
"""

import copy
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from kioskd.gp.apdu import SW, CommandAPDU, ResponseAPDU
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
from kioskd.rekey.holding import Holdings
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import CardMemory
from kioskd.virtual.card_options import CardOptions
from tests.rekey.vaults import Keys, armed, everything

T = TypeVar("T")

KEPT = 30_000
"""So many answers are remembered, of a card or of a vault, before all are forgotten."""


class FailingCard(VirtualCard):
    """The virtual card, able to fail a command: its MAC is checked, nothing else happens."""

    fails = False

    def __post_init__(self) -> None:
        VirtualCard.__post_init__(self)
        self.seed = b""
        self.random = self._numbered

    def _numbered(self, size: int) -> bytes:
        return hashlib.sha256(b"card" + self.seed).digest()[:size]

    def _done(self, command: CommandAPDU) -> ResponseAPDU:
        if self.fails and self._session.authenticated:
            return ResponseAPDU(b"", SW.NO_DIAGNOSIS)
        return VirtualCard._done(self, command)

    def _turned(self, command: CommandAPDU) -> SW:
        return SW.NO_DIAGNOSIS if self.fails else VirtualCard._turned(self, command)

    def _initialize_update(self, command: CommandAPDU) -> ResponseAPDU:
        return ResponseAPDU(b"", SW.NO_DIAGNOSIS) if self.fails else VirtualCard._initialize_update(self, command)

    def _external_authenticate(self, command: CommandAPDU) -> ResponseAPDU:
        return ResponseAPDU(b"", SW.NO_DIAGNOSIS) if self.fails else VirtualCard._external_authenticate(self, command)


class Node:
    """A card between two commands: its memory, its session, and what became of each command that was tried."""

    __slots__ = ("after", "memory", "session")

    def __init__(self, memory: CardMemory, session: Any) -> None:
        self.memory, self.session = memory, session
        self.after: dict[tuple[bytes, bool], tuple[bytes, Node]] = {}


class RememberedCard:
    """All histories of one kind of card."""

    def __init__(self, options: CardOptions) -> None:
        self._card = FailingCard(options=options)
        self.fresh = self._card.memory
        self._roots: dict[CardMemory, Node] = {}
        self._count = 0

    def powered(self, memory: CardMemory) -> Node:
        """The card after a reset."""
        if self._count > KEPT:
            self._roots.clear()
            self._count = 0
        found = self._roots.get(memory)
        if found is None:
            self._card.reset()
            found = self._roots[memory] = Node(memory, copy.copy(self._card._session))
            self._count += 1
        return found

    def transmit(self, node: Node, command: bytes, *, fails: bool = False) -> tuple[bytes, Node]:
        """The answer to one command, and the card after it."""
        known = node.after.get((command, fails))
        if known is None:
            card = self._card
            card.memory, card._session = node.memory, copy.copy(node.session)
            card.seed, card.fails = command, fails
            answer = card.transmit(command)
            known = node.after[command, fails] = (answer, Node(card.memory, copy.copy(card._session)))
            self._count += 1
        return known


class RememberedVault:
    """A vault whose verbs are called once for each question."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.holdings: Holdings = keys.holdings()
        self._armed = frozenset(self.holdings.armed)
        self._known: dict[tuple[Any, ...], Any] = {}
        self._minted: dict[bytes, tuple[KeyHandle, KeyLabel]] = {}
        self._channels: dict[int, tuple[KeyHandle, bytes, bytes, int]] = {}
        self._numbers: dict[tuple[KeyHandle, bytes, bytes, int], ChannelHandle] = {}

    def _once(self, question: tuple[Any, ...], ask: Callable[[], T]) -> T:
        if question not in self._known:
            self._known[question] = ask()
        known: T = self._known[question]
        return known

    def trim(self) -> None:
        """Between two runs: forgets what it remembers, if that is too much."""
        if len(self._known) > KEPT:
            self._known.clear()
            self._numbers.clear()
            self._channels.clear()

    def set_of(self, verb: str, *of: Any) -> KeyHandle:
        """`derive_master` or `factory_set`; their handles are kept."""
        made: KeyHandle = self._once((verb, *of), lambda: getattr(self._keys, verb)(*of))
        return made

    def mint_krk(self, label: KeyLabel, number: int) -> tuple[KeyHandle, Cryptogram]:
        """The `number`-th RND of this history makes one set, and no other does."""

        def mint() -> tuple[KeyHandle, Cryptogram]:
            handle, cryptogram = self._keys.mint_krk(label)
            self._minted[cryptogram.value] = (handle, label)
            return handle, cryptogram

        return self._once(("mint", label, number), mint)

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """What was minted here is known, if its epoch is armed."""
        handle, minted = self._minted.get(cryptogram.value, (None, None))
        if handle is not None and minted == label and label.number in self._armed:
            return handle
        return self._keys.recover_krk(cryptogram, label)

    def proves(self, handle: KeyHandle, challenge: bytes, answer: bytes) -> bool:
        """Whether the answer's cryptogram is that of the set."""
        proven: bool = self._once(
            ("proves", handle, challenge, answer), lambda: self._keys.proves(handle, challenge, answer)
        )
        return proven

    def open_channel(self, handle: KeyHandle, challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A number that stands for this channel; refused as the vault refuses it."""
        key = (handle, challenge, answer, level)
        if key not in self._numbers:
            self._keys.forget((self._keys.open_channel(*key),))
            number = ChannelHandle(len(self._numbers) + 1)
            self._numbers[key], self._channels[number] = number, key
        return self._numbers[key]

    def on_channel(self, verb: str, channel: ChannelHandle, *args: Any) -> Any:
        """A verb of one channel."""

        def ask() -> Any:
            opened = self._keys.open_channel(*self._channels[channel])
            try:
                return getattr(self._keys, verb)(opened, *args)
            finally:
                self._keys.forget((opened,))

        return self._once((verb, channel, *args), ask)

    def wrap_commands(self, channel: ChannelHandle, commands: tuple[CommandAPDU, ...]) -> WrappedScript:
        """The commands under the channel."""
        wrapped: WrappedScript = self.on_channel("wrap_commands", channel, commands)
        return wrapped

    def unwrap_responses(self, sealed: bytes, marks: Any, responses: Any) -> Any:
        """The responses in the clear."""
        question = ("unwrap", sealed, responses)
        return self._once(question, lambda: self._keys.unwrap_responses(sealed, marks, responses))

    def values_of(self, cryptogram: Cryptogram, label: KeyLabel) -> tuple[bytes, ...] | None:
        """A set that was minted here, in the clear."""
        handle, minted = self._minted.get(cryptogram.value, (None, None))
        return self._keys.values(handle) if handle is not None and minted == label else None


class AllKeys:
    """`oracle.KnownKeys` for the vaults of these tests."""

    def __init__(self, vault: RememberedVault) -> None:
        self._vault = vault
        self._known: dict[Any, tuple[bytes, ...]] = {}

    def master(self, label: KeyLabel) -> tuple[bytes, ...]:
        """The master set of a label."""
        if label not in self._known:
            keys = armed(max(label.number, 2))
            self._known[label] = keys.values(keys.derive_master(label))
        return self._known[label]

    def krk(self, cryptogram: Cryptogram, label: KeyLabel) -> tuple[bytes, ...]:
        """The replacement set of a cryptogram."""
        question = (cryptogram.value, label)
        if question not in self._known:
            known = self._vault.values_of(cryptogram, label)
            keys = everything() if known is None else None
            self._known[question] = known or keys.values(keys.recover_krk(cryptogram, label))  # type: ignore[union-attr]
        return self._known[question]

    def factory(self, name: str) -> tuple[bytes, ...]:
        """The known set of that name."""
        if name not in self._known:
            keys = armed(2)
            self._known[name] = keys.values(keys.factory_set(name))
        return self._known[name]
