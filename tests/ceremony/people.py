"""Custodians with keys, and requests for them."""

from dataclasses import dataclass, field
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.rekey.bundle_check import ed25519_verifies
from kioskd.rekey.ceremony import (
    Act,
    Approval,
    Approved,
    Ceremony,
    Custodian,
    Detail,
    Event,
    Executed,
    Founded,
    Policy,
    Request,
    Requested,
    approval_text,
)

NOW = 1000
_ids = count(1)


def person(name: str) -> tuple[str, Ed25519PrivateKey]:
    """Somebody with a key of their own, the same at every run."""
    return name, Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))


KEYS = dict(person(name) for name in ("alice", "bob", "carol", "dave", "mallory"))


def custodian(name: str) -> Custodian:
    """A custodian of that name."""
    return Custodian(name, KEYS[name].public_key().public_bytes_raw())


POLICY = Policy(1, 2, tuple(custodian(name) for name in ("alice", "bob", "carol")))


def request(
    act: Act = Act.GENERATE,
    said: dict[str, str] | None = None,
    *,
    policy: int = 1,
    window: tuple[int, int] = (0, 2000),
) -> Request:
    """A request of its own id."""
    details = said or {"generation": "1"}
    ordered = tuple(Detail(name, details[name]) for name in sorted(details))
    return Request(next(_ids).to_bytes(16), act, ordered, policy, *window)


def approval(name: str, asked: Request, key: Ed25519PrivateKey | None = None) -> Approval:
    """What that person signs, with their key or another."""
    return Approval(asked.digest, name, (key or KEYS[name]).sign(approval_text(asked, name)))


@dataclass
class Room:
    """A key management server's ceremonies, in memory."""

    state: Ceremony = field(default_factory=lambda: Ceremony().after(Founded(POLICY), NOW, ed25519_verifies))

    def say(self, event: Event, now: int = NOW) -> None:
        """One more event."""
        self.state = self.state.after(event, now, ed25519_verifies)

    def ask(self, asked: Request) -> Request:
        """A request is made."""
        self.say(Requested(asked))
        return asked

    def approve(self, name: str, asked: Request) -> None:
        """Somebody approves."""
        self.say(Approved(approval(name, asked)))

    def execute(self, asked: Request, now: int = NOW) -> None:
        """The act begins."""
        self.say(Executed(asked.digest), now)
