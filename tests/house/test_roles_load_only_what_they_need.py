"""What a role drags into memory: a kiosk is a small machine, and what is not loaded cannot be attacked."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from kioskd.__main__ import ROLES

ROOT = Path(__file__).resolve().parents[2]
REPORT = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"


@cache
def loaded_by(module: str) -> frozenset[str]:
    """The top-level packages in memory after a fresh interpreter has imported a module."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, module], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return frozenset(name.split(".")[0] if not name.startswith("kioskd") else name for name in json.loads(done.stdout))


@pytest.mark.parametrize("library", ["sqlalchemy", "pkcs11", "cryptography", "textual", "rich", "prometheus_client"])
def test_the_kiosk_daemon_loads_no_part_of_a_server(library: str) -> None:
    loaded = loaded_by("kioskd.kiosk.daemon")
    assert "smartcard" in loaded, "the daemon talks PC/SC, so this test looks at the right module"
    assert library not in loaded


@pytest.mark.parametrize(
    "later",
    [
        *("kioskd.rekey.asks", "kioskd.rekey.records", "kioskd.rekey.bundle", "kioskd.edges.https"),
        *("kioskd.edges.link_server", "kioskd.terminal.selftest", "kioskd.terminal.bundle", "kioskd.terminal.openapi"),
        *("tarfile",),
    ],
)
def test_the_kiosk_daemon_is_ready_without_what_it_needs_once_in_months_or_never(later: str) -> None:
    assert later not in loaded_by("kioskd.kiosk.daemon")


@pytest.mark.parametrize(
    "library", ["cryptography", "yaml", "sqlite3", "smartcard", "systemd", "textual", "kioskd.edges.local_http"]
)
def test_the_command_of_technicians_loads_no_more_than_asking_and_showing_needs(library: str) -> None:
    loaded = loaded_by("kioskd.kiosk.kioskctl")
    assert {"aiohttp", "rich"} <= loaded, "it asks over HTTP and shows colours, so this looks at the right module"
    assert library not in loaded


@pytest.mark.parametrize("role", ["access", "kms", "station", "ca"])
def test_the_kiosk_daemon_loads_no_other_role(role: str) -> None:
    others = {name for name in loaded_by("kioskd.kiosk.daemon") if name.split(".")[1:2] == [role]}
    assert others == set()


@pytest.mark.slow
@pytest.mark.parametrize("role", list(ROLES))
def test_only_a_station_with_a_screen_loads_the_library_of_the_view(role: str) -> None:
    assert not loaded_by(ROLES[role][0]) & {"textual", "rich"}


def test_the_view_loads_it_so_that_this_looks_for_the_right_name() -> None:
    assert loaded_by("kioskd.station.view") >= {"textual", "rich"}


def test_the_command_line_alone_loads_no_role_and_no_library() -> None:
    loaded = loaded_by("kioskd.__main__")
    assert "kioskd.__main__" in loaded
    assert not loaded & {"sqlalchemy", "pkcs11", "cryptography", "aiohttp", "smartcard", "systemd"}
    assert {name for name in loaded if name.split(".")[1:2] in (["kiosk"], ["access"], ["kms"], ["station"])} == set()
