"""What the status socket answers: every verb, every error a sentence, and nothing that must stay inside."""

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
from typing import Any, cast

import aiohttp
import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kioskd.edges.journal import SqliteJournal
from kioskd.edges.status_http import serve_status
from kioskd.ports import ReaderState
from kioskd.rekey.wire import End, Report
from kioskd.terminal.events import MOST_LISTENERS
from kioskd.terminal.openapi import document
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.loopback import Door, House, becomes, linger
from tests.terminal.desk import Desk, open_desk

CARD = "cplc:4790D6008448DEADBEEF"
SHOWN = "cplc:…DEADBEEF"


async def tapped(desk: Desk, reader: str = "left") -> None:
    """A tap that ends, its card out of the reader again."""
    before = sum(desk.status.tallies.values())
    desk.readers.insert(reader, VirtualCard(options=CardOptions(serial=bytes.fromhex("DEADBEEF"))))
    await becomes(lambda: sum(desk.status.tallies.values()) > before and not desk.status.running)
    desk.readers.pull(reader)
    await becomes(lambda: desk.status.readers[reader] is ReaderState.EMPTY)


async def kept(desk: Desk, end: End = End.IN_DOUBT) -> None:
    """A report of the card that waits in the journal."""
    await desk.terminal.journal.keep_report(CARD, Report(7, bytes(range(32)), end, (b"\x90\x00",)))


# --- the document ---------------------------------------------------------------------------------------------------


def schema_for(desk: Desk, path: str, method: str = "get", status: int = 200) -> Any:
    """The schema of an answer, with all that it refers to."""
    told = document(desk.api.routes)
    content = told["paths"][path][method]["responses"][str(status)]["content"]
    return {**content["application/json"]["schema"], "components": told["components"]}


async def test_every_answer_is_as_its_document_says(linked: Desk) -> None:
    await tapped(linked)
    await kept(linked)
    looked = 0
    for route in linked.api.routes:
        if isinstance(route.answers, str):
            continue
        path = route.path.format(name="left", card="DEADBEEF")
        got = await linked.ask(route.method, path)
        assert got.status == HTTPStatus.OK, (route.path, got.body)
        jsonschema_rs.validate(schema_for(linked, route.path, route.method.lower()), got.told)
        looked += 1
    assert looked == 12


async def test_a_document_that_does_not_fit_would_be_found(linked: Desk) -> None:
    told = await linked.read("/status")
    schema = schema_for(linked, "/status")
    for wrong in ({**told, "pid": "7"}, {**told, "more": 1}, {key: told[key] for key in list(told)[1:]}):
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, wrong)


async def test_the_document_is_served_and_names_every_route(linked: Desk) -> None:
    told = await linked.read("/openapi.json")
    jsonschema_rs.validator_for(told["components"]["schemas"]["StatusAnswer"] | {"components": told["components"]})
    served = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert served == {(route.method, route.path) for route in linked.api.routes}


# --- reading --------------------------------------------------------------------------------------------------------


async def test_the_status_says_how_the_terminal_is(linked: Desk, house: House) -> None:
    await tapped(linked)
    told = await linked.read("/status")
    assert told["state"] == "ready"
    assert told["readers"] == {"left": "empty", "right": "empty"}
    assert told["link"] == {"connected": True, "problem": ""}
    assert (told["pending_reports"], told["open_cases"], told["under_way"], told["current"]) == (0, 0, 0, [])
    assert told["journal"]["bytes"] > 0 and told["journal"]["free_bytes"] > 0
    assert 396 < told["certificate"]["days_left"] <= 397
    assert abs(told["clock"]["server_ahead_s"]) <= 2
    assert told["versions"].keys() >= {"kioskd", "Python", "OpenSSL", "aiohttp", "pyscard"}
    assert [tap["card"] for tap in told["taps"]] == [SHOWN]


async def test_the_taps_are_told_for_themselves(desk: Desk) -> None:
    assert await desk.read("/taps") == {"taps": []}
    await tapped(desk)
    (tap,) = (await desk.read("/taps"))["taps"]
    assert (tap["outcome"], tap["code"], tap["reader"]) == ("server-down", "K400", "left")


async def test_a_terminal_that_cannot_serve_is_not_well_and_says_why(desk: Desk) -> None:
    got = await desk.ask("GET", "/health")
    assert got.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert got.told == {"well": False, "state": "no-link", "problems": ["server-down"]}


async def test_a_terminal_that_can_serve_is_well(linked: Desk) -> None:
    assert await linked.read("/health") == {"well": True, "state": "ready", "problems": []}


@pytest.mark.parametrize(
    ("spoil", "state", "problem"),
    [
        (lambda status: setattr(status, "pcscd", "down"), "out-of-service", "pcscd-down"),
        (lambda status: status.readers.clear(), "out-of-service", "no-reader"),
        (lambda status: setattr(status, "drained", True), "drained", "drained"),
        (lambda status: status.closed.update(status.readers), "drained", "drained"),
    ],
)
async def test_the_worst_that_is_true_is_the_state(linked: Desk, spoil: Any, state: str, problem: str) -> None:
    spoil(linked.status)
    assert (await linked.ask("GET", "/health")).told == {"well": False, "state": state, "problems": [problem]}


async def test_the_figures_are_read_by_prometheus(linked: Desk) -> None:
    linked.terminal.uplink.problem = ""
    await tapped(linked)
    await kept(linked)
    got = await linked.ask("GET", "/metrics")
    assert got.kind == "text/plain"
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
        if not sample.labels
    }
    assert (found["kioskd_link_up"], found["kioskd_readers"], found["kioskd_ready"]) == (1, 2, 1)
    assert (found["kioskd_reports_waiting"], found["kioskd_cases_open"]) == (1, 1)
    assert found["kioskd_tap_seconds_count"] == 1
    assert found["kioskd_certificate_expires_seconds"] > 1e9
    assert b'kioskd_taps_total{outcome="' in got.body


async def test_a_card_whose_report_waits_is_a_case(desk: Desk) -> None:
    await kept(desk)
    (case,) = (await desk.read("/cases"))["cases"]
    assert case == await desk.read("/case/DEADBEEF")
    assert (case["card"], case["open"]) == (SHOWN, True)
    assert case["reports"] == [{"script": 7, "digest": "0001020304050607", "end": "in-doubt", "answers": 1}]


async def test_a_case_is_found_by_a_tap_too_and_tells_every_tap_of_its_card(linked: Desk) -> None:
    await tapped(linked)
    await tapped(linked, "right")
    (first, second) = (await linked.read("/taps"))["taps"]
    for name in (first["tap"], "deadbeef", "ADBEEF", "%E2%80%A6DEADBEEF"):
        case = await linked.read(f"/case/{name}")
        assert [tap["tap"] for tap in case["taps"]] == [first["tap"], second["tap"]]
        assert case["open"] is False


@pytest.mark.parametrize("name", ["00000000", "%E2%80%A6", "..%2Fetc", "x" * 200])
async def test_a_card_that_is_not_known_here_is_a_sentence(desk: Desk, name: str) -> None:
    await kept(desk)
    got = await desk.ask("GET", f"/case/{name}")
    assert got.status == HTTPStatus.NOT_FOUND
    assert got.told["sentence"].startswith("No card here ")


# --- what happens, as it happens ------------------------------------------------------------------------------------


async def test_whoever_listens_hears_of_a_tap_from_its_beginning_to_its_end(linked: Desk) -> None:
    connector = aiohttp.UnixConnector(str(linked.socket))
    heard: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://local/events") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        await response.content.readuntil(b"\n\n")
        await tapped(linked)
        async with asyncio.timeout(10):
            while [one["kind"] for one in heard].count("reader") < 2:
                block = (await response.content.readuntil(b"\n\n")).decode()
                heard.append(json.loads(block.split("data: ")[1]))
                assert block.startswith(f"event: {heard[-1]['kind']}\n")
    assert [one["kind"] for one in heard] == ["reader", "tap-began", "tap-ended", "reader"]
    assert heard[0]["about"] == "left" and heard[0]["result"] == "card"
    assert heard[1]["about"] == heard[2]["about"]


async def test_a_listener_who_has_gone_makes_room_for_another(linked: Desk) -> None:
    url = "http://local/events"
    connector = aiohttp.UnixConnector(str(linked.socket), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        streams = [await session.get(url) for _ in range(MOST_LISTENERS)]
        got = await linked.ask("GET", "/events")
        assert got.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert got.told["sentence"].startswith(f"{MOST_LISTENERS} listen already")
        streams[0].close()
        linked.status.drained = True

        async def again() -> int:
            async with session.get(url) as response:
                return response.status

        async with asyncio.timeout(10):
            while await again() != HTTPStatus.OK:  # the terminal notices at its next word to the one who has gone
                await linked.ask("POST", "/drain")
        for stream in streams[1:]:
            stream.close()


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


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/elsewhere", None, 404, "There is no /elsewhere here"),
        ("GET", "/readers//close", None, 404, "There is no /readers//close here"),
        ("POST", "/status", None, 405, "/status takes GET only."),
        ("GET", "/drain", None, 405, "/drain takes POST only."),
        ("GET", "/taps?limit=7", None, 400, "/taps has no parameter 'limit'; it takes none."),
        ("POST", "/drain", b'{"for": 7}', 400, "/drain takes no body, or an empty JSON object."),
        ("POST", "/drain", b"[[[[", 400, "/drain takes no body, or an empty JSON object."),
        ("POST", "/drain", b"[" * 4000, 400, "/drain takes no body, or an empty JSON object."),
        ("POST", "/drain", b" " * 5000, 413, "The body is longer than 4096 bytes."),
    ],
)
async def test_a_request_that_makes_no_sense_is_one_sentence(
    desk: Desk, method: str, path: str, body: bytes | None, status: int, words: str
) -> None:
    got = await desk.ask(method, path, body)
    assert got.status == status
    assert got.told.keys() == {"outcome", "sentence"}
    assert got.told["sentence"].startswith(words)
    assert desk.status.drained is False


async def test_an_empty_object_is_no_body(desk: Desk) -> None:
    assert (await desk.ask("POST", "/drain", b"{}")).status == HTTPStatus.OK


async def test_an_error_of_ours_tells_nothing_of_the_inside(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.status.tallies = None  # type: ignore[assignment]
    got = await desk.ask("GET", "/status")
    assert (got.status, got.told["sentence"]) == (500, "An error of ours: the log has more.")
    assert "GET /status failed" in caplog.text


async def test_a_journal_that_fails_is_said_and_the_rest_is_told(desk: Desk) -> None:
    journal = cast("SqliteJournal", desk.terminal.journal)
    journal._worker.submit(journal._connection.close).result()
    told = await desk.read("/status")
    assert (told["pending_reports"], told["open_cases"], told["journal"]) == (None, None, None)
    assert told["state"] == "out-of-service"
    got = await desk.ask("GET", "/cases")
    assert (got.status, got.told["outcome"]) == (HTTPStatus.CONFLICT, "journal-failed")


# --- what must stay inside ------------------------------------------------------------------------------------------


async def test_no_answer_holds_a_whole_card_id_or_a_key(linked: Desk, house: House) -> None:
    await tapped(linked)
    await kept(linked)
    await tapped(linked)
    whole = linked.status.taps[-1].card
    assert whole.endswith("DEADBEEF") and len(whole) > len(SHOWN)
    key = house.kiosk.key.read_text().splitlines()[1]
    forbidden = {word.casefold().encode() for word in (whole, whole.partition(":")[2], CARD.partition(":")[2], key)}
    looked = 0
    for route in linked.api.routes:
        if route.path == "/events":
            continue
        body = (await linked.ask(route.method, route.path.format(name="left", card="DEADBEEF"))).body
        if route.path == "/support-bundle":
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                body = b"".join(tar.extractfile(name).read() for name in tar.getnames())  # type: ignore[union-attr]
        assert len(body) > 10
        assert [word for word in forbidden if word in body.lower()] == [], route.path
        looked += 1
    assert looked == len(linked.api.routes) - 1


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
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(os.environ["PLACE"]); listener.listen()
    os.dup2(listener.fileno(), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
from kioskd.edges.systemd import handed_socket
handed = handed_socket()
print(handed.getsockname() == os.environ["PLACE"], "LISTEN_FDS" in os.environ, handed_socket())
"""


def test_the_socket_that_systemd_hands_over_is_taken_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANDED],
        env={**os.environ, "PLACE": str(tmp_path / "s")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True False None\n", done.stderr
