"""`kioskctl` as a technician meets it: a real kiosk process with a real pcscd, and one that does not run."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kioskd.demo.stage import Stage
from kioskd.kiosk.asking import Exit
from kioskd.kiosk.kioskctl import main as kioskctl
from kioskd.outcomes import outcome
from kioskd.virtual.card import VirtualCard

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.usefixtures("root_only")]

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


@dataclass(slots=True)
class Place:
    """A kiosk's folder: certificates, a configuration, a pcscd; no access server answers at its address."""

    stage: Stage

    def start(self, config: str = "kiosk.yaml") -> None:
        """Starts the kiosk."""
        self.stage.roles.start("kiosk", "kiosk", "--config", str(self.stage.folder / config))

    def ctl(self, *words: str, config: Path | None = None) -> Said:
        """`kioskctl WORDS`."""
        folder = self.stage.folder
        where = ("--socket", str(folder / "kiosk.sock"), "--config", str(config or folder / "kiosk.yaml"))
        done = subprocess.run(
            [sys.executable, "-m", "kioskd.kiosk.kioskctl", *where, *words],
            env={**os.environ, **self.stage.pcscd.environment, "TZ": "UTC"},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def until(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Waits for a status."""
        roles = self.stage.roles
        roles.until(lambda: true(roles.status("kiosk") or {}), "the status never said so", PATIENCE_S)

    def tap(self) -> None:
        """One card in and out, which nobody serves."""
        before = len((self.stage.roles.status("kiosk") or {})["taps"])
        hand = self.stage.holder(VirtualCard(), "kiosk")
        hand.insert()
        self.until(lambda told: len(told["taps"]) > before)
        hand.pull()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The folder, its kiosk not started."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with Stage(tmp_path_factory.mktemp("c") / "s") as stage:
        yield Place(stage)


@pytest.fixture
def kiosk(place: Place) -> Iterator[Place]:
    """Its kiosk runs and has found its reader."""
    place.start()
    place.until(lambda told: len(told["readers"]) == 1)
    yield place
    place.stage.roles.stop("kiosk")


@pytest.fixture
def dead(place: Place) -> Place:
    """Its kiosk has run once, and was killed."""
    place.start()
    place.stage.roles.kill("kiosk")
    return place


def test_without_a_network_the_status_says_so_and_what_to_do(kiosk: Place) -> None:
    kiosk.tap()
    said = kiosk.ctl("status")
    assert said.code == Exit.NOT_WELL, said.err
    assert said.out.splitlines()[0].endswith(": no link to the access server")
    assert "  link to the server   The access server does not answer.\n" in said.out
    assert "K400  server-down" in said.out
    assert said.out.splitlines()[-1].startswith("Next: Check the network")


def test_the_commands_that_look(kiosk: Place) -> None:
    kiosk.tap()
    taps = kiosk.ctl("taps", "--json").told["taps"]
    assert kiosk.ctl("taps").out.count("K400") == len(taps) == 1
    assert kiosk.ctl("cases").out == "  none: the access server has every report.\n"
    (reader,) = kiosk.ctl("readers", "--json").told["readers"]
    assert f"  {reader} " in kiosk.ctl("readers").out
    story = kiosk.ctl("case", taps[0]["tap"])
    assert story.code in (Exit.WELL, Exit.WRONG)  # a card is known once it was read, which takes a link
    unknown = kiosk.ctl("case", "00000000")
    assert (unknown.code, unknown.out) == (Exit.WRONG, "")
    assert unknown.err.count("\n") == 1 and unknown.err.startswith("No card here ")


def test_a_configuration_that_is_named_says_where_the_socket_is(
    kiosk: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kioskctl(["--config", str(kiosk.stage.folder / "kiosk.yaml"), "readers"]) == Exit.WELL
    assert kioskctl(["readers", "--config", str(kiosk.stage.folder / "kiosk.yaml")]) == Exit.WELL
    assert "Virtual PCD" in capsys.readouterr().out
    assert kioskctl(["--config", "/nowhere.yaml", "readers"]) == Exit.WRONG
    assert capsys.readouterr().err == "/nowhere.yaml: cannot be read: No such file or directory\n"


def test_a_retry_says_whether_the_link_came_and_what_to_do_if_not(kiosk: Place) -> None:
    said, why = kiosk.ctl("retry"), outcome("server-down")
    assert said.code == Exit.NOT_WELL
    assert said.out == f"no link after 5 s: {why.technician} {why.advice}\n"
    assert kiosk.ctl("retry", "--json").told["link"] == {"connected": False, "problem": "server-down"}


def test_a_drained_kiosk_says_so_until_it_is_undrained(kiosk: Place) -> None:
    assert kiosk.ctl("drain").out.startswith("drained: no card is under way")
    assert "drained: takes no card" in kiosk.ctl("status").out
    assert kiosk.ctl("undrain").out == "undrained\n"
    assert kiosk.ctl("status", "--json").told["state"] == "no-link"


def test_a_reader_is_closed_and_opened_by_a_part_of_its_name(kiosk: Place) -> None:
    (name,) = kiosk.ctl("readers", "--json").told["readers"]
    assert kiosk.ctl("readers", "close", name[:6]).out == f"reader closed: {name}\n"
    assert kiosk.ctl("readers").out.endswith(" closed\n")
    wrong = kiosk.ctl("readers", "open", "Toaster")
    assert (wrong.code, wrong.err) == (Exit.WRONG, f"readers: none of that name; there is {name}\n")
    nameless = kiosk.ctl("readers", "open")
    assert (nameless.code, nameless.err.count("\n")) == (
        Exit.WRONG,
        1,
    ) and "NAME of the reader is missing" in nameless.err
    assert kiosk.ctl("readers", "open", name[:6]).out == f"reader opened: {name}\n"


def test_the_self_test_finds_the_fault_and_gives_advice(kiosk: Place) -> None:
    said = kiosk.ctl("selftest")
    assert said.code == Exit.NOT_WELL
    marks = {
        line[2:17].strip(): line[17:21]
        for line in said.out.splitlines()
        if line[17:21] in ("pass", "FAIL", "look", "skip")
    }
    assert {
        name: marks[name] for name in ("disk", "pcscd", "reader", "certificate", "network", "tls", "access server")
    } == {
        "disk": "pass",
        "pcscd": "pass",
        "reader": "pass",
        "certificate": "pass",
        "network": "FAIL",
        "tls": "skip",
        "access server": "skip",
    }
    assert said.out.splitlines()[-1].startswith("Next: Check the network")


def test_the_support_bundle_is_private_and_holds_what_its_manifest_says(kiosk: Place, tmp_path: Path) -> None:
    kiosk.tap()
    out = tmp_path / "bundle.tar.gz"
    said = kiosk.ctl("support-bundle", "--out", str(out))
    assert said.code == Exit.WELL, said.err
    assert out.stat().st_mode & 0o777 == 0o600
    files = unpacked(out)
    assert json.loads(files["status.json"])["name"] == "kiosk"
    again = kiosk.ctl("support-bundle", "--out", str(out))
    assert again.code == Exit.WRONG and again.err.count("\n") == 1, "nothing is overwritten"


def test_a_program_hears_of_a_tap_by_watch(kiosk: Place) -> None:
    folder = kiosk.stage.folder
    command = [sys.executable, "-m", "kioskd.kiosk.kioskctl", "--socket", str(folder / "kiosk.sock"), "watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            kinds = [json.loads(process.stdout.readline())["kind"]]
            assert kinds == ["listening"]
            kiosk.tap()
            while kinds[-1] != "tap-ended":
                kinds.append(json.loads(process.stdout.readline())["kind"])
        finally:
            process.kill()
    assert "tap-began" in kinds and "reader" in kinds


def test_a_watch_without_a_screen_is_one_sentence(kiosk: Place) -> None:
    said = kiosk.ctl("watch")
    assert (said.code, said.out) == (Exit.WRONG, "")
    assert said.err == "watch needs a screen; elsewhere use --json, or kioskctl status\n"


def test_a_kiosk_without_its_reader_says_which_ones_there_are(place: Place) -> None:
    text = (place.stage.folder / "kiosk.yaml").read_text()
    (place.stage.folder / "other.yaml").write_text(text.replace(place.stage.pcscd.slots[0].name, "Toaster"))
    place.start("other.yaml")
    try:
        status = place.ctl("status")
        assert status.code == Exit.NOT_WELL
        assert "  readers              none\n" in status.out
        assert status.out.endswith("Next: Connect the reader.\n")
        test = place.ctl("selftest", "--json").told
        reader = next(one for one in test["checks"] if one["name"] == "reader")
        assert reader["well"] is False and place.stage.pcscd.slots[0].name in reader["found"]
        assert place.ctl("readers").code == Exit.NOT_WELL
    finally:
        place.stage.roles.stop("kiosk")


# --- where it does not run ------------------------------------------------------------------------------------------


def test_of_a_dead_kiosk_the_status_tells_what_its_files_tell(dead: Place) -> None:
    journal = dead.stage.folder / "kiosk.journal"
    before = journal.read_bytes()
    said = dead.ctl("status")
    assert (said.code, said.err) == (Exit.NOT_RUNNING, "")
    assert said.out.startswith("kiosk does not run, or does not answer.\n")
    assert f"  status socket        {dead.stage.folder}/kiosk.sock: nobody answers" in said.out
    assert "  journal              0 reports of 0 cards waiting, " in said.out
    assert "  certificate          until 20" in said.out
    assert "systemctl start kioskd-kiosk" in said.out.splitlines()[-1]
    assert journal.read_bytes() == before, "the journal is the daemon's alone"
    told = dead.ctl("status", "--json").told
    assert (told["running"], told["journal"]["pending_reports"]) == (False, 0)


def test_of_a_dead_kiosk_whose_configuration_is_not_there_the_status_says_so(dead: Place, tmp_path: Path) -> None:
    said = dead.ctl("status", config=tmp_path / "none.yaml")
    assert said.code == Exit.NOT_RUNNING
    assert f"{tmp_path}/none.yaml: cannot be read: No such file or directory" in said.out
    assert "Next: correct the configuration" in said.out


def test_of_a_dead_kiosk_the_self_test_runs_by_itself(dead: Place) -> None:
    said = dead.ctl("selftest", "--json")
    assert said.code == Exit.NOT_WELL
    checks = {one["name"]: one["well"] for one in said.told["checks"]}
    assert (said.told["running"], checks["pcscd"], checks["reader"], checks["network"]) == (False, True, True, False)
    assert dead.ctl("selftest").out.startswith("The terminal does not run; this is tried without it.\n")


def test_of_a_dead_kiosk_a_support_bundle_is_made_without_a_status(dead: Place, tmp_path: Path) -> None:
    out = tmp_path / "bundle.tar.gz"
    said = dead.ctl("support-bundle", "--out", str(out))
    assert said.code == Exit.NOT_RUNNING
    assert said.out.endswith("The terminal does not run: its status is not in it.\n")
    assert unpacked(out).keys() == {"config.json", "selftest.json", "versions.json"}


@pytest.mark.parametrize("words", [("taps",), ("cases",), ("case", "1"), ("readers",), ("drain",), ("watch", "--json")])
def test_of_a_dead_kiosk_every_other_command_is_one_sentence(dead: Place, words: tuple[str, ...]) -> None:
    said = dead.ctl(*words)
    assert (said.code, said.out) == (Exit.NOT_RUNNING, "")
    assert (
        said.err
        == f"{dead.stage.folder}/kiosk.sock: nobody answers; is the service running, and may you open its socket?\n"
    )


def unpacked(bundle: Path) -> dict[str, bytes]:
    """A bundle's files, each as its manifest says."""
    with tarfile.open(fileobj=io.BytesIO(bundle.read_bytes())) as tar:
        files = {Path(name).name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    manifest = json.loads(files.pop("manifest.json"))
    assert {one["name"]: one["sha256"] for one in manifest["files"]} == {
        name: sha256(body).hexdigest() for name, body in files.items()
    }
    return files
