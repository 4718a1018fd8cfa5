"""What the status socket answers: every verb, every error a sentence, and nothing that must stay inside."""

import asyncio
import io
import json
import tarfile
from http import HTTPStatus
from typing import Any, cast

import aiohttp
import jsonschema_rs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kioskd.edges.journal import SqliteJournal
from kioskd.terminal.events import MOST_LISTENERS
from kioskd.terminal.openapi import document
from tests.loopback import House
from tests.terminal.desk import CARD, SHOWN, Desk, kept, tapped

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
    assert got.told["outcome"] == "bad-message", "who asks for what is not there has not found an error of ours"


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
