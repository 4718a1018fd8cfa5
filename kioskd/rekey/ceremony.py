"""Dual control, pure: requests in words, approvals by personal signatures, a policy of M of N, and one fold over all.

Everything that happened is a list of events. The same fold decides what may happen next at the key management server
and proves afterwards, offline, that nothing else happened: a transcript that folds is one in which every act had its
quorum.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from kioskd.errors import NotApproved
from kioskd.rekey.bundle import in_words
from kioskd.shape import compact

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key of 32 bytes, signature, text): whether the signature is good."""

LONGEST_S = 31 * 24 * 3600
_APPROVAL = b"kioskd approval\n"


class Act(StrEnum):
    """What needs M of N."""

    GENERATE = "generate"
    EPOCH = "epoch"
    RELEASE = "release"
    ARM = "arm"
    DISARM = "disarm"
    POLICY = "policy"
    BACKUP = "backup"
    RESTORE = "restore"
    DESTROY = "destroy"
    SHARE = "share"


_TO = "to the access server {recipient}"
_WORDS = {
    Act.GENERATE: "Make the master block of generation {generation}.",
    Act.EPOCH: "Make epoch {epoch}: a replacement block and an RSA pair of {bits} bits.",
    Act.RELEASE: (
        f"Release generation {{generation}} and the issuing keys of epoch {{epoch}} {_TO}; "
        "the bundle can be taken in for {hours} hours."
    ),
    Act.ARM: (
        f"Release generation {{generation}} and the PRIVATE KEY of epoch {{epoch}} {_TO}, for the campaign "
        "{campaign} from generation {generation_from}, whose window is {window}; the bundle can be taken in for "
        "{hours} hours. Issuing under epoch {epoch} ends for ever."
    ),
    Act.DISARM: (
        "Accept that the campaign {campaign} is disarmed at the access server {recipient} with the open cases of the "
        "list {cases}: those cards will not be finished."
    ),
    Act.SHARE: (
        "Give the MASTER BLOCK of generation {generation} to the card management system {recipient}: it can compute "
        "every master key set of that generation. The bundle can be taken in for {hours} hours."
    ),
    Act.POLICY: "From now on {quorum} of these custodians must approve: {custodians}.",
    Act.BACKUP: "Wrap EVERY block and private key to the backup token {recipient}: whoever has it has all of them.",
    Act.DESTROY: "Destroy epoch {epoch} for ever: its block and private key. No card relies on it, say {servers}.",
    Act.RESTORE: "Take in the backup {backup} of the key management server {server}.",
}
_P256_EPOCH = "Make epoch {epoch}: a replacement block and a pair of the curve {curve}."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VALUE = re.compile(r"[ -~]{1,2000}")  # one line that a person can read


@dataclass(frozen=True, slots=True)
class Custodian:
    """A person with a personal Ed25519 key."""

    name: str
    key: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.key) != 32:
            raise ValueError("a custodian has a name of 1 to 64 letters, digits, dots or dashes, and a key of 32 bytes")


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose approval counts, and how many it takes."""

    version: int
    quorum: int
    custodians: tuple[Custodian, ...]

    def __post_init__(self) -> None:
        names, keys = {one.name for one in self.custodians}, {one.key for one in self.custodians}
        if not len(names) == len(keys) == len(self.custodians):
            raise ValueError("two custodians have one name or one key")
        if not 2 <= self.quorum <= len(self.custodians):
            raise ValueError(
                f"a quorum of {self.quorum} among {len(self.custodians)}: it takes at least 2, at most all"
            )

    def custodian(self, name: str) -> Custodian | None:
        """The custodian of that name."""
        return next((one for one in self.custodians if one.name == name), None)

    @property
    def people(self) -> str:
        """Names and keys, as a request says them."""
        return ", ".join(f"{one.name} ({one.key.hex()})" for one in self.custodians)


@dataclass(frozen=True, slots=True)
class Detail:
    """One particular of a request."""

    name: str
    value: str

    def __post_init__(self) -> None:
        if not _VALUE.fullmatch(self.value):
            raise ValueError(f"the detail {self.name[:20]!r} is not one line of plain text")


@dataclass(frozen=True, slots=True)
class Request:
    """One act, exactly; times are seconds since 1970."""

    id: bytes
    act: Act
    details: tuple[Detail, ...]
    policy: int
    not_before: int
    not_after: int

    def __post_init__(self) -> None:
        if len(self.id) != 16 or not 0 <= self.not_before <= self.not_after <= self.not_before + LONGEST_S:
            raise ValueError("a request has an id of 16 bytes and a window of at most 31 days")
        names = [one.name for one in self.details]
        if names != sorted(set(names)):
            raise ValueError("a request's details are in order, each once")
        _ = self.words

    def detail(self, name: str) -> str:
        """The value of a particular; empty if the request has none of that name."""
        return next((one.value for one in self.details if one.name == name), "")

    @property
    def words(self) -> str:
        """What will happen, for people."""
        said = {one.name: one.value for one in self.details}
        words = _P256_EPOCH if self.act is Act.EPOCH and "curve" in said else _WORDS[self.act]
        try:
            return words.format(**said)
        except (KeyError, IndexError) as wrong:
            raise ValueError(f"a request to {self.act.value} does not say {wrong}") from wrong

    @property
    def digest(self) -> bytes:
        """What approvals are bound to: every field, in one way of writing."""
        return hashlib.sha256(compact(self)).digest()

    @property
    def fingerprint(self) -> str:
        """The digest, for people to compare."""
        return in_words(self.digest)


def approval_text(request: Request, custodian: str) -> bytes:
    """What a custodian signs: who, the digest, and the words that were read."""
    return _APPROVAL + f"{custodian}\n{request.digest.hex()}\n{request.words}\n".encode()


@dataclass(frozen=True, slots=True)
class Approval:
    """A custodian's word for one request."""

    request: bytes  # its digest
    custodian: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Founded:
    """The first policy, set when the key management server was set up."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Requested:
    """Somebody asked for an act."""

    request: Request


@dataclass(frozen=True, slots=True)
class Approved:
    """A custodian approved."""

    approval: Approval


@dataclass(frozen=True, slots=True)
class Executed:
    """An act with its quorum begins: this is written down before it is done."""

    request: bytes  # its digest


Event = Founded | Requested | Approved | Executed


@dataclass(frozen=True, slots=True)
class Ceremony:
    """All events, folded."""

    policy: Policy | None = None
    requests: dict[bytes, Request] = field(default_factory=dict)  # by digest
    approved: dict[bytes, tuple[str, ...]] = field(default_factory=dict)  # who, by digest
    executed: frozenset[bytes] = frozenset()

    def after(self, event: Event, now: int, verify: Verify) -> "Ceremony":
        """The state after one more event; `NotApproved` for one that may not happen."""
        match event:
            case Founded(policy):
                if self.policy is not None:
                    raise NotApproved("there is a policy already; it changes by a request")
                return replace(self, policy=policy)
            case Requested(request):
                return self._requested(request)
            case Approved(approval):
                return self._approved(approval, now, verify)
            case Executed(digest):
                return self._executed(digest, now)

    def _requested(self, request: Request) -> "Ceremony":
        self._current(request)
        if any(one.id == request.id for one in self.requests.values()):
            raise NotApproved(f"request {request.id.hex()}: there is one of this id")
        if request.act is Act.POLICY:
            next_policy(request, self._policy)
        return replace(self, requests={**self.requests, request.digest: request})

    def _approved(self, approval: Approval, now: int, verify: Verify) -> "Ceremony":
        request = self._open(approval.request, now)
        custodian = self._policy.custodian(approval.custodian)
        if custodian is None:
            raise NotApproved(f"{approval.custodian}: is no custodian")
        so_far = self.approved.get(approval.request, ())
        if custodian.name in so_far:
            raise NotApproved(f"{custodian.name}: has approved this request already")
        if not verify(custodian.key, approval.signature, approval_text(request, custodian.name)):
            raise NotApproved(f"{custodian.name}: the signature is not theirs, or over another request")
        return replace(self, approved={**self.approved, approval.request: (*so_far, custodian.name)})

    def _executed(self, digest: bytes, now: int) -> "Ceremony":
        request, policy = self._open(digest, now), self._policy
        so_far = self.approved.get(digest, ())
        if len(so_far) < policy.quorum:
            names = ", ".join(so_far) or "nobody"
            raise NotApproved(f"{len(so_far)} of {policy.quorum} have approved ({names})")
        if request.act is Act.POLICY:
            policy = next_policy(request, policy)
        return replace(self, policy=policy, executed=self.executed | {digest})

    def _open(self, digest: bytes, now: int) -> Request:
        request = self.requests.get(digest)
        if request is None:
            raise NotApproved("no such request was made here, or it was altered")
        if digest in self.executed:
            raise NotApproved("this request was executed already")
        if not request.not_before <= now <= request.not_after:
            raise NotApproved("this request is not for this time")
        self._current(request)
        return request

    def _current(self, request: Request) -> None:
        if request.policy != self._policy.version:
            raise NotApproved(f"the policy has changed since (version {self._policy.version}, not {request.policy})")

    @property
    def _policy(self) -> Policy:
        if self.policy is None:
            raise NotApproved("there are no custodians yet")
        return self.policy


def next_policy(request: Request, present: Policy) -> Policy:
    """The policy that a request asks for; `NotApproved` for one that is none."""
    try:
        people = tuple(
            Custodian(name, bytes.fromhex(key.rstrip(")")))
            for name, _, key in (one.partition(" (") for one in request.detail("custodians").split(", "))
        )
        return Policy(present.version + 1, int(request.detail("quorum")), people)
    except (ValueError, StopIteration) as wrong:
        raise NotApproved(f"the policy asked for is none: {wrong}") from wrong
