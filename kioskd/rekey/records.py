"""A card's records, append-only, and what they fold into: what is on the card, what may be on it, what is left to do.

What dies with card power is a generator; what must survive is here. The fold never forgets a candidate: a key set whose
PUT KEY may have left stays one until a later proof, whatever the reports said.

    Registered -> Intent -> Found -> ... -> Closed -> Intent -> ...
    (a card     (written    (what one      (the case
     is known)   before the  report          is proven
                 script)     proves)         finished)
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from kioskd.gp.cplc import CardId
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.scp03 import Mark
from kioskd.rekey.labels import Cryptogram, KeyKind
from kioskd.rekey.notices import Blocked, Greeted, HandedBack, Listed, MoreTries, Restored
from kioskd.rekey.wire import End


class Purpose(StrEnum):
    """What a script is for."""

    REPLACE = "replace"  # delete the old master set, install the new one
    VERIFY = "verify"  # change nothing, prove what an earlier script did
    ISSUE_MASTER = "issue-master"
    ISSUE_KRK = "issue-krk"
    CONCLUDE = "conclude"  # delete the factory set, prove the rest
    ROTATE = "rotate"  # replace the KRK by another, in the other slot
    LOCATE = "locate"  # put nothing, prove which KRK an earlier rotation left
    DROP = "drop"  # the new master set is proven: delete the old one
    RELOCK = "relock"  # the last script of an issuance: the card is locked, or its executive sealed
    ADOPT = "adopt"  # a KRK beside the master set of a card that was issued elsewhere

    @property
    def of_rotation(self) -> bool:
        """Whether it is about the KRK of a card that is issued."""
        return self in (Purpose.ROTATE, Purpose.LOCATE)


class Act(StrEnum):
    """What one step of a script does."""

    AUTHENTICATE = "authenticate"
    UNLOCK = "unlock"
    DELETE = "delete"
    PUT = "put"
    LOCK = "lock"
    STATE = "state"  # reads whether the card is locked
    READ_KEYS = "read-keys"
    GREET = "greet"  # INITIALIZE UPDATE: proves a set, relocks, opens the next session


class Receipt(StrEnum):
    """What became of the answer to PUT KEY."""

    NONE = "none"  # the script had no PUT KEY
    LOST = "lost"
    MATCH = "match"
    TOLD = "told"  # it matches, but the card has no response MAC
    MISMATCH = "mismatch"


class Audit(StrEnum):
    """What shows that a closed case's card holds no other key set."""

    RESPONSE_MAC = "response-mac"  # its key information, authenticated
    CAPACITY = "capacity"  # both its slots hold sets that were proven
    NONE = "unaudited"


class KrkTrust(StrEnum):
    """What the secrecy of a KRK on its way to the card hung on."""

    FACTORY = "factory"  # put under the factory set or under another KRK
    MASTER_BOUND = "master-bound"  # under a master set: whoever recorded that and learns the master set reads it


class KrkProof(StrEnum):
    """What a closed case says of its KRK: it answered, or it is where it was put and its key was never seen to work."""

    CRYPTOGRAM = "cryptogram"
    KEY_INFORMATION = "key-information"


@dataclass(frozen=True, slots=True)
class MasterRef:
    """One installation of a master key set."""

    generation: int
    kvn: int
    install: int
    kind: KeyKind | None = None  # None: what the card was issued with, as its profile says


@dataclass(frozen=True, slots=True)
class Registered:
    """A card is known: its id, its profile as frozen at issuance, and the key entries that are not ours."""

    card: CardId
    aliases: tuple[CardId, ...]
    profile: str
    bystanders: tuple[KeyEntry, ...]
    name: str = ""  # of the profile; empty in old records: found by `profile`
    adopted: tuple[str, int] | None = None  # of a card issued elsewhere: its master set's name and key version


@dataclass(frozen=True, slots=True)
class Greeting:
    """One INITIALIZE UPDATE inside a script: which set it addresses, on which challenge."""

    kvn: int
    host_challenge: bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """Written before its script leaves, so that any access server can verify a late report."""

    number: int
    digest: bytes
    purpose: Purpose
    tap: str
    kiosk: str
    fence: int
    opened: Greeting  # the session that the script runs in
    opened_answer: bytes
    acts: tuple[Act, ...]
    deletes: tuple[int, ...]
    put_kvn: int  # 0: installs nothing
    master: MasterRef | None  # the master set that it installs
    cryptogram: Cryptogram | None  # of the KRK that it installs
    kcvs: tuple[bytes, ...]
    greetings: tuple[Greeting, ...]
    marks: tuple[Mark, ...]
    sealed: bytes
    opened_krk: int = 0  # the install number of the KRK whose session it is; 0: another set's
    with_length: bool = True  # PUT KEY's layout


@dataclass(frozen=True, slots=True)
class Found:
    """What one report proves about its own script."""

    number: int
    end: End
    receipt: Receipt
    key_information: tuple[KeyEntry, ...] | None  # under response MAC
    proven_master: MasterRef | None
    proven_krk: Cryptogram | None
    forged: bool = False
    locked: bool | None = None  # whether the card was locked as its profile says, under response MAC; None: not read
    told: tuple[KeyEntry, ...] | None = None  # the key information of a card without response MAC: hearsay
    refused_put: bool = False  # the card answered PUT KEY with 6A80: hearsay, good for trying the other layout
    opened: bool = False  # EXTERNAL AUTHENTICATE was answered 9000, says the terminal
    declined: bool = False  # the card answered PUT KEY of an AES set that a migration puts with an error

    def and_also(self, other: "Found") -> "Found":
        """Both together: a second report of the same script adds to what is proven and takes nothing away."""
        receipts = (self.receipt, other.receipt)
        order = (Receipt.MISMATCH, Receipt.MATCH, Receipt.TOLD, Receipt.LOST)
        firm = (one for one in order if one in receipts)
        return replace(
            other,
            receipt=next(firm, Receipt.NONE),
            key_information=other.key_information if self.key_information is None else self.key_information,
            proven_master=self.proven_master or other.proven_master,
            proven_krk=self.proven_krk or other.proven_krk,
            forged=self.forged or other.forged,
            locked=other.locked if self.locked is None else self.locked,
            told=other.told if self.told is None else self.told,
            opened=self.opened or other.opened,
            declined=self.declined or other.declined,
        )


@dataclass(frozen=True, slots=True)
class Closed:
    """The case is proven finished by script `number`: these sets, and no others of ours, open the card."""

    number: int
    purpose: Purpose
    master: MasterRef
    krk: Cryptogram
    receipt: Receipt
    krk_proof: KrkProof = KrkProof.CRYPTOGRAM
    audit: Audit = Audit.RESPONSE_MAC
    krk_trust: KrkTrust = KrkTrust.FACTORY


Record = Registered | Intent | Found | Closed | Restored | HandedBack | Blocked | Greeted | MoreTries | Listed
RECORD_KINDS: dict[str, type[Any]] = {
    "blocked": Blocked,
    "restored": Restored,
    "handed-back": HandedBack,
    "registered": Registered,
    "intent": Intent,
    "found": Found,
    "closed": Closed,
    "greeted": Greeted,
    "more-tries": MoreTries,
    "listed": Listed,
}


@dataclass(frozen=True, slots=True)
class CardState:
    """A card's records, folded. Scripts are ordered by number, not by arrival."""

    registered: Registered | None = None
    intents: tuple[Intent, ...] = ()
    found: dict[int, Found] = field(default_factory=dict)  # by script number
    closed: Closed | None = None
    store_epoch: int = 0
    returned: tuple[Cryptogram, ...] = ()  # handed back after a restore
    blocked: str = ""  # why the operators have it refused
    krk_floor: int = 0  # the install number of the newest KRK that answered: older ones are gone
    greeted: tuple[Greeted, ...] = ()  # where INITIALIZE UPDATE costs an attempt: `tries` counts
    granted: int = -1  # the script number up to which the operators forgave what was greeted

    @property
    def floor(self) -> int:
        """Script and install numbers up to this may have been used by a store that was lost: 65536 for each restore."""
        return self.store_epoch << 16

    @property
    def doubtful(self) -> bool:
        """Whether nothing was proven since the store was restored."""
        return self.store_epoch > 0 and self.settled <= self.floor

    @property
    def issued(self) -> bool:
        """Whether issuance was proven finished."""
        return self.closed is not None

    @property
    def last(self) -> Intent | None:
        """The newest intent."""
        return self.intents[-1] if self.intents else None

    @property
    def open(self) -> bool:
        """Whether a script may have changed the card since the last proof, one of a lost store among them."""
        return self.doubtful or (self.last is not None and self.last.number > self.settled)

    @property
    def settled(self) -> int:
        """The number up to which everything is proven."""
        return self.closed.number if self.closed is not None else 0

    @property
    def masters(self) -> tuple[MasterRef, ...]:
        """The master sets that may be on the card, oldest first: the proven one and all that were sent since."""
        since = (one.master for one in self.intents if one.master is not None and one.number > self.settled)
        if self.closed is not None:
            return (self.closed.master, *since)
        elsewhere = self.registered.adopted if self.registered is not None else None
        return (*((MasterRef(0, elsewhere[1], 0),) if elsewhere is not None else ()), *since)

    @property
    def krks(self) -> tuple[Cryptogram, ...]:
        """Every replacement set whose PUT KEY may ever have left, oldest first; never forgotten."""
        ours = tuple(one.cryptogram for one in self.intents if one.cryptogram is not None)
        back = tuple(one for one in self.returned if one not in ours)
        return tuple(sorted((*ours, *back), key=lambda one: one.install)) if back else ours

    @property
    def krk_candidates(self) -> tuple[Cryptogram, ...]:
        """The replacement sets that may open the card, newest first."""
        proven = self.proven_krk
        live = (one for one in reversed(self.krks) if one.install >= self.krk_floor)
        return tuple(one for one in live if proven is None or one.kvn == proven.kvn)

    @property
    def rotating(self) -> Cryptogram | None:
        """The KRK that is to be proven in an open case of rotation: the newest that was sent, or the one there was.

        If one was sent, it may be the card's, or the one before it is.
        """
        last, closed = self.last, self.closed
        if closed is None or last is None or self.doubtful or last.number <= self.settled:
            return None
        if not last.purpose.of_rotation:
            return None
        since = (one for one in reversed(self.intents) if one.number > self.settled)
        return next((one.cryptogram for one in since if one.cryptogram is not None), closed.krk)

    @property
    def next_install(self) -> int:
        """An install number that no key set of this card has had."""
        masters = (one.master.install for one in self.intents if one.master is not None)
        return max((self.floor, *masters, *(krk.install for krk in self.krks))) + 1

    @property
    def next_number(self) -> int:
        """A script number that no script of this card has had."""
        return max(self.floor, self.last.number if self.last is not None else 0) + 1

    @property
    def proven_master(self) -> MasterRef | None:
        """The master set that the card has proven to hold since the last one was sent; none while that is in doubt."""
        if self.doubtful:
            return None
        changed = max((one.number for one in self.intents if one.master is not None), default=0)
        if self.closed is not None and self.closed.number >= changed:
            return self.closed.master
        proofs = (one.proven_master for n, one in sorted(self.found.items()) if n >= changed)
        return next((proof for proof in proofs if proof is not None), None)

    @property
    def proven_krk(self) -> Cryptogram | None:
        """The replacement set that the card has proven to hold since the last one was sent, here or in a lost store."""
        if self.doubtful and (self.closed is None or self.krks[-1].install > self.closed.krk.install):
            return None
        changed = max((one.number for one in self.intents if one.cryptogram is not None), default=0)
        if self.closed is not None and self.closed.number >= changed:
            return self.closed.krk
        proofs = (one.proven_krk for n, one in sorted(self.found.items()) if n >= changed)
        return next((proof for proof in proofs if proof is not None), None)

    def intent(self, number: int, digest: bytes) -> Intent | None:
        """The intent of that script, if there is one."""
        return next((one for one in self.intents if one.number == number and one.digest == digest), None)

    def masters_at(self, kvn: int) -> tuple[MasterRef, ...]:
        """The candidates at one key version number, newest first."""
        return tuple(one for one in reversed(self.masters) if one.kvn == kvn)

    def receipt_of(self, master: MasterRef) -> Receipt:
        """What became of the receipt of that installation."""
        numbers = (one.number for one in self.intents if one.master == master)
        known = (self.found[n].receipt for n in numbers if n in self.found)
        told = (Receipt.MATCH, Receipt.TOLD, Receipt.MISMATCH)
        return next((one for one in known if one in told), Receipt.LOST)

    def trust_of(self, krk: Cryptogram) -> KrkTrust:
        """Under what a replacement set was put."""
        elsewhere = self.registered.adopted if self.registered is not None else None
        masters = {one.master.kvn for one in self.intents if one.master is not None} | set((elsewhere or ())[1:])
        under = (one.opened.kvn for one in self.intents if one.cryptogram == krk and not one.opened_krk)
        return KrkTrust.MASTER_BOUND if any(kvn in masters for kvn in under) else KrkTrust.FACTORY


def fold(records: tuple[Record, ...], state: CardState | None = None) -> CardState:
    """The state that a card's records amount to, on top of `state` if one is given."""
    state = state or CardState()
    registered, closed, blocked, krk_floor = state.registered, state.closed, state.blocked, state.krk_floor
    intents, found, returned, store_epoch = [*state.intents], {**state.found}, [*state.returned], state.store_epoch
    greeted, granted = [*state.greeted], state.granted
    for record in records:
        match record:
            case Registered():
                registered = record
            case Intent():
                intents.append(record)
            case Found():
                known = found.get(record.number)
                found[record.number] = record if known is None else known.and_also(record)
            case Closed():
                if closed is None or record.number >= closed.number:  # else an older script's proof, overtaken
                    closed, answered = record, record.krk_proof is KrkProof.CRYPTOGRAM
                    krk_floor = record.krk.install if answered else krk_floor
            case Restored(epoch):
                store_epoch = max(epoch, store_epoch)
            case Blocked(reason):
                blocked = reason
            case HandedBack(cryptogram):
                returned.append(cryptogram)
            case Greeted():
                greeted.append(record)
            case MoreTries(after):
                greeted, granted = [], after
    intents.sort(key=lambda one: one.number)
    told, counted = (store_epoch, tuple(returned), blocked, krk_floor), (tuple(greeted), granted)
    return CardState(registered, tuple(intents), found, closed, *told, *counted)
