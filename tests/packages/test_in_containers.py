"""The packages on machines with real systemd: installed, tapped at, stopped, hung, killed, purged."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.build import ingredients
from tests.packages.container import Container, run, until
from tests.packages.installed import UNIT, House, bring_up, open_house

SUITE = os.environ.get("KIOSKD_TEST_SUITE", "bookworm")
HASTE = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=2\n"
"""A stopped process cannot even abort: without this, systemd gives it 30 + 45 seconds."""

pytestmark = [pytest.mark.slow, pytest.mark.pcscd, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def made() -> tuple[dict[str, Path], Path]:
    """The packages of this tree, and a Debian to install them on."""
    if os.geteuid() != 0:
        pytest.skip("containers and fresh roots of Debian need root")
    if subprocess.run(["mountpoint", "--quiet", "/"], check=False).returncode:
        pytest.skip("systemd-nspawn cannot boot a container from inside a chroot: its / is no mount point")
    return ingredients(SUITE)


@pytest.fixture(scope="module")
def house(made: tuple[dict[str, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A kiosk and an access server, installed and running."""
    folder = tmp_path_factory.mktemp("h")
    try:
        with open_house(folder, *made, cards=5) as opened:
            yield opened
    finally:
        run("rm", "-rf", "--one-file-system", str(folder))


def test_a_card_that_is_tapped_at_an_installed_kiosk_is_replaced(house: House) -> None:
    house.ready()
    with house.hand() as hand:
        hand.insert()
        house.until_tapped("done")
        assert house.finished(hand)
    assert house.kiosk.run("systemctl", "is-active", UNIT).strip() == "active"
    assert house.kiosk.run("stat", "--format=%U", f"/proc/{house.main_process()}").strip() == "_kioskd"


def test_a_kiosk_that_is_stopped_during_a_card_finishes_it_first(house: House) -> None:
    house.ready()
    with house.hand(slow=True) as hand:
        house.insert_half_way(hand)
        house.kiosk.run("systemctl", "stop", UNIT)
        assert house.finished(hand)
    assert house.kiosk.run("systemctl", "show", "--property=Result", "--value", UNIT).strip() == "success"
    house.kiosk.run("systemctl", "start", UNIT)
    house.ready()


def test_an_upgrade_during_a_card_finishes_it_first_and_the_kiosk_comes_back(house: House) -> None:
    house.ready()
    before = house.main_process()
    with house.hand(slow=True) as hand:
        house.insert_half_way(hand)
        house.kiosk.run("sh", "-c", "dpkg --install /srv/*.deb")
        assert house.finished(hand)
    house.ready()
    assert house.main_process() != before


def test_a_kiosk_that_hangs_is_started_anew_and_the_next_tap_resumes_the_card(house: House) -> None:
    folder = house.kiosk.root / "etc" / "systemd" / "system" / f"{UNIT}.d"
    folder.mkdir(parents=True)
    (folder / "haste.conf").write_text(HASTE)
    house.kiosk.run("systemctl", "daemon-reload")
    house.kiosk.run("systemctl", "restart", UNIT)
    house.ready()
    hung = house.main_process()
    with house.hand(slow=True) as hand:
        house.insert_half_way(hand)
        house.kiosk.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", UNIT)
        hand.pull()
        until(lambda: house.main_process() not in (0, hung), house.log)
        house.ready()
        assert not house.finished(hand)
        hand.insert()
        house.until_tapped("done")
        assert house.finished(hand)
    assert "watchdog" in house.log().lower()


def test_a_kiosk_that_loses_power_during_a_card_resumes_it_after_it_has_booted(house: House) -> None:
    house.ready()
    with house.hand(slow=True) as hand:
        house.insert_half_way(hand)
        house.kiosk.kill()
    house.kiosk.boot()
    house.ready()
    assert not house.finished(hand)
    with hand:
        hand.insert()
        house.until_tapped("done")
        assert house.finished(hand)


@pytest.fixture
def alone(made: tuple[dict[str, Path], Path], tmp_path: Path) -> Iterator[Container]:
    """A machine on which all three packages have just been installed."""
    debs, empty = made
    container = Container("alone", tmp_path / "alone")
    try:
        bring_up(container, empty, list(debs.values()))
        yield container
    finally:
        container.halt()
        run("rm", "-rf", "--one-file-system", str(container.root))


def test_a_fresh_installation_waits_for_its_keys_and_a_purge_leaves_nothing(alone: Container) -> None:
    assert alone.run("systemctl", "show", "--property=ActiveState", "--value", UNIT).strip() == "inactive"
    assert not alone.run("systemctl", "list-units", "--failed", "--no-legend").strip()
    assert "kioskd kiosk" in alone.run("kioskd", "kiosk", "--help")
    for name in ("kiosk.key", "kiosk.crt", "ca.crt"):
        (alone.root / "etc" / "kioskd" / name).write_text("what an enrolled kiosk has")
    alone.run("install", "-d", "-o", "_kioskd", "/var/lib/kioskd", "/run/kioskd")
    alone.run("touch", "/var/lib/kioskd/kiosk.journal")
    alone.run("dpkg", "--purge", "kioskd-sim", "kioskd-server", "kioskd")
    found = alone.run(
        "find", "/", "-xdev", "-iname", "*kioskd*", "-not", "-path", "/srv/*", "-not", "-path", "/var/log/*"
    )
    assert found == ""
    assert not alone.succeeds("systemctl", "cat", UNIT)
