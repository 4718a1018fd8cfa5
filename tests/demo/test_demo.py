"""The demo tells its story to the end, proves it on the card, and leaves nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.pcscd, pytest.mark.slow, pytest.mark.usefixtures("root_only")]


def demo(tmp_path: Path, *args: str, words: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kioskd", "demo", *args],
        input=words,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


def test_a_folder_whose_name_is_too_long_for_a_socket_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    told = demo(folder, "--vault", "software")
    assert (told.returncode, told.stdout) == (1, "")
    assert re.fullmatch(r"The demo failed: \S+ is longer than 107 bytes: take a folder .* TMPDIR\n", told.stderr)


def test_the_demo_ends_with_the_proof_and_goes_on_at_a_word(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("d")  # a short name: there is a socket below it
    told = demo(tmp_path, "--keep", words="tap\npull\ntap\ncard\nstatus\nnonsense\nquit\n")
    assert told.returncode == 0, told.stdout + told.stderr
    story, kept = told.stdout.split("Everything runs on.", 1)
    assert "PROVEN: the leaked key opens nothing, the new one opens, the KRK opens." in story
    assert re.search(r"old master set, generation 1\s+opens nothing", story)
    assert re.search(r"new master set, generation 2\s+opens slot 32\n", story)
    assert re.search(r"replacement set \(KRK\)\s+opens slot 3E\n", story)
    assert "2 round trips before the card is done, 1 to report" in story
    assert re.findall(r"K\d{3}", kept.split("kiosk kiosk,")[0]) == ["K102", "K201", "K100"]
    assert "[ 33 master ]" in kept
    assert "There is no word 'nonsense' here." in kept
    assert told.stderr == ""
    assert list(tmp_path.iterdir()) == []
