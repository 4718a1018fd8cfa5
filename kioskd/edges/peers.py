"""Who is at the other end of a Unix socket, as the kernel says, and what the system calls its groups."""

import grp
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it
_MOST_BYTES = 1024  # of what getsockopt may return in Python: 256 groups
_GROUP_BYTES = 4


class _Options(Protocol):
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class LocalPeer:
    """A process that has connected: its user and every group that it was in when it did."""

    uid: int
    groups: frozenset[int]


def peer_of(connection: _Options) -> LocalPeer:
    """Who has connected a Unix socket. Somebody in more than 256 groups is seen with the main one only."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _MOST_BYTES)
    except OSError:
        raw = b""
    return LocalPeer(uid, frozenset((gid, *(struct.unpack(f"{len(raw) // _GROUP_BYTES}I", raw)))))


def group_id(name: str) -> int | None:
    """The number of a group of this system; None if there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
