"""What a technician may have a terminal do at its status socket, and where that socket comes from."""

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest

from kioskd.edges.status_http import serve_status
from kioskd.outcomes import outcome
from kioskd.ports import ReaderState
from kioskd.rekey.wire import Refuse
from kioskd.virtual.card import VirtualCard
from tests.loopback import Conversation, Door, House, becomes, linger
from tests.terminal.desk import Desk, kept, open_desk, tapped

# --- acts -----------------------------------------------------------------------------------------------------------


async def test_a_drained_terminal_takes_no_card_until_it_is_undrained(linked: Desk) -> None:
    assert (await linked.ask("POST", "/drain")).told == {"done": "drained", "under_way": 0}
    linked.readers.insert("left", VirtualCard())
    await becomes(lambda: linked.status.readers["left"] is ReaderState.CARD)
    assert linked.status.running == {} and linked.status.tallies == {}
    assert linked.screen.getvalue().endswith("Out of service. Please use another kiosk.  [K310]\n")
    linked.readers.pull("left")
    await becomes(lambda: linked.status.readers["left"] is ReaderState.EMPTY)
    await linked.ask("POST", "/undrain")
    assert linked.screen.getvalue().endswith("screen: Please insert your card.\n")
    await tapped(linked)


async def test_a_closed_reader_takes_no_card_and_the_other_one_does(linked: Desk) -> None:
    assert (await linked.ask("POST", "/readers/left/close")).told["done"] == "reader closed: left"
    linked.readers.insert("left", VirtualCard())
    await becomes(lambda: "This reader is closed" in linked.screen.getvalue())
    await tapped(linked, "right")
    assert sum(linked.status.tallies.values()) == 1
    linked.readers.pull("left")
    await becomes(lambda: linked.status.readers["left"] is ReaderState.EMPTY)
    assert (await linked.read("/status"))["closed_readers"] == ["left"]
    await linked.ask("POST", "/readers/left/open")
    await tapped(linked, "left")


@pytest.mark.parametrize(
    ("turns_away", "takes"), [("/drain", "/undrain"), ("/readers/left/close", "/readers/left/open")]
)
async def test_a_card_that_was_turned_away_and_still_lies_there_is_taken_afterwards(
    linked: Desk, turns_away: str, takes: str
) -> None:
    await linked.ask("POST", turns_away)
    linked.readers.insert("left", VirtualCard())
    await becomes(lambda: linked.status.readers["left"] is ReaderState.CARD)
    assert linked.status.tallies == {}
    await linked.ask("POST", takes)
    await becomes(lambda: sum(linked.status.tallies.values()) == 1)
    await linked.ask("POST", turns_away)
    await linked.ask("POST", takes)
    await asyncio.sleep(0.1)
    assert sum(linked.status.tallies.values()) == 1, "a card that was served is not served again"


async def test_a_reader_that_is_not_there_cannot_be_closed(linked: Desk) -> None:
    got = await linked.ask("POST", "/readers/middle/close")
    assert (got.status, got.told["sentence"]) == (HTTPStatus.NOT_FOUND, "There is no reader 'middle' here.")


async def test_a_link_that_is_retried_is_there_before_its_pause_is_over(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kioskd.terminal.uplink.RETRY_S", (60.0, 60.0))
    door = Door(house, linger)
    async with open_desk(tmp_path, house, door) as desk, door.open():
        async with asyncio.timeout(20):
            while not desk.terminal.uplink.connected:  # the first try may be under way still
                assert (await desk.ask("POST", "/link/retry")).status == HTTPStatus.OK
                await asyncio.sleep(0.05)


async def test_the_self_test_tells_of_each_part_in_turn(linked: Desk) -> None:
    told = (await linked.ask("POST", "/selftest")).told
    checks = {one["name"]: one for one in told["checks"]}
    order = ["disk", "pcscd", "reader", "clock", "certificate", "network", "proxy", "tls", "access server"]
    assert list(checks) == order
    for name in ("disk", "certificate", "network", "tls", "access server"):
        assert checks[name]["well"] is True, checks[name]
    assert all(one["found"] for one in checks.values())


async def test_without_a_network_the_self_test_does_not_blame_what_comes_after(desk: Desk) -> None:
    told = (await desk.ask("POST", "/selftest")).told
    checks = {one["name"]: one for one in told["checks"]}
    assert told["well"] is False
    assert checks["network"]["well"] is False and "no connection" in checks["network"]["found"]
    assert checks["network"]["advice"]
    assert checks["tls"] == {"name": "tls", "well": None, "found": "Not tried: network comes first.", "advice": ""}


@pytest.mark.parametrize(("said", "known"), [("kiosk-revoked", "kiosk-revoked"), ("of-a-newer-server", "bad-message")])
async def test_the_self_test_of_a_terminal_that_is_refused_says_so_wherever_it_enrolled(
    house: House, tmp_path: Path, said: str, known: str
) -> None:
    async def refuse(conversation: Conversation) -> None:
        await conversation.hear()
        await conversation.say(lambda head: Refuse(head, said, "revoked"))

    door = Door(house, refuse)
    async with door.open(), open_desk(tmp_path, house, door) as desk:
        checks = {one["name"]: one for one in (await desk.ask("POST", "/selftest")).told["checks"]}
    assert checks["tls"]["well"] is True
    assert checks["access server"]["well"] is False
    assert checks["access server"]["advice"] == outcome(known).advice


async def test_the_support_bundle_holds_what_its_manifest_says(linked: Desk) -> None:
    await kept(linked)
    got = await linked.ask("POST", "/support-bundle")
    assert got.kind == "application/gzip"
    with tarfile.open(fileobj=io.BytesIO(got.body)) as tar:
        files = {Path(name).name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    manifest = json.loads(files.pop("manifest.json"))
    assert {one["name"]: one["sha256"] for one in manifest["files"]} == {
        name: sha256(body).hexdigest() for name, body in files.items()
    }
    assert files.keys() == {"config.json", "status.json", "journal.json", "selftest.json", "versions.json"}
    assert json.loads(files["config.json"])["tls"]["key"] == "(not shown)"
    assert json.loads(files["journal.json"])["pending_reports"] == 1


# --- where it listens -----------------------------------------------------------------------------------------------


async def test_a_socket_that_systemd_hands_over_is_served_and_left_in_place(linked: Desk) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as handed:
        place = Path(folder) / "s"
        handed.bind(str(place))
        handed.listen()
        async with serve_status(handed, linked.api.routes, lambda _peer, _acts: ""):
            connector = aiohttp.UnixConnector(str(place))
            async with aiohttp.ClientSession(connector=connector) as session:
                async with session.get("http://local/health") as response:
                    assert response.status == HTTPStatus.OK
        assert place.is_socket(), "it is systemd's"


HANDED = """
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["PLACE"])
listener.listen()
os.dup2(listener.detach(), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
from kioskd.edges.systemd import handed_socket
handed = handed_socket()
print(handed.getsockname() == os.environ["PLACE"], handed_socket())
"""


def test_the_socket_that_systemd_hands_over_is_taken_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANDED],
        env={**os.environ, "PLACE": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True None\n", done.stderr
