"""After issuances and replacements no block, RND, KRK or master key is anywhere in the access server's memory."""

import asyncio
import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.demo.softhsm import SoftHsm
from kioskd.demo.stage import FACTORY_FILE, Stage
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.bundle_check import pem_of
from kioskd.virtual.card import VirtualCard
from tests.hsm.houses import KRKDB, MKDB, House, kms, known_bundle
from tests.vault.contract.keepers import softhsm_configuration

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

CARDS = 3


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """An installation whose blocks and epoch pair the test knows: the test is its key management server."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with Stage(tmp_path / "s", rsa_bits=2048, hsm=SoftHsm(Path(softhsm_configuration()))) as made:
        write_private(made.folder / "factory.keys", FACTORY_FILE.encode())
        (made.folder / "kms.pem").write_bytes(pem_of(kms().public_key()))
        assert made.hsm is not None
        made.hsm.make_token(made.roles, made.folder, made._token("access"))
        keys = ("--factory-keys", f"{made.folder}/factory.keys", "--transport-key", f"{made.folder}/transport.pem")
        made.access("init", *keys)
        bring(made, BundlePurpose.ISSUE, 1)
        yield made


def bring(stage: Stage, purpose: BundlePurpose, generation: int) -> None:
    """The known keys, by a bundle that another process than the server takes in."""
    raw = known_bundle((stage.folder / "transport.pem").read_bytes(), purpose, generation, now=None)
    (stage.folder / "bundle").write_bytes(raw)
    stage.access("import", f"{stage.folder}/bundle")


def secrets_of(stage: Stage, cards: list[VirtualCard]) -> dict[str, bytes]:
    """Every key that another program computes for these cards, and the blocks."""
    found = {"MKDB 1": MKDB[1], "MKDB 2": MKDB[2], "KRKDB": KRKDB}
    for number in range(len(cards)):
        house = House(stage.folder, fresh=False, card_file=f"card-{number}.json")

        async def work(house: House = house) -> dict[str, list[str]]:
            try:
                return await house.recomputed()
            finally:
                await house.close()

        computed = asyncio.run(work())
        assert computed["krk"] == house.on_card(0x3E)
        for kind, keys in computed.items():
            for place, key in enumerate(keys):
                found[f"card {number}: {kind} {place}"] = bytes.fromhex(key)
    return found


def scan(pid: int, secrets: dict[str, bytes]) -> list[str]:
    """Which secrets stand in a process's writable memory: raw, in hex or in base64."""
    found = set()
    needles = {name: spellings(value) for name, value in secrets.items()}
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for region in Path(f"/proc/{pid}/maps").read_text().splitlines():
            matched = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", region)
            if matched is None or "[vvar" in region:
                continue
            begin, end = (int(one, 16) for one in matched.groups())
            memory.seek(begin)
            try:
                content = memory.read(end - begin)
            except OSError:
                continue
            found |= {name for name, spelled in needles.items() if any(one in content for one in spelled)}
    return sorted(found)


def spellings(value: bytes) -> tuple[bytes, ...]:
    """Raw, hex, and base64 at its three alignments."""
    inner = [base64.b64encode(bytes(lead) + value)[(8 * lead + 5) // 6 :][:16] for lead in range(3)]
    return (value, value.hex().encode(), value.hex().upper().encode(), *inner)


def work(stage: Stage) -> list[VirtualCard]:
    """Issues and replaces some cards, the server running all the while."""
    stage.start_terminal("station")
    cards = [stage.new_card(f"card-{number}") for number in range(CARDS)]
    for card in cards:
        assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued"
    bring(stage, BundlePurpose.REPLACE, 2)
    stage.start_terminal("kiosk")
    for card in cards:
        assert stage.tap(stage.holder(card, "kiosk"), "kiosk")["outcome"] == "done"
    return cards


def test_no_key_is_in_the_memory_of_an_access_server_with_a_token(stage: Stage, pytestconfig: pytest.Config) -> None:
    stage.start_access()
    cards = work(stage)
    secrets = secrets_of(stage, cards)
    assert len(secrets) == 3 + CARDS * (1 + 3 + 3)
    found = scan(stage.roles.pid("access"), secrets)
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(
            f"\nmemory scan: {len(secrets)} secrets looked for in the access server, {len(found)} found"
        )
    assert found == []


def test_the_scan_finds_the_keys_of_a_server_that_leaks_on_purpose(stage: Stage) -> None:
    command = [sys.executable, "-m", "tests.hsm.leaking_access", "serve", "--config", f"{stage.folder}/access.yaml"]
    with (stage.folder / "log" / "leaking.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        stage.roles.until(lambda: stage.roles.status("access") is not None, "it does not start", 20)
        secrets = secrets_of(stage, work(stage))
        found = scan(server.pid, secrets)
    finally:
        server.terminate()
        server.wait(10)
    for number in range(CARDS):
        for kind in ("krk", "master"):
            assert {f"card {number}: {kind} {place}" for place in range(3)} <= set(found)
