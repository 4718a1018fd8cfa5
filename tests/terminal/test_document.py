"""Schemathesis reads the API's own document and tries to prove it wrong, at a terminal's real socket.

It speaks TCP, so a bridge on loopback leads to the socket as long as a test lasts. The stream of events has no end and
is tested beside (test_status_api.py).
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kioskd.terminal.status import Status
from tests.terminal.desk import Desk

pytestmark = pytest.mark.slow

EXAMPLES = 12
MOST_S = 120  # on a busy machine; 20 on an idle one
SETTINGS = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""
"""503 is an answer here: the terminal is there, and cannot serve a cardholder now."""


@asynccontextmanager
async def bridge(desk: Desk) -> AsyncIterator[int]:
    """A port of loopback that leads to the socket."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(desk.socket))
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def attack(desk: Desk, folder: Path, *which: str) -> tuple[int, str]:
    """One bounded run: exit code and output."""
    (folder / "schemathesis.toml").write_text(SETTINGS)
    async with bridge(desk) as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(folder / "schemathesis.toml"), "run", f"http://127.0.0.1:{port}/openapi.json"),
            *("--url", f"http://127.0.0.1:{port}", *which, "--max-examples", str(EXAMPLES)),
            *("--seed", "7", "--request-timeout", "30", "--phases", "examples,coverage,fuzzing"),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(MOST_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.timeout(300)
async def test_the_api_is_as_its_own_document_says(linked: Desk, tmp_path: Path) -> None:
    code, out = await attack(linked, tmp_path, "--exclude-path", "/events")
    summary = out[out.rfind(" SUMMARY ") :]
    print(summary)
    assert code == 0, out[-6000:]
    found = re.search(r"Test cases:\s+(\d+) generated", summary) or re.search(r"(\d+) generated", summary)
    assert found is not None and int(found[1]) > 100, summary


@pytest.mark.timeout(300)
async def test_an_answer_that_its_document_does_not_know_is_found(
    linked: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Status, "told_taps", lambda _status: 7)
    code, out = await attack(linked, tmp_path, "--include-path", "/taps")
    assert code == 1
    assert "/taps" in out and "schema" in out.lower()
