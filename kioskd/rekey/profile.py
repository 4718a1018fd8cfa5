"""What kind of card this is, as data: a frozen profile, and which operations a card of that kind cannot finish.

The checked file of it is read by `edges/profile_file.py`; docs/cards.md says what each field is for.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from kioskd.gp import scp02, scp03
from kioskd.gp.apdu import SW
from kioskd.gp.isd import AES_TYPE, DES_TYPE, ISD_AID, S8_BYTES, S16_BYTES, SCP02, SCP03, get_data, select
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.scp03 import R_MAC
from kioskd.rekey.aes_sets import Migration
from kioskd.rekey.labels import KeyKind
from kioskd.rekey.wire import Step

CPLC_TAG = 0x9F7F
IIN_TAG = 0x42
CIN_TAG = 0x45
CARD_DATA_TAG = 0x66
KEY_INFORMATION_TAG = 0xE0
DIVERSIFICATION_TAG = 0xCF

_DES_BYTES = 16
_AID_BYTES = (5, 16)
_FEWEST_TRIES = 6


class Algorithm(StrEnum):
    """Of the key sets that we put; the names stand in the labels of issued cards."""

    AES = "AES"
    DES = "3DES"


class Lock(StrEnum):
    """How a card is unlocked for a change and locked again."""

    SESSION = "session"  # unlocked: a session under the KRK; locked: the INITIALIZE UPDATE that ends it
    LIFECYCLE = "lifecycle"  # the card rests CARD_LOCKED
    EXECUTIVE = "executive"  # an unlock key in the KRK's set opens the executive


class Order(StrEnum):
    """In which order a replacement takes the old set away and puts the new one."""

    DELETE_FIRST = "delete-first"
    RENUMBER = "renumber"  # one PUT KEY takes the old set's place at another key version number
    INSTALL_FIRST = "install-first"  # needs a third slot


class FactoryHabit(StrEnum):
    """What becomes of the factory set at the first PUT KEY."""

    STAYS = "stays"  # beside two other sets
    DROPS = "drops"  # the first set that is added takes its place
    FILLS = "fills"  # it stays, in one of the card's two slots


class Operation(StrEnum):
    """What a card of a profile may be brought here for."""

    ISSUE = "issue"
    REPLACE = "replace"
    ROTATE = "rotate"
    ADOPT = "adopt"


class Proof(StrEnum):
    """How well a profile is known."""

    VIRTUAL = "virtual card"
    REPORTED = "reported by others"
    MEASURED = "measured here"


@dataclass(frozen=True, slots=True)
class Match:
    """Which cards are of the profile: every word that is there must fit."""

    atr: str = ""  # hex; a dot stands for any digit, and the answer to reset may go on
    scp: int = 0  # 0: any; of the card data
    i: int = -1  # -1: any


@dataclass(frozen=True, slots=True)
class Profile:
    """A family of cards: its security domain, its slots, its secure channel, its habits."""

    derivation: str = "gp-scp03-aes128"  # frozen into the labels of issued cards: never changes
    name: str = "gp-scp03-aes128"  # frozen into the records of issued cards
    proof: Proof = Proof.VIRTUAL
    source: str = ""  # where what is said here was read
    match: Match = field(default_factory=Match)
    aid: bytes = ISD_AID
    scp: int = SCP03
    algorithm: Algorithm = Algorithm.AES
    level: int = 0x33
    key_bytes: int = 16
    challenge_bytes: int = S8_BYTES  # 16 where the card speaks S16
    key_length_sent: bool = True  # PUT KEY's layout: the clear length before the ciphertext
    zero_kcv: bool = False  # the check value of an AES key is over zeros instead of ones
    krk_kvn: int = 0x3E  # where a card gets its first KRK
    other_krk_kvn: int = 0x3F  # a rotation goes from one to the other
    factory_kvn: int = 0xFF
    factory_set: str = "factory"
    factory: FactoryHabit = FactoryHabit.STAYS
    first_master_kvn: int = 0x30
    master_kvns: int = 14
    slots: int = 2  # key sets that the card can hold, the factory set not counted unless it fills one
    lock: Lock = Lock.SESSION
    rests: LifeCycle = LifeCycle.SECURED  # `lifecycle`: how the card is left
    can_lock: bool = True  # the security domain has Card Lock and Final Application
    order: Order = Order.DELETE_FIRST
    deletes: bool = True  # the card knows DELETE of a key set
    renumbers: bool = True  # PUT KEY may change the key version number
    adopts: str = ""  # the key set, by its name in the vault, of cards that are adopted; empty: none are
    adopts_kvn: int = 0
    greeting_tries: int = 0  # INITIALIZE UPDATEs without a session that block a set; 0: they cost nothing
    list_domains: bool = False  # after a card is finished, have it name the security domains of others
    migrates: Migration | None = None  # what master sets become when they are replaced; None: what they were

    def __post_init__(self) -> None:
        wrong = self._impossible()
        if wrong:
            raise ValueError(wrong)

    def _impossible(self) -> str:
        """What no card can be; empty if there is nothing."""
        if self.key_bytes not in (16, 24, 32) or self.challenge_bytes not in (S8_BYTES, S16_BYTES):
            return f"keys of {self.key_bytes} bytes, challenges of {self.challenge_bytes}"
        if self.key_bytes == 24 and not self.key_length_sent:
            return "a key of 24 bytes cannot be put without its length: the card would read 32"
        if self.scp not in (SCP02, SCP03):
            return f"secure channel protocol {self.scp:02X}: 02 and 03 are spoken"
        if self.level not in (scp02.LEVELS[1:] if self.scp == SCP02 else scp03.LEVELS):
            return f"level: SCP{self.scp:02} has no level {self.level:02X} that protects commands"
        if self.algorithm is Algorithm.DES and (self.key_bytes != _DES_BYTES or self.key_length_sent):
            return "a 3DES set has keys of 16 bytes, which are put without a length"
        if self.scp == SCP02 and self.challenge_bytes != S8_BYTES:
            return "SCP02 has challenges of 8 bytes"
        return self._unnamed() or self._mixed_up() or self._not_migrating()

    def _unnamed(self) -> str:
        """What is missing or cannot be read; empty if there is nothing."""
        if not self.name.strip() or not self.derivation.strip():
            return "name and derivation: need a word each"
        if not re.fullmatch(r"[0-9A-F.]*", self.match.atr):
            return f"match.atr: needs hex digits in capitals, a dot for any, not {self.match.atr[:40]!r}"
        if not _AID_BYTES[0] <= len(self.aid) <= _AID_BYTES[1]:
            return f"aid: an application's name has 5 to 16 bytes, not {len(self.aid)}"
        if self.greeting_tries and self.list_domains:
            return "list_domains: a list is not worth an attempt of a card that counts them (greeting_tries)"
        if self.greeting_tries and self.greeting_tries not in range(_FEWEST_TRIES, 256):
            return f"greeting_tries: {self.greeting_tries}, 0 or from {_FEWEST_TRIES} to 255: half of them is kept back"
        return "" if self.slots in range(2, 65) else f"slots: {self.slots}, from 2 to 64: the KRK and a master set"

    def _mixed_up(self) -> str:
        """What is wrong with the key version numbers; empty if there is nothing."""
        if self.factory_kvn not in (*range(0x01, 0x80), 0xFF):
            return f"factory_kvn: {self.factory_kvn:02X} is no key version number, 01 to 7F or FF"
        if self.adopts and self.adopts_kvn not in (*range(0x01, 0x80), 0xFF):
            return f"adopts_kvn: {self.adopts_kvn:02X} is no key version number, 01 to 7F or FF"
        krks = {self.krk_kvn, self.other_krk_kvn}
        masters = set(range(self.first_master_kvn, self.first_master_kvn + self.master_kvns))
        if len(krks) < 2 or krks & masters or self.factory_kvn in krks | masters or self.master_kvns < 2:
            return "the key version numbers of KRKs (two), master sets (two at least) and the factory set overlap"
        if not krks | masters <= set(self.our_kvns):
            return f"key version numbers outside {self.our_kvns[0]:02X}-{self.our_kvns[-1]:02X}, where the KRK's is"
        return ""

    def _not_migrating(self) -> str:
        """Why its master sets cannot become AES sets; empty if they can, or are to stay what they are."""
        if self.migrates is None:
            return ""
        if self.scp != SCP02 or self.algorithm is not Algorithm.DES:
            return "migrates: only a card whose sets are of 3DES, for SCP02, goes to AES sets"
        if not self.deletes:
            return "migrates: a key set keeps its type when another takes its place, so the card needs DELETE of keys"
        if self.lock is Lock.EXECUTIVE:
            return "migrates: not with the executive lock, which nobody has tried on cards of two kinds of sets"
        return self.migrates.impossible()

    @property
    def our_kvns(self) -> range:
        """The sixteen key version numbers that are for master sets and replacement sets alone."""
        return range(self.krk_kvn & 0xF0, (self.krk_kvn & 0xF0) + 16)

    @property
    def response_mac(self) -> bool:
        """Whether the card's answers are authenticated."""
        return bool(self.level & R_MAC)

    @property
    def kind(self) -> KeyKind:
        """Of the sets that a card is issued with."""
        return KeyKind(self.algorithm.value, 8 * self.key_bytes)

    @property
    def kinds(self) -> tuple[KeyKind, ...]:
        """Of all sets that its cards may hold."""
        return (self.kind, *((self.migrates.kind,) if self.migrates is not None else ()))

    def level_of(self, scp: int) -> int:
        """The security level of a session of that protocol."""
        return self.migrates.level if self.migrates is not None and scp != self.scp else self.level

    @property
    def unlock_key(self) -> bool:
        """Whether the KRK's set has a fourth member."""
        return self.lock is Lock.EXECUTIVE

    def master_kvn(self, generation: int) -> int:
        """The slot of a generation, in turn."""
        return self.first_master_kvn + generation % self.master_kvns

    def next_krk_kvn(self, kvn: int) -> int:
        """The slot that a rotation puts the KRK in: the one that it is not in."""
        return self.other_krk_kvn if kvn == self.krk_kvn else self.krk_kvn

    def is_krk(self, kvn: int) -> bool:
        """Whether a key version number is for replacement sets."""
        return kvn in (self.krk_kvn, self.other_krk_kvn)

    def entries(self, kvn: int, kind: KeyKind | None = None) -> frozenset[KeyEntry]:
        """The key information of one of our sets; of another kind than those of issuance if one is named."""
        kids = (1, 2, 3, 4) if self.unlock_key and self.is_krk(kvn) else (1, 2, 3)
        kind = kind or self.kind
        key_type = DES_TYPE if kind.algorithm == Algorithm.DES else AES_TYPE
        return frozenset(KeyEntry(kid, kvn, ((key_type, kind.bits // 8),)) for kid in kids)

    def refuses(self, operation: Operation) -> str:
        """Why a card of this profile cannot be brought to an end of an operation; empty if it can."""
        return next((reason for unfit, reason in _obstacles(self, operation) if unfit), "")


def _obstacles(profile: Profile, operation: Operation) -> tuple[tuple[bool, str], ...]:
    """What makes an operation impossible, the plainest reason first."""
    lock, order, drops = profile.lock, profile.order, profile.factory is FactoryHabit.DROPS
    issuing, replacing = operation is Operation.ISSUE, operation is Operation.REPLACE
    rotating, adopting = operation is Operation.ROTATE, operation is Operation.ADOPT
    rows = (
        (lock is not Lock.SESSION and not profile.response_mac, "lock without response MAC"),
        (lock is Lock.LIFECYCLE and not profile.can_lock, "lifecycle without privilege"),
        (rotating and not profile.response_mac, "rotate without response MAC"),
        (rotating and not profile.renumbers, "rotate without renumbering"),
        (replacing and order is Order.INSTALL_FIRST and profile.slots < 3, "install-first on two slots"),
        (replacing and order is Order.INSTALL_FIRST and not profile.response_mac, "install-first without response MAC"),
        (replacing and order is Order.RENUMBER and not profile.renumbers, "renumber without renumbering"),
        (replacing and order is not Order.RENUMBER and not profile.deletes, "replace without DELETE"),
        (issuing and not drops and not profile.deletes, "issue without DELETE"),
        (adopting and not profile.adopts, "adopt without a key set"),
        (adopting and lock is not Lock.SESSION, "adopt with a lock"),
    )
    return tuple((unfit, REASONS[name]) for unfit, name in rows)


REASONS = {
    "lock without response MAC": "without response MACs nothing would show that the card was locked again",
    "lifecycle without privilege": "the security domain has no Card Lock or is no Final Application",
    "rotate without response MAC": "without response MACs a lost report leaves a KRK that nobody can prove; reissue",
    "rotate without renumbering": "the card does not change a key version number, so the KRK would be gone; reissue",
    "install-first on two slots": "install-first needs a third slot, the card has two",
    "install-first without response MAC": "without response MACs nothing would show that the old set was deleted",
    "renumber without renumbering": "the card does not change a key version number",
    "replace without DELETE": "the card has no DELETE of keys, and this order needs it",
    "issue without DELETE": "the factory set stays, and the card has no DELETE of keys",
    "adopt without a key set": "the profile names no key set of the cards that are adopted",
    "adopt with a lock": "an adopted card is neither locked nor sealed",
}


DEFAULT_PROFILE = Profile()

# A plain read may be refused: the card's other readings decide then.
_MAY_FAIL: tuple[int, ...] = ()


def identify_steps(*profiles: Profile) -> tuple[Step, ...]:
    """The plain reads that identify a card: SELECT, CPLC, card data, key information.

    Where the profiles name several security domains each is selected, and the last that is there stays so.
    """
    aids = tuple(dict.fromkeys(profile.aid for profile in profiles))
    only = (int(SW.OK), int(SW.CARD_LOCKED_WARNING)) if len(aids) == 1 else _MAY_FAIL
    return (
        *(Step(select(aid).encode(), only) for aid in aids),
        *(Step(get_data(tag).encode(), _MAY_FAIL) for tag in (CPLC_TAG, CARD_DATA_TAG, KEY_INFORMATION_TAG)),
    )


def domains(*profiles: Profile) -> int:
    """How many security domains the identify script selects."""
    return len({profile.aid for profile in profiles})


def fallback_steps() -> tuple[Step, ...]:
    """The reads that give an id where a card has no CPLC."""
    return tuple(Step(get_data(tag).encode(), _MAY_FAIL) for tag in (IIN_TAG, CIN_TAG, DIVERSIFICATION_TAG))
