"""`kioskd custodian`: a custodian's own key, what a request says, and the approval of exactly that."""

import argparse
from pathlib import Path

from kioskd.command_line import add_command, run_command
from kioskd.edges.personal_key import create_personal_key, open_personal_key
from kioskd.errors import NotApproved
from kioskd.private_file import read_passphrase
from kioskd.public_file import check_free, read_public, write_public
from kioskd.rekey.ceremony import Approval, Request, approval_text
from kioskd.rekey.papers import read_paper, write_paper


def main(argv: list[str]) -> int:
    """Runs one command; 2 with one sentence for anything that cannot be done."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kioskd custodian", description="a custodian's key and approvals")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = add_command(commands, "new-key", "make your key", _new_key)
    show = add_command(commands, "show", "say what a request asks for", _show)
    approve = add_command(commands, "approve", "approve a request, after reading what it asks for", _approve)
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
    check_free(args.public)
    public = create_personal_key(args.key, read_passphrase(args.passphrase_file))
    write_public(args.public, public)
    print(f"Your key is in {args.key}: keep it, and the passphrase, where only you can read them.")
    print(f"Next: give {args.public} to whoever sets up the key management server.")


def _show(args: argparse.Namespace) -> None:
    _tell(_request(args.request))


def _approve(args: argparse.Namespace) -> None:
    asked = _request(args.request)
    check_free(args.out)
    _tell(asked)
    said = args.yes if args.yes is not None else _typed()
    if said.replace(" ", "").upper() != asked.digest.hex().upper():
        raise NotApproved("that is not the fingerprint of this request; nothing was approved")
    sign = open_personal_key(args.key, read_passphrase(args.passphrase_file))
    approval = Approval(asked.digest, args.name, sign(approval_text(asked, args.name)))
    write_public(args.out, write_paper(approval))
    print(f"Approved as {args.name}. Next: give {args.out} to the operator of the key management server.")


def _typed() -> str:
    """What the custodian types; nothing at the end of input or at Ctrl-C."""
    try:
        return input("Type the request's fingerprint to approve: ")
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


def _request(path: Path) -> Request:
    return read_paper(Request, read_public(path), str(path))


def _tell(asked: Request) -> None:
    print(f"This request asks for one thing:\n\n  {asked.words}\n\nFingerprint  {asked.fingerprint}")
