"""Who may do what at the status socket: an outsider, a reader, a technician, root, each with every verb."""

import asyncio
import grp
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from kioskd.config import StatusSection
from kioskd.edges.peers import LocalPeer, peer_of
from kioskd.terminal.who_may import WhoMay
from tests.loopback import Door, House, linger
from tests.terminal.desk import GROUPS, Desk, open_desk

NOBODY = 65534

# Started as root; becomes somebody else before it connects. It prints one line a request: status and body.
ASKS = """
import http.client, json, os, socket, sys
path, uid, gid, others, requests = json.loads(sys.argv[1])
os.setgroups(others); os.setgid(gid); os.setuid(uid)
for method, target in requests:
    connection = http.client.HTTPConnection("local")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(path)
    connection.request(method, target)
    answer = connection.getresponse()
    stream = answer.headers["Content-Type"] == "text/event-stream"
    body = answer.readline() if stream else answer.read()
    print(json.dumps([answer.status, body.decode("latin-1")]), flush=True)
    connection.close()
"""


@dataclass(frozen=True, slots=True)
class Person:
    """A user, the main group, the other groups."""

    uid: int
    gid: int
    others: tuple[int, ...] = ()


def gid(name: str) -> int:
    """A group's number."""
    return grp.getgrnam(name).gr_gid


def people() -> dict[str, Person]:
    """Everybody who may come, by the row of the matrix."""
    return {
        "outsider": Person(NOBODY, NOBODY),
        "outsider in other groups": Person(NOBODY, NOBODY, (gid("daemon"), gid("users"))),
        "reader": Person(NOBODY, NOBODY, (gid("users"), gid(GROUPS.readers))),
        "reader by the main group": Person(NOBODY, gid(GROUPS.readers)),
        "technician": Person(NOBODY, NOBODY, (gid(GROUPS.technicians),)),
        "technician by the main group": Person(NOBODY, gid(GROUPS.technicians), (gid("users"),)),
        "root": Person(0, 0),
    }


def verbs(desk: Desk) -> list[tuple[str, str]]:
    """Every route, with a name where it takes one."""
    return [(route.method, route.path.format(name="left", card="00")) for route in desk.api.routes]


async def asked(desk: Desk, who: Person, requests: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """What somebody is answered."""
    what = json.dumps([str(desk.socket), who.uid, who.gid, who.others, requests])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASKS, what, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return [(status, body) for status, body in map(json.loads, out.splitlines())]


@asynccontextmanager
async def open_to_all(house: House) -> AsyncIterator[Desk]:
    """A terminal whose socket lies where everybody can go."""
    with tempfile.TemporaryDirectory(prefix="kioskd-who-") as folder:
        Path(folder).chmod(0o755)
        async with open_desk(Path(folder), house, Door(house, linger)) as desk:
            yield desk


@pytest.mark.slow
@pytest.mark.usefixtures("root_only")
@pytest.mark.parametrize("name", list(people()))
async def test_the_matrix_of_people_and_verbs(name: str, house: House) -> None:
    async with open_to_all(house) as desk:
        requests = verbs(desk)
        answers = await asked(desk, people()[name], requests)
    assert len(answers) == len(requests) >= 15
    for (method, path), (status, body) in zip(requests, answers, strict=True):
        refused = name.startswith("outsider") or (name.startswith("reader") and method == "POST")
        assert (status == HTTPStatus.FORBIDDEN) == refused, f"{name}: {method} {path}: {status} {body[:200]}"
        print(f"{name:<30} {method:<5}{path:<24} {status}")
        if refused:
            told = json.loads(body)
            assert told["outcome"] == "not-permitted"
            assert told["sentence"].startswith("You may ") and told["sentence"].count(".") == 1
            assert GROUPS.technicians in told["sentence"]


@pytest.mark.slow
@pytest.mark.usefixtures("root_only")
async def test_an_outsider_does_not_even_learn_which_paths_there_are(house: House) -> None:
    async with open_to_all(house) as desk:
        answers = await asked(desk, people()["outsider"], [("GET", "/elsewhere"), ("POST", "/status"), ("PUT", "/")])
    assert [status for status, _ in answers] == [HTTPStatus.FORBIDDEN] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("root_only")
async def test_a_refused_act_changes_nothing(house: House) -> None:
    async with open_to_all(house) as desk:
        acts: list[tuple[str, str]] = [("POST", "/drain"), ("POST", "/readers/left/close")]
        for name in ("outsider", "reader"):
            await asked(desk, people()[name], acts)
        assert (desk.status.drained, desk.status.closed) == (False, set())
        await asked(desk, people()["technician"], acts)
        assert (desk.status.drained, desk.status.closed) == (True, {"left"})


def test_a_group_that_the_system_does_not_have_has_nobody_in_it() -> None:
    names = StatusSection("no-such-group", "nor-this-one")
    who = WhoMay.of(names)
    assert (who.readers, who.technicians) == (None, None)
    outsider = LocalPeer(NOBODY, frozenset({NOBODY}))
    assert who.refusal(outsider, acts=False) and who.refusal(outsider, acts=True)
    assert who.refusal(LocalPeer(0, frozenset()), acts=True) == ""


def test_the_one_who_runs_the_terminal_may_do_everything() -> None:
    who = WhoMay(GROUPS, 1, 2, owner=1000)
    assert who.refusal(LocalPeer(1000, frozenset({1000})), acts=True) == ""
    assert who.refusal(LocalPeer(1001, frozenset({1000})), acts=False) != ""


def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    import socket

    left, right = socket.socketpair()
    with left, right:
        peer = peer_of(left)
    assert peer.uid == os.geteuid()
    assert peer.groups >= {os.getegid(), *os.getgroups()}
