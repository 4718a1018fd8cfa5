"""The watchdog is fed by the work: whatever part of a daemon hangs, systemd hears nothing and starts it anew."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.demo.stage import SERVER_NAME, Stage
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.vpcd import Pace
from tests.service.supervised import Supervised

pytestmark = [
    *(pytest.mark.pcscd, pytest.mark.slow, pytest.mark.usefixtures("root_only")),
    pytest.mark.timeout(400),  # on a busy machine the installation alone takes two minutes
]

HUNG = str(Path(__file__).with_name("hung.py"))
WATCHDOG_S = 4.0
NAMES = {
    "readers": "the thread that watches the readers",
    "events": "the readers' events",
    "journal": "the journal",
    "store": "the store",
    "vault": "the vault",
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with Stage(tmp_path_factory.mktemp("s"), rsa_bits=2048) as stage:
        stage.make_keys()
        yield stage


def kiosk(stage: Stage, *, part: str = "", watchdog_s: float = WATCHDOG_S) -> Supervised:
    """A kiosk under a manager; with `part`, one that can hang."""
    program = [HUNG, part] if part else ["-m", "kioskd"]
    command = [*program, "kiosk", "--config", f"{stage.folder}/kiosk.yaml"]
    return Supervised(stage.folder, command, watchdog_s, stage.pcscd.environment)


def access(stage: Stage, part: str) -> Supervised:
    """An access server that can hang."""
    command = [HUNG, part, "access", "serve", "--config", f"{stage.folder}/access.yaml"]
    return Supervised(stage.folder, command, WATCHDOG_S)


def kms(stage: Stage, part: str) -> Supervised:
    """A key management server that can hang."""
    folder, tls = stage.folder, f"{stage.folder}/tls/{SERVER_NAME}"
    (folder / "outbox").mkdir(mode=0o700, exist_ok=True)
    (folder / "kms.yaml").write_text(
        f"listen: {{host: 127.0.0.1, port: {stage.port}}}\n"
        f"tls: {{ca: {folder}/ca/ca.crt, certificate: {tls}.crt, key: {tls}.key}}\n"
        f"vault: {{file: {folder}/kms.vault, passphrase: {folder}/kms.pass}}\n"
        f"transcript: {folder}/kms.transcript\noutbox: {folder}/outbox\nsocket: {folder}/kms.sock\n"
    )
    return Supervised(folder, [HUNG, part, "kms", "serve", "--config", f"{folder}/kms.yaml"], WATCHDOG_S)


def starves_when_struck(service: Supervised, part: str) -> None:
    """Fed while it is well; not any more when that part hangs, which the status names."""
    service.wait_until_ready()
    service.until(lambda: service.fed() >= 4, "it was not fed while it was well")
    assert service.longest_gap_s() < WATCHDOG_S
    service.process.send_signal(signal.SIGUSR1)
    assert service.starves(), service.log.read_text()
    if part != "loop":
        assert NAMES[part] in service.wait_for_status("no answer from")


@pytest.mark.parametrize("part", ["loop", "readers", "journal"])
def test_a_kiosk_that_hangs_is_not_fed(stage: Stage, part: str) -> None:
    with kiosk(stage, part=part) as service:
        starves_when_struck(service, part)


def test_a_kiosk_that_hears_of_no_card_any_more_is_not_fed(stage: Stage) -> None:
    hand = stage.holder(VirtualCard(), "kiosk")
    with kiosk(stage, part="events") as service:
        service.wait_until_ready()
        service.process.send_signal(signal.SIGUSR1)
        hand.insert()
        try:
            assert service.starves()
        finally:
            hand.pull()
        assert NAMES["events"] in service.wait_for_status("no answer from")


@pytest.mark.parametrize("part", ["loop", "store", "vault"])
def test_an_access_server_that_hangs_is_not_fed(stage: Stage, part: str) -> None:
    with access(stage, part) as service:
        starves_when_struck(service, part)


@pytest.mark.parametrize("part", ["loop", "vault"])
def test_a_key_management_server_that_hangs_is_not_fed(stage: Stage, part: str) -> None:
    with kms(stage, part) as service:
        starves_when_struck(service, part)


def test_a_pcscd_that_hangs_starves_the_kiosk_which_stops_all_the_same_and_one_that_goes_on_feeds_it(
    stage: Stage,
) -> None:
    with kiosk(stage) as service:
        service.wait_until_ready()
        os.kill(stage.pcscd.pid, signal.SIGSTOP)
        try:
            assert service.starves()
            assert NAMES["readers"] in service.wait_for_status("no answer from")
        finally:
            os.kill(stage.pcscd.pid, signal.SIGCONT)
        before = service.fed()
        service.until(lambda: service.fed() > before + 2, "it is not fed again")
        assert service.statuses()[-1].startswith("ready; "), "the status is as before"
        os.kill(stage.pcscd.pid, signal.SIGSTOP)
        try:
            assert service.starves()
            began = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - began < 10, "a service manager would have had to kill it"
        finally:
            os.kill(stage.pcscd.pid, signal.SIGCONT)


def test_a_daemon_of_the_readers_that_is_away_is_no_hang(stage: Stage) -> None:
    stage.pcscd.kill()
    try:
        with kiosk(stage) as service:
            service.wait_for_status("readers: none (K300 pcscd-down)")
            before = service.fed()
            service.until(lambda: service.fed() > before + 6, "it is not fed")
            assert service.longest_gap_s() < WATCHDOG_S
    finally:
        stage.pcscd.start()


def test_a_tap_that_waits_for_a_slow_card_is_no_hang(stage: Stage) -> None:
    stage.start_access()
    hand = stage.holder(VirtualCard(), "kiosk", Pace(read_ms=2 * 1000 * WATCHDOG_S))
    try:
        with kiosk(stage) as service:
            service.wait_for_status("link up")
            hand.insert()
            service.wait_for_status("taps under way: 1")
            before = service.fed()
            service.until(lambda: service.fed() > before + 4, "it is not fed while the card takes its time")
            assert service.statuses()[-1].count("taps under way: 1"), "the card was not slow enough for this test"
            assert service.longest_gap_s() < WATCHDOG_S
    finally:
        hand.pull()
        stage.roles.stop("access")


def test_without_a_watchdog_nobody_is_fed(stage: Stage) -> None:
    with kiosk(stage, watchdog_s=0) as service:
        service.wait_until_ready()
        time.sleep(2)
        assert service.fed() == 0
