"""The options of `kioskctl enrol`, apart from its work: no other command loads the libraries that enrolling needs."""

import argparse
from pathlib import Path
from typing import Any

from kioskd.command_line import add_command
from kioskd.rekey.enrolment import ROLES


def add_commands(commands: Any) -> None:
    """Adds `enrol` to `kioskctl`."""
    enrol = add_command(commands, "enrol", "gets this terminal its certificate", _enrol)
    enrol.add_argument("url", nargs="?", metavar="URL", help="what `kioskd access enrolment add` shows")
    enrol.add_argument("--role", choices=ROLES, default=ROLES[0], help="what it asks for; the code decides")
    enrol.add_argument("--fingerprint", metavar="HEX", help="the server's, where nobody is there to compare it")
    enrol.add_argument("--code-file", type=Path, metavar="FILE", help="a private file with the code, not the keyboard")
    enrol.add_argument("--proxy", default="", metavar="URL", help="an HTTP proxy on the way to the server")
    enrol.add_argument("--csr-out", type=Path, metavar="FILE", help="write a signing request for your own authority")
    enrol.add_argument("--install", type=Path, metavar="CERT", help="put in the certificate that came back")
    enrol.add_argument("--ca", type=Path, metavar="PEM", help="with --install: the authorities to trust")
    enrol.add_argument("--seal", action="store_true", help="with URL: keep it as a credential sealed to the TPM")
    enrol.add_argument("--replace", action="store_true", help="in place of an identity that is there")


def _enrol(args: argparse.Namespace) -> int:
    from kioskd.kiosk.enrol_cli import run

    return run(args)
