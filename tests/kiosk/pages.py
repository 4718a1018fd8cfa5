"""The manual pages in docs/man and the shells' completion in docs/completion: `python -m tests.kiosk.pages`.

Made from the command lines themselves, by `make docs`; a package takes the files as they are.
"""

import argparse
import os
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from kioskd.__main__ import ROLES
from kioskd.kiosk.kioskctl import build_parser
from kioskd.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
SHELLS = {"bash": "kioskctl", "zsh": "_kioskctl"}
"""The file that each shell looks for."""

SEE = {"kioskctl": "kioskd(8), journalctl(1), pcscd(8)", "kioskd": "kioskctl(1)"}


def roles_parser() -> argparse.ArgumentParser:
    """`kioskd ROLE`, for its page only: each role says more by --help."""
    parser = argparse.ArgumentParser("kioskd", description="Replaces the master key set of smart cards, role by role.")
    parser.add_argument("--version", action="store_true", help="its version")
    roles = parser.add_subparsers(metavar="ROLE", title="roles", description="kioskd ROLE --help says more.")
    for name, (_, words) in ROLES.items():
        roles.add_parser(name, help=words, description=words, add_help=False)
    return parser


def manual(parser: argparse.ArgumentParser, section: int, words: str) -> str:
    """A parser's manual page; the same on every day."""
    data = {
        "prog": parser.prog,
        "description": words,
        "long_description": parser.description,
        "manual_section": section,
        "manual_title": "kioskd",
        "project_name": "kioskd",
        "version": VERSION,
        "date": " ",
    }
    epilog, parser.epilog = parser.epilog, None
    page = Manpage(parser, data)
    if epilog:
        body = "\n".join(f".TP\n{code}\n{said}" for code, said in (line.split(None, 1) for line in exits(epilog)))
        page.add_section("EXIT STATUS", "<", body)
    page.add_section("SEE ALSO", "<", SEE[parser.prog])
    return f"{str(page).rstrip()}\n"


def exits(epilog: str) -> list[str]:
    """The lines of the exit codes."""
    return [line.strip() for line in epilog.splitlines()[1:]]


def pages() -> dict[str, str]:
    """Every generated file by its place in docs; as wide on every terminal."""
    os.environ["COLUMNS"] = "100"
    made = {
        "man/kioskctl.1": manual(build_parser(), 1, "asks the kiosk on this machine, and has it do things"),
        "man/kioskd.8": manual(roles_parser(), 8, "replaces the master key set of smart cards"),
    }
    for shell, name in SHELLS.items():
        made[f"completion/{shell}/{name}"] = shtab.complete(build_parser(), shell=shell)
    return made


def write() -> None:
    """Writes them."""
    for place, text in pages().items():
        file = ROOT / "docs" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
