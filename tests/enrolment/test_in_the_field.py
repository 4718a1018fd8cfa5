"""Enrolled terminals at work: a real card on a real pcscd, certificates that end soon, revocation on an open link."""

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.access.cli import main as access
from kioskd.edges.tls import Certified, examine
from kioskd.gp.apdu import INS
from kioskd.kiosk.kioskctl import main as kioskctl
from kioskd.outcomes import outcome
from kioskd.private_file import write_private
from tests.enrolment.offices import Offer, offer_in
from tests.loopback import HOST, free_port
from tests.path.scene import AFTER, Scene, open_scene, when_the_card_gets

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.timeout(900)]

LIFE_S = 60
LOADED_S = 120.0
"""How long a process is waited for on a machine that has much else to do."""
LONG = 1.0


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An armed installation whose access server gives out certificates; its kiosk keeps its identity in one file."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("kioskd.demo.roles.START_S", "kioskd.demo.stage.START_S", "tests.path.scene.PATIENCE_S"):
            patch.setattr(limit, LOADED_S)
        yield from _opened(tmp_path_factory.mktemp("s") / "s")


def _opened(place: Path) -> Iterator[Scene]:
    with open_scene(place, 5) as opened:
        folder, door = opened.stage.folder, free_port()
        opened.stage.roles.stop("kiosk")
        opened.stage.roles.stop("access")
        with (folder / "access.yaml").open("a") as config:
            config.write(
                f"enrolment: {{port: {door}, ca: {folder}/ca/ca.crt, ca_key: {folder}/ca/ca.key, "
                f"days: {LONG}, url: 'https://{HOST}:{door}'}}\n"
            )
        opened.stage.start_access()
        yaml = folder / "kiosk.yaml"
        text = yaml.read_text().replace("/tls/kiosk.crt", "/own/kiosk.pem").replace("/tls/kiosk.key", "/own/kiosk.pem")
        (folder / "own").mkdir(mode=0o700)
        yaml.write_text(text.replace("/ca/ca.crt", "/own/ca.crt"))
        yield opened


@pytest.fixture
def scene(house: Scene) -> Iterator[Scene]:
    """The installation, its kiosk not enrolled and not running."""
    yield house
    house.stage.roles.stop("kiosk")
    for file in (house.stage.folder / "own").iterdir():
        file.unlink()


@pytest.fixture
def short_lives(scene: Scene) -> Iterator[Scene]:
    """Certificates that live less than a minute."""
    config = scene.stage.folder / "access.yaml"
    usual = config.read_text()
    config.write_text(usual.replace(f"days: {LONG}", f"days: {LIFE_S / 86400}"))
    restart(scene)
    yield scene
    config.write_text(usual)
    restart(scene)


def restart(scene: Scene) -> None:
    """The access server is started anew."""
    scene.stage.roles.stop("access")
    scene.stage.start_access()


def add(scene: Scene) -> Offer:
    """A code for the kiosk."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert access(["enrolment", "add", "kiosk", "--config", f"{scene.stage.folder}/access.yaml"]) == 0
    return offer_in(printed.getvalue())


def enrol(scene: Scene, *args: str) -> None:
    """The kiosk enrols and starts."""
    offer, folder = add(scene), scene.stage.folder
    (folder / "code").unlink(missing_ok=True)
    write_private(folder / "code", offer.code.encode())
    how = ("--config", f"{folder}/kiosk.yaml", "--fingerprint", offer.fingerprint, "--code-file", f"{folder}/code")
    assert kioskctl(["enrol", offer.url, *how, *args]) == 0


def identity(scene: Scene) -> Certified:
    """What the kiosk's certificate says now."""
    own = scene.stage.folder / "own"
    return examine(own / "ca.crt", own / "kiosk.pem", own / "kiosk.pem")


def revoke(scene: Scene) -> None:
    """Has the kiosk revoked, beside the running server."""
    assert access(["enrolment", "revoke", "kiosk", "--config", f"{scene.stage.folder}/access.yaml"]) == 0


def test_an_enrolled_kiosk_replaces_a_card_and_renews_its_certificate_by_itself(short_lives: Scene) -> None:
    scene = short_lives
    enrol(scene)
    first, key = identity(scene), (scene.stage.folder / "own" / "kiosk.pem").read_bytes()[:120]
    assert first.end - first.begin <= LIFE_S * 1.2
    scene.stage.start_terminal("kiosk")
    assert scene.tap(scene.hand(card := scene.card()))["outcome"] == "done"
    assert scene.finished(card)
    scene.stage.roles.until(lambda: identity(scene).serial != first.serial, "no renewal came", LIFE_S)
    assert time.time() < first.end, "the old certificate was good until then"
    assert time.time() >= first.end - (first.end - first.begin) / 3 - 1, "it was not renewed before a third was left"
    assert (scene.stage.folder / "own" / "kiosk.pem").read_bytes()[:120] != key, "a new key each time"
    assert sorted(file.name for file in (scene.stage.folder / "own").iterdir()) == ["ca.crt", "kiosk.pem"]
    scene.stage.roles.until(lambda: time.time() > first.end, "time stands still", LIFE_S)
    restart(scene)
    scene.until_linked()
    assert scene.tap(scene.hand(scene.card()))["outcome"] == "done"


def test_a_kiosk_that_is_revoked_is_refused_at_its_next_message_on_the_same_link(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(scene)
    scene.stage.start_terminal("kiosk")
    revoke(scene)
    assert scene.status()["link"]["connected"], "nothing has closed the link"
    card = scene.card()
    tap = scene.tap(scene.hand(card))
    assert (tap["outcome"], tap["code"]) == ("kiosk-revoked", "K413")
    assert card.kvns != AFTER
    scene.until(lambda: scene.status()["link"] == {"connected": False, "problem": "kiosk-revoked"}, "it says why")
    capsys.readouterr()
    assert kioskctl(["--socket", str(scene.stage.folder / "kiosk.sock"), "selftest", "--json"]) == 1
    tried = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert tried["tls"]["well"] is True
    assert tried["access server"]["well"] is False
    assert tried["access server"]["advice"] == outcome("kiosk-revoked").advice
    enrol(scene, "--replace")
    scene.stage.roles.stop("kiosk")
    scene.stage.start_terminal("kiosk")
    assert scene.tap(scene.hand(card))["outcome"] == "done"


def test_a_kiosk_that_is_revoked_while_a_card_is_in_work_finishes_the_card_and_is_not_heard(scene: Scene) -> None:
    enrol(scene)
    scene.stage.start_terminal("kiosk")
    card = scene.card()
    hand = scene.hand(card)
    hand.before_answer = when_the_card_gets(INS.PUT_KEY, lambda: revoke(scene))
    assert scene.tap(hand)["outcome"] == "ready-unconfirmed"
    assert card.kvns == AFTER and not scene.finished(card)
    enrol(scene, "--replace")
    scene.stage.roles.stop("kiosk")
    scene.stage.start_terminal("kiosk")
    scene.until_settled()
    assert scene.finished(card), "the report that waited is believed from a terminal that was let in again"
