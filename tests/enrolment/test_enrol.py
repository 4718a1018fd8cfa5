"""Enrolment with a one-time code, from the operator's command to the terminal's first link."""

import asyncio
import stat

import pytest

from kioskd.edges.https import HttpsServer
from kioskd.edges.tls import client_context, examine
from kioskd.rekey.enrolment import WHOAMI
from tests.enrolment.offices import Registry, Terminal
from tests.loopback import HOST, NAME

pytestmark = pytest.mark.slow  # each test starts processes


def let_in(registry: Registry, terminal: Terminal) -> dict[str, str]:
    """What the access server says of a terminal that comes with its identity."""
    tls = client_context(terminal.ca, terminal.identity, terminal.identity)
    told: dict[str, str] = asyncio.run(HttpsServer(HOST, registry.port, NAME, tls).ask("GET", WHOAMI))
    return told


def test_a_terminal_with_a_code_gets_its_certificate_and_is_let_in(registry: Registry) -> None:
    terminal = registry.terminal("kiosk-1")
    offer = registry.add("kiosk-1")
    said = terminal.enrol(offer)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "Next: `systemctl restart kioskd-kiosk`, then `kioskctl status`."
    told = examine(terminal.ca, terminal.identity, terminal.identity)
    assert (told.name, told.role) == ("kiosk-1", "kiosk")
    assert stat.S_IMODE(terminal.identity.stat().st_mode) == 0o600
    assert sorted(file.name for file in terminal.folder.iterdir()) == ["ca.crt", "kiosk.pem", "kiosk.yaml"]
    assert let_in(registry, terminal) == {"name": "kiosk-1", "role": "kiosk", "serial": told.serial}
    assert "kiosk-1 is enrolled as a kiosk" in registry.log
    secret = offer.code.replace("-", "")[4:]
    kept = (registry.folder / "access.db").read_bytes() + (registry.folder / "access.db-wal").read_bytes()
    for text in (registry.log, said.out, kept.decode("latin-1"), registry.command("list")):
        assert secret not in text.replace("-", "")
