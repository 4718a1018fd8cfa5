"""What may strike, where: a case is an operation, a kind of harm and the place; its name replays it.

No place is listed by hand. A tap without harm is recorded first: the boundaries that each process meets, the commands
that the card gets, the records that cross the link, the system calls that write.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kioskd.gp.apdu import INS
from tests.stack.cutter import POINTS
from tests.stack.house import OPERATIONS


class Kind(StrEnum):
    """What strikes."""

    TERMINAL_KILLED = "terminal-killed"
    SERVER_KILLED = "server-killed"
    LINK_CUT = "link-cut"
    LINK_SILENT = "link-silent"
    PULLED = "pulled"
    READERS_KILLED = "readers-killed"


@dataclass(frozen=True, slots=True)
class Case:
    """One schedule; `again` is a boundary at which the process that was started anew is killed a second time."""

    operation: str
    kind: Kind
    at: str
    again: str = ""

    @property
    def name(self) -> str:
        """What a replay is asked for."""
        more = f" | then {self.again}" if self.again else ""
        return f"{self.operation} | {self.kind.value} | {self.at}{more}"

    @classmethod
    def parse(cls, name: str) -> "Case":
        """The case of a name; ValueError if it is none."""
        parts = [part.strip() for part in name.split("|")]
        if len(parts) not in (3, 4) or parts[0] not in OPERATIONS or (len(parts) == 4 and parts[3][:5] != "then "):
            raise ValueError(f"{name!r} is no case: OPERATION | KIND | PLACE")
        return cls(parts[0], Kind(parts[1]), parts[2], parts[3][5:] if len(parts) == 4 else "")


@dataclass(slots=True)
class Recording:
    """One tap without harm."""

    operation: str
    terminal: list[str] = field(default_factory=list)  # boundaries, as met
    server: list[str] = field(default_factory=list)
    again: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # by role: where it died, what it met then
    commands: list[int] = field(default_factory=list)  # their INS
    records: list[str] = field(default_factory=list)  # of the link, such as "up 1"
    outcomes: tuple[str, ...] = ()  # of this tap, and of the next one


def cases_of(one: Recording) -> Iterator[Case]:
    """Every case of a recording."""
    name = one.operation
    roles = {"terminal": (Kind.TERMINAL_KILLED, one.terminal), "server": (Kind.SERVER_KILLED, one.server)}
    for kind, met in roles.values():
        yield from (Case(name, kind, at) for at in met)
    for role, (kind, _) in roles.items():
        died, met = one.again.get(role, ("", []))
        yield from (Case(name, kind, died, at) for at in met)
    for record in one.records:
        yield from (Case(name, Kind.LINK_CUT, f"{point} {record}") for point in POINTS)
        yield Case(name, Kind.LINK_SILENT, f"before {record}")
    for number, ins in enumerate(one.commands, 1):
        yield from (Case(name, Kind.PULLED, f"{when} {number} {INS(ins).name}") for when in ("before", "after"))
        yield Case(name, Kind.READERS_KILLED, f"after {number} {INS(ins).name}")
