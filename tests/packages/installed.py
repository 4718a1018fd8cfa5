"""A kiosk and an access server that were installed from their packages, each in a container of its own."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kioskd.demo.stage import SERVER_NAME, Stage
from kioskd.virtual.card import VirtualCard
from tests.packages.container import Cable, Container, Hand, run, until
from tests.path.scene import AFTER, BEFORE, issue

SERVER, KIOSK = "10.99.0.1", "10.99.0.2"
UNIT = "kioskd-kiosk.service"
NAME = "kiosk-17"
SLOW = "pace: {write_ms: 5000}\n"
"""A card that takes its time over each command that changes it: there is a middle to do something in."""


@dataclass(slots=True)
class House:
    """The installation, and cards that nobody has tapped yet."""

    kiosk: Container
    access: Container
    cards: Path
    issued: list[str] = field(default_factory=list)

    def hand(self, *, slow: bool = False) -> Hand:
        """A hand with a card that was issued and has the old master set."""
        name = self.issued.pop()
        assert self._card(name).kvns == BEFORE
        return Hand(self.kiosk, f"/cards/{name}.json", "/cards/slow.yaml" if slow else "")

    def card(self, hand: Hand) -> VirtualCard:
        """What a hand's card remembers now."""
        return self._card(Path(hand.state).stem)

    def status(self) -> dict[str, Any] | None:
        """What `kioskctl` says in the kiosk; None while nobody answers."""
        if not self.kiosk.succeeds("kioskctl", "status", "--json"):
            return None
        told: dict[str, Any] = json.loads(self.kiosk.run("kioskctl", "status", "--json"))
        return told

    def ready(self) -> None:
        """Waits until the kiosk can take a card."""
        self.until(lambda told: bool(told["link"]["connected"] and told["readers"]), "the kiosk is not ready")

    def insert_half_way(self, hand: Hand) -> None:
        """Puts a slow card in; returns when its old master set is gone and the new one has not come."""
        hand.insert()
        until(lambda: self.card(hand).kvns != BEFORE, lambda: f"the card is not touched\n{self.log()}")
        assert not self.finished(hand)

    def main_process(self) -> int:
        """The daemon, by its number in the container; 0 if there is none."""
        return int(self.kiosk.run("systemctl", "show", "--property=MainPID", "--value", UNIT))

    def until_tapped(self, outcome: str) -> None:
        """Waits until the newest tap has ended so."""
        self.until(lambda told: bool(told["taps"]) and told["taps"][-1]["outcome"] == outcome, f"no tap ends {outcome}")

    def until(self, true: Callable[[dict[str, Any]], bool], otherwise: str) -> None:
        """Waits for something in the kiosk's status."""

        def look() -> bool:
            told = self.status()
            return told is not None and true(told)

        until(look, lambda: f"{otherwise}\n{self.log()}")

    def finished(self, hand: Hand) -> bool:
        """Whether the card has the new master set."""
        return self.card(hand).kvns == AFTER

    def log(self) -> str:
        """The end of the kiosk's journal."""
        return self.kiosk.run("journalctl", "--no-pager", "-n", "40", "-u", UNIT, "-u", "pcscd")

    def _card(self, name: str) -> VirtualCard:
        return VirtualCard(self.cards / f"{name}.json")


def bring_up(container: Container, root: Path, packages: list[Path]) -> None:
    """A machine with the packages installed; without a network: what they need is in the root, or this fails."""
    container.root.mkdir()
    run("tar", "-C", str(container.root), "-xf", str(root))
    for package in packages:
        shutil.copy(package, container.root / "srv")
    container.boot()
    container.run("sh", "-c", "dpkg --install /srv/*.deb")


def keep(folder: Path, name: str, source: Path, mode: int = 0o600) -> None:
    """A file at a machine's usual place."""
    target = folder / "etc" / "kioskd" / name
    shutil.copyfile(source, target)
    target.chmod(mode)


def change(file: Path, *changes: tuple[str, str]) -> None:
    """Changes a configuration that came with a package."""
    text = file.read_text()
    for before, after in changes:
        assert before in text, f"{file}: {before}"
        text = text.replace(before, after, 1)
    file.write_text(text)


def enrol_kiosk(kiosk: Container, access: Container) -> str:
    """What operator and technician do: a one-time code at the server, typed at the kiosk; what the kiosk said."""
    change(
        kiosk.root / "etc" / "kioskd" / "kiosk.yaml",
        ("host: access.example", f"host: {SERVER}"),
        ("# name: access.example", f"name: {SERVER_NAME}"),
    )
    credentials = "CREDENTIALS_DIRECTORY=/run/credentials/kioskd-access.service"
    as_server = ("runuser", "-u", "_kioskd-access", "--", "env", credentials)
    said = access.run(*as_server, "kioskd", "access", "enrolment", "add", NAME, "--config", "/etc/kioskd/access.yaml")
    code, command = re.findall(r"^    (\S.*)$", said, re.MULTILINE)[:2]
    file = kiosk.root / "root" / "code"
    file.write_text(f"{code}\n")
    file.chmod(0o600)
    told = kiosk.run(*command.split(), "--code-file", "/root/code")
    file.unlink()
    return told


def configure_access(root: Path, stage: Stage) -> None:
    """The access server's keys, vault and store at the places of its configuration."""
    keep(root, "ca.crt", stage.folder / "ca" / "ca.crt", 0o644)
    keep(root, "access.crt", stage.folder / "tls" / f"{SERVER_NAME}.crt", 0o644)
    keep(root, "access.key", stage.folder / "tls" / f"{SERVER_NAME}.key")
    keep(root, "access.secret", stage.folder / "access.pass")
    keep(root, "kms.pem", stage.folder / "kms.pem", 0o644)
    keep(root, "ca.key", stage.folder / "ca" / "ca.key")
    change(
        root / "etc" / "kioskd" / "access.yaml",
        ("# enrolment:", "enrolment:"),
        ("#   port: 8445", "  port: 8445"),
        ("#   ca: /etc/kioskd/ca.crt", "  ca: /etc/kioskd/ca.crt"),
        ("#   ca_key: credential:ca.key", "  ca_key: credential:ca.key"),
        ('#   url: ""', f"  url: https://{SERVER}:8445"),
    )
    state = root / "var" / "lib" / "kioskd-access"
    state.mkdir(mode=0o700, exist_ok=True)
    for name in ("access.vault", "access.db"):
        shutil.copy(stage.folder / name, state)


def start_access(container: Container) -> None:
    """Starts the access server; its vault and store belong to its user, as if it had made them."""
    container.run("chown", "-R", "_kioskd-access:_kioskd-access", "/var/lib/kioskd-access")
    container.run("systemctl", "start", "kioskd-access.service")


def prepare(stage: Stage, cards: int) -> list[str]:
    """Keys, certificates, cards in the hands of people, and a campaign that is armed."""
    stage.make_keys()
    names = [f"card-{number}" for number, _ in enumerate(issue(stage, cards))]
    stage.kms("generate")
    stage.release("replace", generation=2)
    return names


@contextmanager
def open_house(folder: Path, made: dict[str, Path], root: Path, cards: int) -> Iterator[House]:
    """Both machines running, the kiosk ready for cards."""
    with Stage(folder / "s", rsa_bits=2048) as stage:
        names = prepare(stage, cards)
    shelf = folder / "cards"
    shelf.mkdir()
    for name in names:
        shutil.move(stage.folder / f"{name}.json", shelf)
    (shelf / "slow.yaml").write_text(SLOW)
    with Cable(SERVER, KIOSK) as cable:
        access = Container("access", folder / "access", cable.network(0))
        kiosk = Container("kiosk", folder / "kiosk", cable.network(1), {shelf: "/cards"})
        house = House(kiosk, access, shelf, names)
        try:
            with ThreadPoolExecutor() as both:
                for done in (
                    both.submit(bring_up, access, root, [made["kioskd"], made["kioskd-server"]]),
                    both.submit(bring_up, kiosk, root, list(made.values())),
                ):
                    done.result()
            configure_access(access.root, stage)
            start_access(access)
            enrol_kiosk(kiosk, access)
            kiosk.run("systemctl", "start", UNIT)
            house.ready()
            yield house
        finally:
            kiosk.halt()
            access.halt()
