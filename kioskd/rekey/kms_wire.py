"""What goes between a key management server and those who speak with it over the network, in JSON."""

from dataclasses import dataclass

from kioskd.rekey.ceremony import Act, Approval, Detail, Request

REQUESTS, APPROVALS, EXECUTIONS = "/requests", "/approvals", "/executions"
HOLDINGS, PAPERS = "/holdings", "/papers"

ONLINE = (Act.GENERATE, Act.EPOCH, Act.RELEASE, Act.ARM, Act.DISARM, Act.POLICY)
"""What may be asked for over the network; the rest needs files that are looked at where the keys are."""


@dataclass(frozen=True, slots=True)
class Asking:
    """An operator asks for an act."""

    act: Act
    details: tuple[Detail, ...]
    days: int

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 31:
            raise ValueError("a request may be approved for 1 to 31 days")


@dataclass(frozen=True, slots=True)
class Executing:
    """An operator has an act done; `to` is the recipient's public key, PEM, where the act has one."""

    request: Request
    approvals: tuple[Approval, ...] = ()
    to: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A request, and where it stands."""

    request: Request
    approved: tuple[str, ...]
    done: bool

    @property
    def words(self) -> str:
        """Where it stands, in a few words."""
        return "done" if self.done else f"approved by {', '.join(self.approved) or 'nobody'}"


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did, for people."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Papers:
    """The bundles and orders that wait for one access server, oldest first."""

    papers: tuple[bytes, ...]
