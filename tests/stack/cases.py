"""What may strike, where: a case is an operation, a kind of harm and the place; its name replays it.

No place is listed by hand. A tap without harm is recorded first: the boundaries that each process meets, the commands
that the card gets, the records that cross the link, the system calls that write.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kioskd.gp.apdu import INS
from tests.stack.cards import OPERATIONS
from tests.stack.cutter import POINTS


class Kind(StrEnum):
    """What strikes."""

    TERMINAL_KILLED = "terminal-killed"
    SERVER_KILLED = "server-killed"
    TERMINAL_DISK_FULL = "terminal-disk-full"
    SERVER_DISK_FULL = "server-disk-full"
    TERMINAL_CALL = "terminal-call"  # one system call of its journal's worker fails, or kills
    SERVER_CALL = "server-call"  # the same of the store's worker
    LINK_CUT = "link-cut"
    LINK_SILENT = "link-silent"
    LOSSY_FLAP = "lossy-flap"  # a slow link that loses packets is gone for a while, and comes back
    LOSSY_CUT = "lossy-cut"  # it is gone until the tap has ended
    PULLED = "pulled"
    READERS_KILLED = "readers-killed"
    COMMAND_KILLED = "command-killed"  # of the key management server, or the import at the access server


ARM = "arm"
"""The operation of the servers themselves: keys are made, released and taken in; then a card is replaced with them."""

LOSSY = (Kind.LOSSY_FLAP, Kind.LOSSY_CUT)
TERMINAL, SERVER = "terminal", "server"
WAITING = ("replace", "issue")
"""The operations whose every message is once followed by silence: a terminal waits eight seconds each time."""

EVERY_CALL = "replace"
"""The operation in which each page that is written is a place; elsewhere each wait for the disk is."""

CALL_HARM = {
    "fdatasync": ("signal=KILL", "error=EIO"),
    "fsync": ("signal=KILL", "error=EIO"),
    "pwrite64": ("signal=KILL", "error=ENOSPC", "error=EIO"),
}


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
        if (
            len(parts) not in (3, 4)
            or parts[0] not in (*OPERATIONS, ARM)
            or (len(parts) == 4 and parts[3][:5] != "then ")
        ):
            raise ValueError(f"{name!r} is no case: OPERATION | KIND | PLACE")
        return cls(parts[0], Kind(parts[1]), parts[2], parts[3][5:] if len(parts) == 4 else "")

    @property
    def lossy(self) -> bool:
        """Whether it is played over the slow link."""
        return self.kind in LOSSY

    @property
    def certain(self) -> bool:
        """Whether its place is met in every tap; how many pages a database writes is not the same each time."""
        return self.kind not in (Kind.TERMINAL_CALL, Kind.SERVER_CALL, *LOSSY)

    @property
    def lied(self) -> bool:
        """Whether its card's first cryptogram is bent on its way: only then is an attempt charged."""
        return ".charge " in self.at

    @property
    def asked(self) -> bool:
        """Whether somebody looks at the terminal's status meanwhile."""
        return " by terminal.status" in self.at


@dataclass(slots=True)
class Recording:
    """Taps without harm, and what was met in them."""

    operation: str
    met: dict[str, list[str]] = field(default_factory=dict)  # boundaries in order, by TERMINAL or SERVER
    again: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # where it died, what it met on its return
    commands: list[int] = field(default_factory=list)  # their INS
    records: list[str] = field(default_factory=list)  # of the link, such as "up 1"
    calls: dict[str, Counter[str]] = field(default_factory=dict)  # system calls that write
    packets: list[str] = field(default_factory=list)  # with data, such as "up 1"
    outcomes: tuple[str, ...] = ()


def cases_of(one: Recording) -> Iterator[Case]:
    """Every case of a recording."""
    yield from _kills(one)
    yield from _full_disks(one)
    yield from _calls(one)
    for record in one.records:
        yield from (Case(one.operation, Kind.LINK_CUT, f"{point} {record}") for point in POINTS)
        if one.operation in WAITING:
            yield Case(one.operation, Kind.LINK_SILENT, f"before {record}")
    for number, ins in enumerate(one.commands, 1):
        name = f"{number} {INS(ins).name}"
        yield from (Case(one.operation, Kind.PULLED, f"{when} {name}") for when in ("before", "after"))
        yield Case(one.operation, Kind.READERS_KILLED, f"after {name}")
    yield from (Case(one.operation, Kind.LOSSY_FLAP, packet) for packet in one.packets)
    if one.operation in WAITING:
        yield from (Case(one.operation, Kind.LOSSY_CUT, packet) for packet in one.packets)


def _kills(one: Recording) -> Iterator[Case]:
    for role, kind in ((TERMINAL, Kind.TERMINAL_KILLED), (SERVER, Kind.SERVER_KILLED)):
        yield from (Case(one.operation, kind, at) for at in one.met[role])
        died, met = one.again[role]
        yield from (Case(one.operation, kind, died, at) for at in met)


def _full_disks(one: Recording) -> Iterator[Case]:
    for role, kind in ((TERMINAL, Kind.TERMINAL_DISK_FULL), (SERVER, Kind.SERVER_DISK_FULL)):
        met = one.met[role]
        yield from (Case(one.operation, kind, at) for at in met if at.startswith("before ") and _writes(at, met))


def _calls(one: Recording) -> Iterator[Case]:
    for role, kind in ((TERMINAL, Kind.TERMINAL_CALL), (SERVER, Kind.SERVER_CALL)):
        for call, count in sorted(one.calls[role].items()):
            if call == "pwrite64" and one.operation != EVERY_CALL:
                continue
            for harm in CALL_HARM[call]:
                yield from (Case(one.operation, kind, f"{call} {harm} #{number}") for number in range(1, count + 1))


def _writes(at: str, met: list[str]) -> bool:
    """Whether a call writes: it has a boundary before its commit, or is of a batch, whose every call writes."""
    return at.replace("before ", "uncommitted ", 1) in met or at.startswith("before batch.")
