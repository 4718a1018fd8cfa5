"""Who may ask a terminal's status socket for what: one group reads, another acts, root does both."""

import os
from dataclasses import dataclass, field
from typing import Self

from kioskd.config import StatusSection
from kioskd.edges.peers import LocalPeer, group_id

ROOT = 0


@dataclass(frozen=True, slots=True)
class WhoMay:
    """The two groups, by name and number; a group that the system does not have has nobody in it.

    Whoever runs the terminal may do everything, as root may: the process is theirs anyway.
    """

    names: StatusSection
    readers: int | None
    technicians: int | None
    owner: int = field(default_factory=os.geteuid)

    @classmethod
    def of(cls, names: StatusSection) -> Self:
        """The groups as the system knows them now."""
        return cls(names, group_id(names.readers), group_id(names.technicians))

    def refusal(self, peer: LocalPeer, acts: bool) -> str:
        """Why somebody may not, in one sentence; nothing if they may."""
        if peer.uid in (ROOT, self.owner) or self.technicians in peer.groups:
            return ""
        if self.readers not in peer.groups:
            return (
                f"You may not ask this terminal: that takes the group {self.names.readers} to read, "
                f"or {self.names.technicians} to act."
            )
        return f"You may read, but not act: that takes the group {self.names.technicians}." if acts else ""
