"""What a report proves about its own script: response MACs, the receipt, the key information, card cryptograms.

Anything without a right MAC or cryptogram is hearsay and proves nothing; garbage is no evidence, never an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from kioskd.errors import Malformed
from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import KDD_BYTES, InitializeUpdateAnswer
from kioskd.gp.isd import Receipt as PutKeyReceipt
from kioskd.gp.keyinfo import KeyEntry, KeyInformation
from kioskd.rekey.asks import Ask, Conversation, DeriveMaster, KeyHandle, Proves, UnwrapResponses, UseFactorySet
from kioskd.rekey.labels import Cryptogram, KeyKind, KeyLabel
from kioskd.rekey.locking import shows_locked
from kioskd.rekey.profile import FactoryHabit, Lock, Profile
from kioskd.rekey.records import Act, Audit, CardState, Found, Greeting, Intent, MasterRef, Purpose, Receipt
from kioskd.rekey.wire import Report

T = TypeVar("T")

_BEFORE_ANY_AES = (Purpose.CONCLUDE, Purpose.RELOCK, Purpose.ADOPT)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose keys these are: what every label of this card has in common."""

    card: CardId
    profile: Profile

    def master_label(self, master: MasterRef) -> KeyLabel:
        """The label of one installation of a master set."""
        return self._label("MK", master.generation, master.install, master.kvn, master.kind or self.profile.kind)

    def krk_label(self, epoch: int, install: int, kvn: int) -> KeyLabel:
        """The label of one installation of a replacement set."""
        return self._label("KRK", epoch, install, kvn, self.profile.kind)

    def _label(self, name: str, number: int, install: int, kvn: int, kind: KeyKind) -> KeyLabel:
        derivation, unlock = self.profile.derivation, name == "KRK" and self.profile.unlock_key
        return KeyLabel(name, number, install, derivation, kvn, self.card, kind.algorithm, kind.bits, unlock=unlock)

    def master_set(self, state: CardState, master: MasterRef, answer: bytes) -> Ask[KeyHandle]:
        """Where the key set of a master reference comes from: derived, or the one known of the card that answered."""
        elsewhere = state.registered.adopted if state.registered is not None else None
        if elsewhere is not None and master == MasterRef(0, elsewhere[1], 0):
            return UseFactorySet(elsewhere[0], answer[:KDD_BYTES])
        return DeriveMaster(self.master_label(master))


def judge(
    subject: Subject, state: CardState, intent: Intent, report: Report, krk: KeyHandle | None = None
) -> Conversation[Found]:
    """What the report of `intent`'s script proves; `krk` is the set just minted, while its handle lives."""
    answers = [_parsed(ResponseAPDU.decode, raw) for raw in report.answers]
    secured: list[Act] = [act for act in intent.acts[1:] if act is not Act.GREET]
    plain, forged = yield from _unwrapped(intent, answers[1 : 1 + len(secured)])
    told = _told(subject.profile, intent, secured, plain)
    master, krk_proven = None, False
    if told.receipt is not Receipt.MISMATCH:
        greeted = answers[1 + len(secured) :]
        for greeting, answer in zip(intent.greetings, greeted, strict=False):
            if answer is None or not answer.ok or not _addresses(greeting, answer.data):
                continue
            if krk is not None and intent.cryptogram is not None and greeting.kvn == intent.cryptogram.kvn:
                krk_proven = yield from Proves(krk, greeting.host_challenge, answer.data)
            else:
                master = (yield from _which_master(subject, state, greeting, answer.data)) or master
    return Found(
        number=intent.number,
        end=report.end,
        receipt=told.receipt,
        key_information=told.keys if subject.profile.response_mac else None,
        proven_master=master,
        proven_krk=intent.cryptogram if krk_proven else None,
        forged=forged,
        locked=told.locked,
        told=None if subject.profile.response_mac else told.keys,
        refused_put=told.refused_put,
        opened=bool(answers) and answers[0] is not None and answers[0].ok,
        declined=_declined(subject.profile, state, intent, told),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What the secured responses say, each authenticated if the card has response MACs."""

    receipt: Receipt
    keys: tuple[KeyEntry, ...] | None = None
    locked: bool | None = None
    refused_put: bool = False
    put_failed: bool = False


def _declined(profile: Profile, state: CardState, intent: Intent, told: _Told) -> bool:
    """Whether the card has had an AES set and has not taken it.

    With response MACs that is proven: both chains of SCP02, of commands and of answers, go through PUT KEY to the key
    information that follows, and that does not name the set. If it names one that nobody knows, that one may have been
    in the way: somebody with the old master set could fill the card and have it refuse AES keys.
    """
    if not told.put_failed or intent.master is None or intent.master.kind is None:
        return False
    if not profile.response_mac:
        return True
    if told.keys is None or state.registered is None:
        return False
    left = {one.kvn for one in state.masters} - {intent.put_kvn, *intent.deletes}
    ours = left | {intent.opened.kvn}
    return all(entry.kvn in ours or entry in state.registered.bystanders for entry in told.keys)


def _told(profile: Profile, intent: Intent, acts: list[Act], plain: list[ResponseAPDU | None]) -> _Told:
    told = _Told(Receipt.NONE if not intent.put_kvn else Receipt.LOST)
    for act, response in zip(acts, plain, strict=False):
        if response is None:
            continue
        if act is Act.PUT and response.sw == SW.WRONG_DATA and profile.deletes:
            told = replace(told, refused_put=True)
        if act is Act.PUT and not response.ok:
            told = replace(told, put_failed=True)
        if response.ok:
            told = _heard(profile, intent, told, act, response)
    return told


def _heard(profile: Profile, intent: Intent, told: _Told, act: Act, response: ResponseAPDU) -> _Told:
    """With one more good answer."""
    match act:
        case Act.PUT:
            receipt = _receipt(intent, response)
            unproven = receipt is Receipt.MATCH and not profile.response_mac
            return replace(told, receipt=Receipt.TOLD if unproven else receipt)
        case Act.READ_KEYS:
            read = _parsed(KeyInformation.parse, response.data)
            return replace(told, keys=None if read is None else tuple(read.entries))
        case Act.STATE if profile.response_mac:
            return replace(told, locked=shows_locked(profile, response.data))
    return told


def _unwrapped(
    intent: Intent, answers: list[ResponseAPDU | None]
) -> Conversation[tuple[list[ResponseAPDU | None], bool]]:
    """The secured responses in the clear, and whether one of them was forged."""
    responses = [answer for answer in answers if answer is not None]
    if len(responses) != len(answers):
        return [None] * len(answers), True
    if not responses:
        return [], False
    marks = intent.marks[: len(responses)]
    plain = yield from UnwrapResponses(intent.sealed, marks, tuple(responses))
    return list(plain), None in plain


def _receipt(intent: Intent, response: ResponseAPDU) -> Receipt:
    """Whether the card's authenticated receipt names the key version and the check values that were sent."""
    read = _parsed(PutKeyReceipt.parse, response.data)
    if read is not None and read.kvn == intent.put_kvn and tuple(read.kcvs) == intent.kcvs:
        return Receipt.MATCH
    return Receipt.MISMATCH


def _addresses(greeting: Greeting, data: bytes) -> bool:
    answer = _parsed(InitializeUpdateAnswer.parse, data)
    return answer is not None and answer.kvn == greeting.kvn


def _which_master(
    subject: Subject, state: CardState, greeting: Greeting, data: bytes
) -> Conversation[MasterRef | None]:
    """The candidate at that key version number whose cryptogram this is."""
    for master in state.masters_at(greeting.kvn):
        handle = yield from subject.master_set(state, master, data)
        if (yield from Proves(handle, greeting.host_challenge, data)):
            return master
    return None


def expected_entries(subject: Subject, state: CardState, krk: Cryptogram, master: MasterRef) -> frozenset[KeyEntry]:
    """The key information of a finished card: this KRK, this master set, and the bystanders; nothing else."""
    assert state.registered is not None
    ours = subject.profile.entries(krk.kvn) | subject.profile.entries(master.kvn, master.kind)
    return ours | frozenset(state.registered.bystanders)


def audit_of(profile: Profile, purpose: Purpose, master: MasterRef) -> Audit:
    """What shows, when a script of that purpose closes a case, that the card holds nothing but what was proven.

    Two proven sets fill two slots; that says nothing of a factory set that was in none of them, nor of a card that may
    have other slots for another kind of keys.
    """
    if profile.response_mac:
        return Audit.RESPONSE_MAC
    beside = purpose is Purpose.CONCLUDE and profile.factory is FactoryHabit.STAYS
    one_kind = purpose in _BEFORE_ANY_AES or (profile.migrates is None and master.kind is None)
    return Audit.CAPACITY if profile.slots == 2 and one_kind and not beside else Audit.NONE


def is_locked(profile: Profile, found: Found) -> bool:
    """Whether this evidence shows the card locked, where its profile has a lock that can be read."""
    return profile.lock is Lock.SESSION or found.locked is True


def exact(subject: Subject, state: CardState, found: Found, krk: Cryptogram, master: MasterRef) -> bool:
    """Whether the card holds exactly the expected sets; without response MAC, whether it says nothing else."""
    keys = found.key_information if subject.profile.response_mac else found.told
    if not keys:  # some cards give an empty template, or none
        return not subject.profile.response_mac
    return frozenset(keys) == expected_entries(subject, state, krk, master)


def krk_of(state: CardState, intent: Intent | None) -> Cryptogram:
    """The card's replacement set: the one whose session a script ran in, otherwise the proven or the newest one."""
    opened = intent.opened_krk if intent is not None else 0
    session = (one for one in state.krks if opened and one.install == opened)
    return next(session, None) or state.proven_krk or state.krks[-1]


def deletable(kvns: frozenset[int]) -> frozenset[int]:
    """Those key version numbers that a key set in the field may have: 01 to 7F."""
    return frozenset(kvn for kvn in kvns if 0x01 <= kvn <= 0x7F)


def finishes(subject: Subject, state: CardState, found: Found, krk: Cryptogram, generation: int) -> bool:
    """Whether this evidence closes the case: exactly the expected sets under response MAC, and the new set proven."""
    master = found.proven_master
    return (
        master is not None
        and master.generation == generation
        and state.receipt_of(master) is not Receipt.MISMATCH
        and found.receipt is not Receipt.MISMATCH
        and is_locked(subject.profile, found)
        and exact(subject, state, found, krk, master)
    )


def _parsed(parse: Callable[[bytes], T], raw: bytes) -> T | None:
    try:
        return parse(raw)
    except Malformed:
        return None
