"""`kioskctl` where the socket is not that of a kiosk."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges.local_http import serve_local
from kioskd.kiosk.kioskctl import main


@pytest.mark.parametrize("told", [{"software": "kioskd", "terminals": []}, [], "hello", None, {"link": 5}])
async def test_the_socket_of_another_role_is_one_sentence(
    told: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tell(_: bytes) -> Any:
        return told

    async with serve_local(tmp_path / "s", 0o600, {("GET", "/status"): tell}):
        assert await asyncio.to_thread(main, ["--socket", str(tmp_path / "s"), "status"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{tmp_path}/s: what answers there is no kiosk and no station\n"
