"""The kiosk as it runs in the field: a process, a real pcscd, a real access server, and everything that goes wrong."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kioskd.demo.stage import SERVER_NAME, Stage
from kioskd.edges.certificates import Role, create_ca, issue_client, issue_server
from kioskd.gp.apdu import INS
from kioskd.kiosk.kioskctl import main as kioskctl
from kioskd.virtual.card import Tear, VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.vpcd import CardInReader
from tests.loopback import LONG_AGO, wakings

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.usefixtures("root_only")]

CARDS = 6
PATIENCE_S = 20.0


@dataclass(slots=True)
class Field:
    """An installation with issued cards and an armed replacement; its access server runs, its kiosk does not."""

    stage: Stage
    cards: list[VirtualCard]
    hands: list[CardInReader] = dataclasses.field(default_factory=list)

    def hand(self, card: VirtualCard | None = None) -> CardInReader:
        """A hand at the kiosk, by default with a card that is due."""
        self.hands.append(self.stage.holder(card or self.cards.pop(), "kiosk"))
        return self.hands[-1]

    def clear(self) -> None:
        """Takes every card out and ends the kiosk, however a test ended."""
        for hand in self.hands:
            hand.before_answer = None
            hand.pull()
        self.hands.clear()
        self.stage.roles.stop("kiosk")

    def tap(self, hand: CardInReader) -> str:
        """One tap's outcome."""
        outcome: str = self.stage.tap(hand, "kiosk")["outcome"]
        return outcome

    @property
    def told(self) -> dict[str, Any]:
        """The kiosk's status."""
        return self.stage.roles.status("kiosk") or {}

    def until(self, true: Callable[[], bool], otherwise: str) -> None:
        """Waits for it."""
        self.stage.roles.until(true, otherwise, PATIENCE_S)

    def interrupt(self, hand: CardInReader, ins: int, act: Callable[[], object]) -> None:
        """Inserts the card and does something when it has executed an instruction, before its answer leaves."""
        done: list[bool] = []

        def look(command: bytes) -> None:
            if command[1] == ins and not done:
                done.append(True)
                act()

        hand.before_answer = look
        hand.insert()
        self.until(lambda: bool(done), f"no {ins:02X} came")


@pytest.fixture(scope="module")
def house(root_only_module: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with Stage(tmp_path_factory.mktemp("s"), rsa_bits=2048) as stage:
        stage.make_keys()
        stage.start_access()
        cards = [stage.new_card(f"card{number}") for number in range(CARDS)]
        issue(stage, cards)
        stage.kms("generate")
        stage.release("replace", generation=2)
        yield Field(stage, cards)


@pytest.fixture(scope="module")
def root_only_module() -> None:
    """Namespaces need root."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")


@pytest.fixture
def field(house: Field) -> Iterator[Field]:
    """The house, left without a kiosk and without a card in a reader."""
    yield house
    house.clear()


@pytest.fixture
def kiosk(field: Field) -> Field:
    """The same with its kiosk running and linked."""
    field.stage.start_terminal("kiosk")
    return field


def issue(stage: Stage, cards: list[VirtualCard]) -> None:
    """Has the station issue these cards, and end by itself after the last."""
    config = f"{stage.folder}/station.yaml"
    command = [sys.executable, "-m", "kioskd", "station", "--config", config, "--count", str(len(cards))]
    process = subprocess.Popen(
        command,
        env={**os.environ, **stage.pcscd.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for number, card in enumerate(cards, 1):
            hand = stage.holder(card, "station")
            hand.insert()
            while f"card {number}:" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            hand.pull()
        said += process.communicate(timeout=20)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert len(re.findall(r"^card \d+: K104 issued in \d+ ms$", said, re.MULTILINE)) == len(cards)
    assert said.endswith(f"issued {len(cards)}, set aside 0\n")


def resident_mb(pid: int) -> float:
    """The memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def test_an_idle_kiosk_is_small_and_quiet(kiosk: Field, capsys: pytest.CaptureFixture[str]) -> None:
    pid = kiosk.stage.roles.pid("kiosk")
    time.sleep(1)
    before, began = wakings(pid), time.monotonic()
    time.sleep(5)
    a_second = (wakings(pid) - before) / (time.monotonic() - began)
    ready_ms, resident = kiosk.told["ready_ms"], resident_mb(pid)
    print(f"ready {ready_ms:.0f} ms, resident {resident:.1f} MB, {a_second:.2f} wake-ups a second")
    assert resident < 50
    assert a_second < 1


def test_the_technicians_command_shows_a_table_and_one_next_step(
    kiosk: Field, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = str(kiosk.stage.folder / "kiosk.sock")
    assert kioskctl(["--socket", socket, "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("kiosk kiosk, kioskd ") and lines[0].endswith(": ready for cards")
    assert lines[1] == "  link to the server   connected"
    assert lines[-1] == "Next: nothing; the terminal is ready for cards."
    assert kioskctl(["--socket", socket, "status", "--json"]) == 0
    assert '"pcscd": "up"' in capsys.readouterr().out
    assert (kiosk.stage.folder / "kiosk.sock").stat().st_mode & 0o777 == 0o666, "it tells each who may"


def test_without_a_kiosk_the_technicians_command_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kioskctl(["--socket", str(tmp_path / "none.sock"), "taps"]) == 4
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"{tmp_path}/none.sock: nobody answers")


def test_a_tap_is_two_round_trips_and_one_to_report(kiosk: Field) -> None:
    tap = kiosk.stage.tap(kiosk.hand(), "kiosk")
    assert tap["outcome"] == "done"
    whats = [moment["what"] for moment in tap["moments"]]
    assert whats.count("round trip") == 3
    assert whats[-1] == "round trip", "the last one is the report's"
    assert kiosk.told["pending_reports"] == 0


# --- cards that are not ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        (CardOptions(serial=b"\1\2\3\4"), "unknown-card"),
        (CardOptions(aid=bytes.fromhex("A0000000620001")), "not-globalplatform"),
    ],
)
def test_a_card_that_is_not_ours_is_turned_away_and_left_as_it_was(
    kiosk: Field, options: CardOptions, outcome: str
) -> None:
    card = VirtualCard(options=options)
    before = card.key_values()
    assert kiosk.tap(kiosk.hand(card)) == outcome
    assert card.key_values() == before


# --- the daemon of the readers ------------------------------------------------------------------------------------


def test_the_kiosk_outlives_the_daemon_of_the_readers(kiosk: Field) -> None:
    pid = kiosk.stage.roles.pid("kiosk")
    kiosk.stage.pcscd.kill()
    kiosk.until(lambda: kiosk.told["pcscd"] == "down", "nobody noticed")
    assert kiosk.told["readers"] == {}
    kiosk.stage.pcscd.start()
    kiosk.until(lambda: len(kiosk.told["readers"]) == 1, "it was not found again")
    assert kiosk.told["pcscd"] == "up"
    assert kiosk.tap(kiosk.hand(VirtualCard())) == "unknown-card"
    assert kiosk.stage.roles.pid("kiosk") == pid


# --- a card that is being changed ---------------------------------------------------------------------------------


def test_a_kiosk_that_is_told_to_stop_finishes_the_card(field: Field) -> None:
    field.stage.start_terminal("kiosk")
    hand = field.hand()
    process = field.stage.roles._processes["kiosk"]

    def stop() -> None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)

    field.interrupt(hand, INS.DELETE, stop)
    assert process.wait(PATIENCE_S) == 0
    hand.pull()
    field.stage.roles.stop("kiosk")
    last = field.stage.roles.log("kiosk").read_text().splitlines()
    assert last[-1].endswith(" ms") and ": done in " in last[-1]
    assert [line for line in last if line.startswith("screen: ")][-1] == "screen: Done. Take your card.  [K100]"
    field.stage.start_terminal("kiosk")
    assert field.tap(hand) == "already-done"


def test_a_kiosk_that_dies_in_the_midst_leaves_a_report_in_doubt_and_the_next_tap_finishes_the_card(
    field: Field,
) -> None:
    field.stage.start_terminal("kiosk")
    hand = field.hand()
    field.interrupt(hand, INS.PUT_KEY, lambda: field.stage.roles.kill("kiosk"))
    hand.pull()
    field.stage.start_terminal("kiosk")
    field.until(lambda: field.told["pending_reports"] == 0, "the report did not go up")
    assert field.tap(hand) == "done"
    assert field.tap(hand) == "already-done"


def test_a_card_that_is_pulled_in_the_midst_is_finished_at_its_next_tap(kiosk: Field) -> None:
    hand = kiosk.hand()
    hand.card.tear(Tear.AFTER, INS.DELETE)
    assert kiosk.tap(hand) == "card-pulled-in-doubt"
    assert kiosk.tap(hand) == "done"


# --- the link -----------------------------------------------------------------------------------------------------


@pytest.fixture
def unlinked(field: Field) -> Iterator[Callable[[], None]]:
    """Starts the kiosk without waiting for a link; afterwards the certificates are as before, and the server runs."""
    tls, kept = field.stage.folder / "tls", field.stage.folder / "tls.kept"
    shutil.copytree(tls, kept)
    config = str(field.stage.folder / "kiosk.yaml")
    yield lambda: field.stage.roles.start("kiosk", "kiosk", "--config", config)
    for role in ("kiosk", "access"):
        field.stage.roles.stop(role)
    shutil.copytree(kept, tls, dirs_exist_ok=True)
    shutil.rmtree(kept)
    field.stage.start_access()


def refused(field: Field, outcome: str) -> None:
    """A tap ends in that outcome, its card as it was; the status says the same."""
    card = VirtualCard()
    before = card.key_values()
    assert field.tap(field.hand(card)) == outcome
    assert card.key_values() == before
    assert field.told["link"] == {"connected": False, "problem": outcome}


def test_without_an_access_server_a_tap_says_so_and_the_kiosk_waits_for_it(
    field: Field, unlinked: Callable[[], None]
) -> None:
    field.stage.roles.stop("access")
    unlinked()
    refused(field, "server-down")
    field.stage.start_access()
    assert field.tap(field.hand(VirtualCard())) == "unknown-card", "a tap hurries the link"


def test_a_server_whose_certificate_has_expired_is_not_trusted(field: Field, unlinked: Callable[[], None]) -> None:
    field.stage.roles.stop("access")
    folder = field.stage.folder
    issue_server(folder / "ca", SERVER_NAME, (SERVER_NAME,), empty(folder / "tls", SERVER_NAME), 1, LONG_AGO)
    field.stage.start_access()
    unlinked()
    refused(field, "server-not-trusted")


def test_a_server_of_another_house_is_not_trusted(field: Field, unlinked: Callable[[], None], tmp_path: Path) -> None:
    field.stage.roles.stop("access")
    create_ca(tmp_path / "ca", "another-house")
    issue_server(tmp_path / "ca", SERVER_NAME, (SERVER_NAME,), empty(field.stage.folder / "tls", SERVER_NAME))
    field.stage.start_access()
    unlinked()
    refused(field, "server-not-trusted")


def test_a_kiosk_of_another_house_is_not_trusted(field: Field, unlinked: Callable[[], None], tmp_path: Path) -> None:
    create_ca(tmp_path / "ca", "another-house")
    issue_client(tmp_path / "ca", Role.KIOSK, "kiosk", empty(field.stage.folder / "tls", "kiosk"))
    unlinked()
    refused(field, "kiosk-not-trusted")


def test_a_kiosk_under_another_kiosks_certificate_is_not_trusted(field: Field, unlinked: Callable[[], None]) -> None:
    folder = field.stage.folder
    issue_client(folder / "ca", Role.KIOSK, "other", folder / "tls")
    for end in ("crt", "key"):
        (folder / "tls" / f"other.{end}").replace(folder / "tls" / f"kiosk.{end}")
    unlinked()
    refused(field, "kiosk-not-trusted")


def test_a_stations_certificate_may_not_replace(field: Field, unlinked: Callable[[], None]) -> None:
    folder = field.stage.folder
    issue_client(folder / "ca", Role.STATION, "kiosk", empty(folder / "tls", "kiosk"))
    unlinked()
    assert field.tap(field.hand(VirtualCard())) == "role-forbidden"


def empty(folder: Path, name: str) -> Path:
    """The folder, without a certificate of that name."""
    for end in ("crt", "key"):
        (folder / f"{name}.{end}").unlink()
    return folder


# --- the start ----------------------------------------------------------------------------------------------------


def test_a_journal_that_cannot_be_opened_is_one_sentence_and_may_pass(field: Field, tmp_path: Path) -> None:
    text = (field.stage.folder / "kiosk.yaml").read_text()
    (tmp_path / "folder").mkdir()
    config = tmp_path / "kiosk.yaml"
    config.write_text(text.replace(f"journal: {field.stage.folder}/kiosk.journal", f"journal: {tmp_path}/folder"))
    ended = subprocess.run(
        [sys.executable, "-m", "kioskd", "kiosk", "--config", str(config)],
        env={**os.environ, **field.stage.pcscd.environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 1, "not 2: the service manager tries again"
    assert ended.stderr == f"{tmp_path}/folder: unable to open database file\n"
