"""`kioskd custodian`: a custodian's own key, what a request says, and the approval of exactly that."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path

from kioskd.command_line import (
    add_command,
    add_server_arguments,
    add_token_arguments,
    run_command,
    token_or_file,
    typed,
)
from kioskd.edges.https import server_of
from kioskd.edges.personal_key import create_personal_key, open_personal_key
from kioskd.errors import BadConfiguration, NotApproved
from kioskd.private_file import read_passphrase
from kioskd.public_file import check_free, read_public, write_public
from kioskd.rekey.ceremony import Approval, Request, approval_text
from kioskd.rekey.kms_wire import APPROVALS, REQUESTS, Listed
from kioskd.rekey.papers import read_paper, write_paper
from kioskd.shape import from_plain, to_plain


def main(argv: list[str]) -> int:
    """Runs one command; 2 with one sentence for anything that cannot be done."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kioskd custodian", description="a custodian's key and approvals")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = add_command(commands, "new-key", "make your key", _new_key)
    show = add_command(commands, "show", "say what a request asks for", _show)
    approve = add_command(commands, "approve", "approve a request, after reading what it asks for", _approve)
    todo = add_command(commands, "requests", "what waits for approval at a key management server", _requests)
    for one in (show, approve):
        one.add_argument("request", help="the request's file; with --at, the beginning of its fingerprint")
    for one in (show, approve, todo):
        add_server_arguments(one, "ask the key management server that runs there, instead of files")
    for one in (new, approve):
        one.add_argument("--key", type=Path, metavar="FILE", help="your key: yours alone")
        one.add_argument("--passphrase-file", type=Path, metavar="FILE")
        add_token_arguments(one, "instead of --key: your own PKCS#11 token")
    new.add_argument("--public", type=Path, required=True, metavar="FILE", help="what others may know of it")
    approve.add_argument("--name", required=True, help="your name among the custodians")
    approve.add_argument("--out", type=Path, metavar="FILE", help="the approval; with --at it is sent instead")
    approve.add_argument("--yes", metavar="FINGERPRINT", help="the request's fingerprint, instead of being asked")
    return parser


def _new_key(args: argparse.Namespace) -> None:
    check_free(args.public)
    if token_or_file(args, "key"):
        from kioskd.edges.pkcs11 import personal_token

        pin = read_passphrase(args.pin_file)
        public = personal_token.create_personal_key(args.module, args.token, pin, args.configuration)
        print(f"Your key is in the token {args.token}, which does not give it away: keep it, and its PIN.")
    else:
        public = create_personal_key(args.key, read_passphrase(args.passphrase_file))
        print(f"Your key is in {args.key}: keep it, and the passphrase, where only you can read them.")
    write_public(args.public, public)
    print(f"Next: give {args.public} to whoever sets up the key management server.")


def _show(args: argparse.Namespace) -> None:
    _tell(_request(args))


def _requests(args: argparse.Namespace) -> None:
    if args.at is None:
        raise BadConfiguration("--at: is missing: where the key management server is")
    waiting = [one for one in _listed(args) if not one.done]
    for one in waiting:
        print(f"{one.request.fingerprint[:9]}  {one.words}: {one.request.words}")
    print("Next: `kioskd custodian approve FINGERPRINT --at ...`." if waiting else "Nothing waits for approval.")


def _approve(args: argparse.Namespace) -> None:
    if (args.at is None) == (args.out is None):
        raise BadConfiguration("approve: needs either --out, the file of the approval, or --at, where it is sent")
    asked = _request(args)
    if args.out is not None:
        check_free(args.out)
    _tell(asked)
    said = args.yes if args.yes is not None else typed("Type the request's fingerprint to approve: ")
    if said.replace(" ", "").upper() != asked.digest.hex().upper():
        raise NotApproved("that is not the fingerprint of this request; nothing was approved")
    sign = _signer(args)
    approval = Approval(asked.digest, args.name, sign(approval_text(asked, args.name)))
    if args.out is None:
        listed = from_plain(Listed, asyncio.run(server_of(args).ask("POST", APPROVALS, to_plain(approval))))
        print(f"Approved as {args.name}; {listed.words}.")
        return
    write_public(args.out, write_paper(approval))
    print(f"Approved as {args.name}. Next: give {args.out} to the operator of the key management server.")


def _signer(args: argparse.Namespace) -> Callable[[bytes], bytes]:
    """What signs with the custodian's key, wherever that is."""
    if not token_or_file(args, "key"):
        return open_personal_key(args.key, read_passphrase(args.passphrase_file))
    from kioskd.edges.pkcs11 import personal_token

    return personal_token.open_personal_key(args.module, args.token, read_passphrase(args.pin_file), args.configuration)


def _request(args: argparse.Namespace) -> Request:
    if args.at is None:
        return read_paper(Request, read_public(Path(args.request)), args.request)
    wanted = args.request.replace(" ", "").upper()
    found = [one.request for one in _listed(args) if wanted and one.request.digest.hex().upper().startswith(wanted)]
    if len(found) != 1:
        raise NotApproved(f"{args.request}: {'no request' if not found else 'more than one'} of this fingerprint")
    return found[0]


def _listed(args: argparse.Namespace) -> tuple[Listed, ...]:
    return tuple(from_plain(Listed, one) for one in asyncio.run(server_of(args).ask("GET", REQUESTS)))


def _tell(asked: Request) -> None:
    print(f"This request asks for one thing:\n\n  {asked.words}\n\nFingerprint  {asked.fingerprint}")
