"""The manual pages and the shells' completion are those of the command lines."""

import shutil
import subprocess

import pytest

from kioskd.__main__ import ROLES
from kioskd.kiosk.asking import Exit
from kioskd.kiosk.kioskctl import build_parser, main
from tests.kiosk.pages import ROOT, SHELLS, pages

COMMANDS = {
    *("status", "watch", "taps", "cases", "case", "readers", "selftest", "drain", "undrain", "retry"),
    *("support-bundle", "enrol"),
}


@pytest.mark.parametrize("place", list(pages()))
def test_what_is_in_the_docs_was_made_from_the_command_line(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert (ROOT / "docs" / place).read_text(encoding="utf-8").split() == pages()[place].split(), "say `make docs`"


def test_the_manual_page_has_every_command_and_every_exit_code() -> None:
    page = (ROOT / "docs" / "man" / "kioskctl.1").read_text(encoding="utf-8").replace("\\-", "-")
    for command in COMMANDS:
        assert f"'kioskctl {command}'" in page
    for code in Exit:
        assert f".TP\n{code.value}\n" in page
    roles = (ROOT / "docs" / "man" / "kioskd.8").read_text(encoding="utf-8")
    assert all(f"'kioskd {role}'" in roles for role in ROLES)


@pytest.mark.skipif(shutil.which("man") is None, reason="no man on this machine")
@pytest.mark.parametrize("name", ["kioskctl.1", "kioskd.8"])
def test_man_shows_the_page_without_a_warning(name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(ROOT / "docs" / "man" / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "DESCRIPTION" in done.stdout


def test_bash_completes_the_commands() -> None:
    script = ROOT / "docs" / "completion" / "bash" / SHELLS["bash"]
    words = "COMP_WORDS=(kioskctl s); COMP_CWORD=1; _shtab_kioskctl; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f". {script}; {words}"], capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == {"status", "selftest", "support-bundle"}, done.stderr


@pytest.mark.parametrize("words", [(), *((command,) for command in sorted(COMMANDS))])
def test_every_help_tells_the_exit_codes(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert "exit codes:\n  0  done, and all is well\n" in said
    assert not words or "--json" in said


@pytest.mark.parametrize("argv", [[], ["dance"], ["status", "--colour"], ["case"], ["readers", "paint"]])
def test_a_command_that_makes_no_sense_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == Exit.WRONG
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err


def test_the_commands_are_these() -> None:
    (commands,) = [action for action in build_parser()._actions if action.choices]
    assert set(commands.choices or ()) == COMMANDS
