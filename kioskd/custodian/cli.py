"""`kioskd custodian`: a custodian's own key, what a request says, and the approval of exactly that."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kioskd.edges.personal_key import create_personal_key, open_personal_key
from kioskd.errors import BadConfiguration, KioskError, NotApproved
from kioskd.private_file import read_passphrase, write_private
from kioskd.rekey.ceremony import Approval, Request, approval_text
from kioskd.rekey.papers import read_paper, write_paper


def main(argv: list[str]) -> int:
    """Runs one command; 2 with one sentence for anything that cannot be done."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kioskd custodian", description="a custodian's key and approvals")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, words: str, run: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        return made

    new = command("new-key", "make your key", _new_key)
    show = command("show", "say what a request asks for", _show)
    approve = command("approve", "approve a request, after reading what it asks for", _approve)
    for one in (show, approve):
        one.add_argument("request", type=Path)
    for one in (new, approve):
        one.add_argument("--key", type=Path, required=True, metavar="FILE", help="your key: yours alone")
        one.add_argument("--passphrase-file", type=Path, required=True, metavar="FILE")
    new.add_argument("--public", type=Path, required=True, metavar="FILE", help="what others may know of it")
    approve.add_argument("--name", required=True, help="your name among the custodians")
    approve.add_argument("--out", type=Path, required=True, metavar="FILE", help="the approval")
    approve.add_argument("--yes", metavar="FINGERPRINT", help="the request's fingerprint, instead of being asked")
    return parser


def _new_key(args: argparse.Namespace) -> None:
    if args.public.exists():
        raise BadConfiguration(f"{args.public}: exists already")
    public = create_personal_key(args.key, read_passphrase(args.passphrase_file))
    args.public.write_bytes(public)
    print(f"Your key is in {args.key}: keep it, and the passphrase, where only you can read them.")
    print(f"Next: give {args.public} to whoever sets up the key management server.")


def _show(args: argparse.Namespace) -> None:
    _tell(_request(args.request))


def _approve(args: argparse.Namespace) -> None:
    asked = _request(args.request)
    if args.out.exists():
        raise BadConfiguration(f"{args.out}: exists already")
    _tell(asked)
    said = args.yes if args.yes is not None else _typed()
    if said.replace(" ", "").upper() != asked.digest.hex().upper():
        raise NotApproved("that is not the fingerprint of this request; nothing was approved")
    sign = open_personal_key(args.key, read_passphrase(args.passphrase_file))
    approval = Approval(asked.digest, args.name, sign(approval_text(asked, args.name)))
    write_private(args.out, write_paper(approval), new=True)
    print(f"Approved as {args.name}. Next: give {args.out} to the operator of the key management server.")


def _typed() -> str:
    """What the custodian types; nothing at the end of input or at Ctrl-C."""
    try:
        return input("Type the request's fingerprint to approve: ")
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


def _request(path: Path) -> Request:
    try:
        return read_paper(Request, path.read_bytes(), str(path))
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be read: {wrong.strerror}") from wrong


def _tell(asked: Request) -> None:
    print(f"This request asks for one thing:\n\n  {asked.words}\n\nFingerprint  {asked.fingerprint}")
