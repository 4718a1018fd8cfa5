"""The status socket: who may open it, what it answers, and what is said where it does not."""

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges.local_http import MAX_BODY_BYTES, ask_local, serve_local
from kioskd.errors import BadConfiguration, Refusal, ServerDown, StoreFailed


async def echo(body: bytes) -> Any:
    """The body's length."""
    return {"bytes": len(body)}


async def refuse(_: bytes) -> Any:
    """An error of the tree."""
    raise StoreFailed("the disk is full")


async def fail(_: bytes) -> Any:
    """An error that nobody foresaw."""
    raise ZeroDivisionError("a secret place in the code")


ROUTES = {("GET", "/status"): echo, ("POST", "/import"): echo, ("GET", "/refuse"): refuse, ("GET", "/fail"): fail}


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_the_socket_has_its_mode_from_the_first_moment(
    tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[int] = []
    chmod = Path.chmod

    def look_first(path: Path, to: int) -> None:
        before.append(path.stat().st_mode & 0o777)
        chmod(path, to)

    monkeypatch.setattr(Path, "chmod", look_first)
    async with serve_local(tmp_path / "s", mode, ROUTES):
        facts = (tmp_path / "s").stat()
        assert stat.S_ISSOCK(facts.st_mode) and stat.S_IMODE(facts.st_mode) == mode
    assert before == [0o600], "nobody else could have connected before"
    assert not (tmp_path / "s").exists()
    mask = os.umask(0o022)
    os.umask(mask)
    assert mask != 0o177, "the mask of the process is as it was"


async def test_an_answer_is_json(tmp_path: Path) -> None:
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        assert await ask_local(tmp_path / "s", "GET", "/status") == {"bytes": 0}
        assert await ask_local(tmp_path / "s", "POST", "/import", b"abc") == {"bytes": 3}


async def test_a_refusal_comes_with_its_outcome_and_its_sentence(tmp_path: Path) -> None:
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        with pytest.raises(Refusal, match="the disk is full") as refused:
            await ask_local(tmp_path / "s", "GET", "/refuse")
    assert refused.value.name == "store-failed"


@pytest.mark.parametrize(("method", "path"), [("GET", "/elsewhere"), ("POST", "/status"), ("GET", "/fail")])
async def test_what_is_not_served_is_refused_in_one_sentence(tmp_path: Path, method: str, path: str) -> None:
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        with pytest.raises(Refusal, match=r"HTTP \d\d\d") as refused:
            await ask_local(tmp_path / "s", method, path)
        assert "secret" not in str(refused.value)
        assert await ask_local(tmp_path / "s", "GET", "/status") == {"bytes": 0}, "it goes on"


async def test_a_body_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        with pytest.raises(Refusal, match="HTTP 413"):
            await ask_local(tmp_path / "s", "POST", "/import", bytes(MAX_BODY_BYTES + 1))


async def raw(path: Path, words: bytes) -> bytes:
    """What the socket says to words of any kind."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(words)
    await writer.drain()
    said = await asyncio.wait_for(reader.read(100), 5)
    writer.close()
    return said


@pytest.mark.parametrize("words", [b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"hello\r\n\r\n"])
async def test_garbage_is_answered_with_an_error_and_the_socket_goes_on(tmp_path: Path, words: bytes) -> None:
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        said = await raw(tmp_path / "s", words)
        assert said == b"" or b" 40" in said.split(b"\r\n")[0]
        assert await ask_local(tmp_path / "s", "GET", "/status") == {"bytes": 0}


async def test_a_socket_that_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    async with serve_local(tmp_path / "s", 0o600, ROUTES):
        assert await ask_local(tmp_path / "s", "GET", "/status") == {"bytes": 0}


async def test_a_socket_that_somebody_listens_on_stays_his(tmp_path: Path) -> None:
    async with serve_local(tmp_path / "s", 0o600, {("GET", "/status"): echo}):
        with pytest.raises(BadConfiguration, match=f"{tmp_path}/s: somebody listens there already"):
            async with serve_local(tmp_path / "s", 0o600, {}):
                pass
        assert await ask_local(tmp_path / "s", "GET", "/status") == {"bytes": 0}


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(BadConfiguration, match=f"{tmp_path}/s: cannot be listened on: "):
        async with serve_local(tmp_path / "s", 0o600, {}):
            pass
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize("place", ["absent/s", "x" * 120])
async def test_a_place_where_no_socket_can_be_is_said_with_its_reason(tmp_path: Path, place: str) -> None:
    with pytest.raises(BadConfiguration, match=r"cannot be listened on: \w") as refused:
        async with serve_local(tmp_path / place, 0o600, {}):
            pass
    assert "None" not in str(refused.value)
    with pytest.raises(ServerDown, match="nobody answers"):
        await ask_local(tmp_path / place, "GET", "/status")


async def test_a_role_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.edges.local_http.ANSWER_S", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(ServerDown):
            await ask_local(tmp_path / "s", "GET", "/status")


async def test_an_answer_that_is_not_ours_is_no_answer(tmp_path: Path) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi!")
        writer.close()

    server = await asyncio.start_unix_server(babble, str(tmp_path / "s"))
    async with server:
        with pytest.raises(ServerDown):
            await ask_local(tmp_path / "s", "GET", "/status")
