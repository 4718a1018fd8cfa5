"""The virtual card: a GlobalPlatform 2.3.1 Issuer Security Domain that speaks SCP03.

Each command is atomic: it changes the memory once, in the file before its answer leaves, or not at all. A reset clears
the session and nothing else. For every wrong command there is the status word that the specification names.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from kioskd.errors import ChannelBroken, KioskError, Malformed
from kioskd.gp import scp02
from kioskd.gp.aes import derive_session_keys
from kioskd.gp.apdu import INS, MAX_LE, SW, CommandAPDU, ResponseAPDU
from kioskd.gp.isd import DES_TYPE, RESPONSE_MAC, S8_BYTES, SCP02, SCP03, InitializeUpdateAnswer
from kioskd.gp.keys import BLOCK_BYTES
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.registry import APPLICATIONS
from kioskd.gp.scp02 import CHALLENGE_BYTES
from kioskd.gp.scp02 import SEQUENCE_MAX as SCP02_SEQUENCE_MAX
from kioskd.gp.scp03 import LEVELS, CardChannel, card_cryptogram, pseudo_random_challenge
from kioskd.gp.tlv import TLV
from kioskd.virtual.card_commands import COMMANDS, SEQUENCE_BYTES, Situation, status
from kioskd.virtual.card_executive import unlocks
from kioskd.virtual.card_listing import list_domains
from kioskd.virtual.card_memory import (
    FACTORY_KVN,
    SEQUENCE_MAX,
    CardFile,
    CardMemory,
    StoredSet,
    fresh_memory,
    load,
    save,
)
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.card_scp02 import PROOF_BYTES, SCP02Channel, greet

ATR = bytes.fromhex("3B80800101")

_PLAIN, _SECURED_PLAIN, _PROPRIETARY, _SECURED = 0x00, 0x04, 0x80, 0x84
_CHANNEL_BITS, _SECURE_MESSAGING = 0x03, 0x04
_MANAGED = frozenset({_PROPRIETARY, _SECURED})
_CLASSES: Mapping[int, frozenset[int]] = {
    INS.SELECT: frozenset({_PLAIN}),
    INS.GET_RESPONSE: frozenset({_PLAIN}),
    INS.INITIALIZE_UPDATE: frozenset({_PROPRIETARY}),
    INS.EXTERNAL_AUTHENTICATE: frozenset({_SECURED}),
    INS.GET_DATA: _MANAGED | {_PLAIN, _SECURED_PLAIN},
    INS.DELETE: _MANAGED,
    INS.PUT_KEY: _MANAGED,
    INS.SET_STATUS: _MANAGED,
    INS.GET_STATUS: _MANAGED,
    INS.SEAL: _MANAGED,
    INS.UNLOCK: _MANAGED,
    INS.RELOCK: _MANAGED,
}


class Tear(StrEnum):
    """When the card loses power: before a command does anything, or after it did all but answer."""

    BEFORE = "before"
    AFTER = "after"


class Torn(KioskError):
    """The card lost power in the midst of a command; nobody gets an answer."""

    outcome = "card-pulled"


@dataclass(slots=True)
class _Session:
    """What a reset clears."""

    greeting: tuple[int, bytes, bytes] | None = None  # KVN, host challenge, card challenge
    channel: CardChannel | SCP02Channel | None = None
    kvn: int = 0
    authenticated: bool = False
    open_key: Callable[[bytes], bytes] | None = None  # decrypts what PUT KEY carries
    scp: int = SCP03
    unlocked: bool = False  # the executive
    listed: int = 0  # security domains that GET STATUS has told so far
    waiting: bytes = b""  # the rest of a long answer, with its status word


@dataclass(slots=True)
class VirtualCard:
    """One card. `transmit` takes any bytes and answers at least a status word; it raises only `Torn`.

    A card whose file is there already is what that file says; `options` are for a new one.
    """

    path: Path | None = None
    options: CardOptions = field(default_factory=CardOptions)
    durable: bool = False  # whether each change waits for the disk
    random: Callable[[int], bytes] = secrets.token_bytes  # asked only where i says that the challenge is random
    memory: CardMemory = field(init=False)
    _session: _Session = field(init=False, default_factory=_Session)
    _tear: tuple[Tear, int | None, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        stored = load(self.path) if self.path is not None else None
        if stored is None:
            self._keep(fresh_memory(self.options))
        else:
            self.options, self.memory = stored.options, stored.memory

    @property
    def atr(self) -> bytes:
        """The answer to reset."""
        return ATR

    @property
    def kvns(self) -> frozenset[int]:
        """The key sets on the card."""
        return frozenset(one.kvn for one in self.memory.sets)

    def key_values(self) -> tuple[bytes, ...]:
        """Every key in the card's memory: what a leak test looks for."""
        sets = ((one.enc, one.mac, one.dek, one.unlock) for one in self.memory.sets)
        return tuple(value for values in sets for value in values if value)

    def reset(self) -> None:
        """Power off and on: the session is gone, the memory stays."""
        self._session = _Session()

    def tear(self, when: Tear, ins: int | None = None, skip: int = 0) -> None:
        """Plans to lose power once: at the command after the next `skip` ones with that instruction (None: any)."""
        self._tear = (when, ins, skip)

    def stay(self) -> None:
        """Forgets a planned loss of power that has not come."""
        self._tear = None

    def transmit(self, raw: bytes) -> bytes:
        """The answer to one raw command."""
        torn = self._due(raw)
        if torn is Tear.BEFORE:
            self.reset()
            raise Torn("before the command")
        try:
            answer = self._in_parts(CommandAPDU.decode(raw))
        except Malformed:
            answer = status(SW.WRONG_LENGTH)
        except OSError:
            answer = status(SW.MEMORY_FAILURE)  # the file could not be written: nothing has changed
        if torn is Tear.AFTER:
            self.reset()
            raise Torn("after the command")
        return answer.encode()

    def _due(self, raw: bytes) -> Tear | None:
        if self._tear is None:
            return None
        when, ins, skip = self._tear
        if ins is not None and raw[1:2] != bytes((ins,)):
            return None
        self._tear = (when, ins, skip - 1) if skip else None
        return None if skip else when

    def _keep(self, memory: CardMemory) -> None:
        if self.path is not None:
            save(self.path, CardFile(self.options, memory), durable=self.durable)
        self.memory = memory

    # --- the card manager ---------------------------------------------------------------------------------------

    def _in_parts(self, command: CommandAPDU) -> ResponseAPDU:
        """The answer, or its first part and how many wait for GET RESPONSE."""
        if not self.options.globalplatform:
            return status(SW.NOT_FOUND if command.ins == INS.SELECT else SW.INS_NOT_SUPPORTED)
        if self.options.refuses_le and command.data and command.le is not None:
            return ResponseAPDU(b"", self.options.refuses_le)
        answer = self._answer(command).encode()
        size = len(answer) - 2
        if self._wants_another_le(command, size):
            return ResponseAPDU(b"", 0x6C00 | size)
        first = 0 if self.options.t0 and size and command.ins != INS.GET_RESPONSE else self.options.part
        if size <= first:
            return ResponseAPDU.decode(answer)
        self._session.waiting = answer[first:]
        left = len(self._session.waiting) - 2
        return ResponseAPDU(answer[:first], 0x6100 | min(left, self.options.part) % MAX_LE)

    def _wants_another_le(self, command: CommandAPDU, size: int) -> bool:
        """Whether a plain read is answered 6Cxx: the habit of some cards of T=0."""
        plain = self.options.exact_le and command.ins == INS.GET_DATA and not self._session.authenticated
        return plain and command.le == MAX_LE and 0 < size < MAX_LE

    def _answer(self, command: CommandAPDU) -> ResponseAPDU:
        if command.cla & ~(_CHANNEL_BITS | _SECURE_MESSAGING) not in (_PLAIN, _PROPRIETARY):
            return status(SW.CLA_NOT_SUPPORTED)
        if command.cla & _CHANNEL_BITS:
            return status(SW.LOGICAL_CHANNEL_UNSUPPORTED)
        if self.memory.life_cycle is LifeCycle.TERMINATED and command.ins != INS.GET_DATA:
            return status(SW.CONDITIONS_NOT_SATISFIED)
        waiting, self._session.waiting = self._session.waiting, b""
        if self._is_secured(command):
            return self._secured(command)
        classes = _CLASSES.get(command.ins)
        if classes is None or command.header[:2] == bytes((_PROPRIETARY, INS.GET_RESPONSE)):
            return status(SW.INS_NOT_SUPPORTED)
        if command.cla not in classes:
            return status(SW.CLA_NOT_SUPPORTED)
        match command.ins:
            case INS.SELECT:
                return self._select(command)
            case INS.GET_RESPONSE:
                return (
                    ResponseAPDU(waiting[:-2], int.from_bytes(waiting[-2:]))
                    if waiting
                    else status(SW.CONDITIONS_NOT_SATISFIED)
                )
            case INS.INITIALIZE_UPDATE:
                return self._initialize_update(command)
            case INS.EXTERNAL_AUTHENTICATE:
                return self._external_authenticate(command)
            case INS.GET_DATA if not command.cla & _SECURE_MESSAGING:
                return self._done(command)  # a plain read is no part of the secure channel
        # Secure messaging is missing where it is due, or is there without a secure channel.
        return self._abort() if self._session.authenticated else status(SW.SECURITY_STATUS_NOT_SATISFIED)

    def _is_secured(self, command: CommandAPDU) -> bool:
        opening = (INS.INITIALIZE_UPDATE, INS.EXTERNAL_AUTHENTICATE)
        dressed = command.cla == _SECURED or command.header[:2] == bytes((_SECURED_PLAIN, INS.GET_DATA))
        return self._session.authenticated and dressed and command.ins not in opening

    def _secured(self, command: CommandAPDU) -> ResponseAPDU:
        """Frees a command of its secure messaging and dresses the answer; only a wrong MAC ends the session."""
        session = self._session
        assert session.channel is not None
        try:
            plain, session.channel = session.channel.unwrap(command)
        except ChannelBroken:
            return self._abort()
        if self.options.executive and plain.ins in (INS.UNLOCK, INS.RELOCK):
            return session.channel.wrap(status(self._turned(plain)))
        if plain.ins == INS.GET_STATUS and plain.p1 == APPLICATIONS:
            told, session.listed = list_domains(self.options, plain, session.listed)
            return told if self.options.bare_more and told.sw == SW.MORE_DATA else session.channel.wrap(told)
        known = plain.ins in COMMANDS
        return session.channel.wrap(self._done(plain) if known else status(SW.INS_NOT_SUPPORTED))

    def _turned(self, command: CommandAPDU) -> SW:
        """UNLOCK and RELOCK: they change the session alone."""
        session = self._session
        assert session.open_key is not None
        if command.ins == INS.RELOCK:
            was, session.unlocked = session.unlocked, False
            return SW.OK if was else SW.CONDITIONS_NOT_SATISFIED
        sw = unlocks(self.memory, self.memory.at(session.kvn), session.open_key, command)
        session.unlocked = session.unlocked or sw is SW.OK
        return sw

    def _done(self, command: CommandAPDU) -> ResponseAPDU:
        session = self._session
        situation = Situation(self.memory, self.options, session.kvn, session.open_key, session.scp, session.unlocked)
        memory, answer = COMMANDS[command.ins](situation, command)
        if memory is not self.memory:
            self._keep(memory)
        return answer

    def _abort(self) -> ResponseAPDU:
        self._session = _Session()
        return status(SW.SECURITY_STATUS_NOT_SATISFIED)

    def _select(self, command: CommandAPDU) -> ResponseAPDU:
        if (command.p1, command.p2) != (0x04, 0x00):
            return status(SW.INCORRECT_P1P2)
        aid = self.options.aid
        locked = self.memory.life_cycle is LifeCycle.CARD_LOCKED
        if locked and not (aid.startswith(command.data) and self.options.privileged(final=True)):
            return status(SW.FUNCTION_NOT_SUPPORTED)
        if not aid.startswith(command.data):
            return status(SW.NOT_FOUND)
        self._session = _Session()
        inner = TLV(0x84, aid).encode() + TLV(0xA5, bytes.fromhex("9F6501FF")).encode()
        return ResponseAPDU(TLV(0x6F, inner).encode(), SW.CARD_LOCKED_WARNING if locked else SW.OK)

    # --- SCP03 --------------------------------------------------------------------------------------------------

    def _initialize_update(self, command: CommandAPDU) -> ResponseAPDU:
        self._session = _Session()
        if command.p2 != 0 or (self.options.ff_refused and command.p1 == FACTORY_KVN):
            return status(SW.INCORRECT_P1P2)
        stored = self.memory.at(command.p1)
        if stored is None:
            return status(SW.REFERENCED_DATA_NOT_FOUND)
        if stored.tries == 0:
            return status(SW.AUTHENTICATION_BLOCKED)
        if self.options.greeting_burns:
            stored = replace(stored, tries=stored.tries - 1)
            self._keep(self.memory.having(stored))
        if stored.kind == DES_TYPE:
            return self._greeted_by_scp02(stored, command.data)
        size = self.options.challenge_bytes
        if len(command.data) != size:
            return status(SW.WRONG_LENGTH)
        keys, sequence = stored.keys(), None
        if self.options.pseudo_random:
            if stored.sequence >= SEQUENCE_MAX:
                return status(SW.CONDITIONS_NOT_SATISFIED)
            stored = replace(stored, sequence=stored.sequence + 1)
            self._keep(self.memory.having(stored))
            sequence = stored.sequence.to_bytes(SEQUENCE_BYTES)
            challenge = pseudo_random_challenge(keys.enc, sequence, self.options.aid, size)
        else:
            challenge = self.random(size)
        session_keys = derive_session_keys(keys, command.data, challenge, stored.bits)
        self._session.greeting = (stored.kvn, command.data, challenge)
        self._session.channel = CardChannel(session_keys, size)
        answer = InitializeUpdateAnswer(
            kdd=self.options.diversification,
            kvn=stored.kvn,
            scp=SCP03,
            i=self.options.aes_i,
            card_challenge=challenge,
            card_cryptogram=card_cryptogram(session_keys.mac, command.data, challenge),
            sequence=sequence,
        )
        return ResponseAPDU(answer.encode(), SW.OK)

    def _greeted_by_scp02(self, stored: StoredSet, host_challenge: bytes) -> ResponseAPDU:
        if len(host_challenge) != S8_BYTES:
            return status(SW.WRONG_LENGTH)
        if stored.sequence >= SCP02_SEQUENCE_MAX:
            return status(SW.CONDITIONS_NOT_SATISFIED)
        made = greet(stored, self.options, host_challenge, self.random(CHALLENGE_BYTES))
        self._session.greeting = (stored.kvn, host_challenge, made.card_challenge)
        self._session.channel, self._session.scp = made.channel, SCP02
        self._session.open_key = made.dek.decrypt_block
        return ResponseAPDU(made.answer, SW.OK)

    def _external_authenticate(self, command: CommandAPDU) -> ResponseAPDU:
        session, self._session = self._session, _Session()
        if session.greeting is None or session.channel is None:
            return status(SW.CONDITIONS_NOT_SATISFIED)
        if not self._speaks(session.scp, command.p1) or command.p2 != 0:
            return status(SW.INCORRECT_P1P2)
        proof = PROOF_BYTES if session.scp == SCP02 else 2 * self.options.challenge_bytes
        if len(command.data) != proof:  # cryptogram and MAC
            return status(SW.WRONG_LENGTH)
        kvn, host, card = session.greeting
        stored = self.memory.at(kvn)
        assert stored is not None
        # One try is spent before anything is compared: whoever pulls the card on seeing a failure has paid for it.
        if not self.options.greeting_burns:
            self._keep(self.memory.having(replace(stored, tries=stored.tries - 1)))
        try:
            channel = session.channel.authenticated(command, host, card)
        except ChannelBroken:
            channel = None
        if channel is None:
            return status(SW.AUTHENTICATION_FAILED)
        used = stored.sequence + 1 if session.scp == SCP02 else stored.sequence
        self._keep(self.memory.having(replace(stored, tries=self.options.tries, sequence=used)))
        # The session's keys are its own: they stay although the set may be replaced or deleted now.
        open_key = session.open_key or _under_dek(stored)
        self._session = _Session(channel=channel, kvn=kvn, authenticated=True, open_key=open_key, scp=session.scp)
        return status(SW.OK)

    def _speaks(self, scp: int, level: int) -> bool:
        """Whether the card's i promises a security level."""
        if scp == SCP02:
            return level in scp02.LEVELS and bool(not level & scp02.R_MAC or self.options.scp_i & RESPONSE_MAC)
        return level in LEVELS and self.options.speaks(level)


def _under_dek(stored: StoredSet) -> Callable[[bytes], bytes]:
    """Decrypts as SCP03 has it: AES-CBC under the static DEK."""
    dek = stored.keys().dek
    return lambda ciphertext: dek.decrypt_cbc(bytes(BLOCK_BYTES), ciphertext)
