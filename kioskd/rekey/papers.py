"""The files that go between a key management server and its custodians: requests and approvals, in JSON."""

import json
from typing import TypeVar

from kioskd.errors import BadConfiguration, Malformed
from kioskd.rekey.ceremony import Approval, Request
from kioskd.shape import from_plain, to_plain

MAX_BYTES = 16384
P = TypeVar("P", Request, Approval)


def write_paper(paper: Request | Approval) -> bytes:
    """The file."""
    return json.dumps(to_plain(paper), indent=1, sort_keys=True).encode() + b"\n"


def read_paper(kind: type[P], raw: bytes, name: str) -> P:
    """The request or approval of a file; `BadConfiguration` names the file for anything else."""
    try:
        if len(raw) > MAX_BYTES:
            raise Malformed(f"{len(raw)} bytes, at most {MAX_BYTES} are read")
        return from_plain(kind, json.loads(raw))
    except (ValueError, Malformed, RecursionError) as wrong:
        raise BadConfiguration(f"{name}: is no {kind.__name__.lower()}: {wrong}") from wrong
