"""A terminal's certificate is renewed before it ends, by itself, and never in the middle of a tap."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kioskd.config import TerminalConfig, load_yaml
from kioskd.edges.https import HttpsServer
from kioskd.edges.link_server import Answer, Peer, serve_links
from kioskd.edges.tls import client_context, examine, server_context
from kioskd.errors import EnrolmentRefused
from kioskd.rekey.enrolment import RENEW, WHOAMI, Lifetime
from kioskd.terminal.renewal import PAUSE_S, Renewal
from tests.enrolment.desk import Desk, open_desk, silent
from tests.enrolment.keyboard import Keyboard
from tests.enrolment.offices import Terminal, new_terminal
from tests.loopback import HOST, NAME, free_port

pytestmark = pytest.mark.slow

LIFE_S = 36
PATIENCE_S = 60.0


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """An access server whose certificates live half a minute."""
    async with open_desk(tmp_path / "house", LIFE_S / 86400) as opened:
        yield opened


@pytest.fixture
async def terminal(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    """A kiosk that has enrolled just now."""
    made = new_terminal(tmp_path, "k1", desk.port)
    said = await Keyboard(made, capsys, monkeypatch).enrol(
        f"https://{HOST}:{desk.door}", typing=f"yes\n{await desk.code('k1')}\n"
    )
    assert said.err == ""
    return made


@asynccontextmanager
async def renewing(terminal: Terminal, idle: Callable[[], bool]) -> AsyncIterator[Renewal]:
    """The renewal of a terminal that runs."""
    config = load_yaml(TerminalConfig, terminal.config)
    renewal = Renewal(config, client_context(terminal.ca, terminal.identity, terminal.identity), idle)
    running = asyncio.create_task(renewal.run())
    try:
        yield renewal
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(true: Callable[[], bool], otherwise: str) -> None:
    """Waits for it, for a bounded time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not true():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(otherwise) from None


def serial(terminal: Terminal) -> str:
    """Of the terminal's certificate."""
    return examine(terminal.ca, terminal.identity, terminal.identity).serial


async def test_links_are_made_under_the_new_certificate_when_no_tap_is_under_way(
    desk: Desk, terminal: Terminal
) -> None:
    taps, before, old = ["one"], terminal.identity.read_bytes(), serial(terminal)
    async with renewing(terminal, lambda: not taps) as renewal:
        first = renewal.for_link()
        await until(lambda: terminal.identity.read_bytes() != before, "nothing was renewed")
        new = serial(terminal)
        assert renewal.for_link() is first, "a tap is under way"
        taps.clear()
        await until(lambda: renewal.for_link() is not first, "the new certificate is not used")
        told = await HttpsServer(HOST, desk.port, NAME, renewal.for_link()).ask("GET", WHOAMI)
    assert told["serial"] == new != old
    assert terminal.identity.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("refusing", [RENEW, WHOAMI])
async def test_a_terminal_that_is_refused_keeps_what_it_has_and_goes_on_asking(
    refusing: str, terminal: Terminal, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    async def refuse(_: Peer, __: bytes) -> None:
        asked.append(refusing)
        raise EnrolmentRefused("not today")

    doors: dict[tuple[str, str], Answer] = {
        key: refuse if key[1] == refusing else door for key, door in desk.registrar.doors().items()
    }
    port = free_port()
    terminal.config.write_text(terminal.config.read_text().replace(f"port: {desk.port}", f"port: {port}"))
    before = {file.name: file.read_bytes() for file in terminal.folder.iterdir()}
    tls = server_context(desk.house.ca, desk.house.server.certificate, desk.house.server.key)
    async with serve_links(HOST, port, tls, silent, doors):
        with caplog.at_level(logging.WARNING):
            async with renewing(terminal, lambda: True) as renewal:
                first = renewal.for_link()
                await until(lambda: len(asked) >= 2, "it does not ask again")
                assert renewal.for_link() is first
    assert {file.name: file.read_bytes() for file in terminal.folder.iterdir()} == before
    assert "renewal: not today; tried again in" in caplog.text


def test_a_terminal_asks_when_a_third_is_left_and_the_server_gives_when_half_is_left() -> None:
    life = Lifetime(1000, 1300)
    assert life.due() == 1200
    assert (life.early(1149), life.early(1151)) == (True, False)


def test_the_pauses_grow_and_leave_room_for_more_tries_before_the_end() -> None:
    now = int(time.time())
    life = Lifetime(now - 200 * 86400, now + 100 * 86400)
    pauses = [Renewal._pause_s(life, failures) for failures in range(1, 40)]
    assert 30 <= pauses[0] <= 60 and PAUSE_S[2] / 2 <= pauses[-1] <= PAUSE_S[2]
    assert len(set(pauses)) == len(pauses), "terminals that failed together do not come back together"
    last = Lifetime(now - 86400, now + 80)
    assert all(1 <= Renewal._pause_s(last, failures) <= 10 for failures in range(1, 40))


async def test_an_identity_in_two_files_is_not_renewed(terminal: Terminal) -> None:
    text = terminal.config.read_text()
    terminal.config.write_text(text.replace(f"key: {terminal.identity}", f"key: {terminal.folder}/kiosk.key"))
    config = load_yaml(TerminalConfig, terminal.config)
    tls = client_context(terminal.ca, terminal.identity, terminal.identity)
    await asyncio.wait_for(Renewal(config, tls, lambda: True).run(), 5)
