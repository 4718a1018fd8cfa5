"""`kioskd audit verify`: whether a transcript is whole, signed, and shows a quorum for every act. Offline."""

import argparse
import time
from pathlib import Path

from kioskd.command_line import add_command, run_command
from kioskd.errors import BadConfiguration, KioskError
from kioskd.public_file import read_public
from kioskd.rekey.bundle_check import ed25519_raw, ed25519_verifies
from kioskd.rekey.transcript import Transcript, read_transcript


def main(argv: list[str]) -> int:
    """0 for a good transcript, 2 with one sentence for any other."""
    parser = argparse.ArgumentParser("kioskd audit", description="checks the transcript of the ceremonies, offline")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = add_command(commands, "verify", "check every line, signature and quorum", _verify)
    verify.add_argument("transcript", type=Path)
    verify.add_argument("--kms-key", type=Path, required=True, metavar="PEM", help="the key management server's key")
    verify.add_argument("--head", metavar="HEX", help="the digest of the newest entry, as somebody wrote it down")
    return run_command(parser, argv)


def _verify(args: argparse.Namespace) -> None:
    lines, key = read_public(args.transcript).splitlines(keepends=True), ed25519_raw(read_public(args.kms_key))
    try:
        found = read_transcript(lines, key, ed25519_verifies)
    except KioskError as wrong:
        raise BadConfiguration(f"{args.transcript}: {wrong}") from wrong
    if args.head is not None and args.head.lower() not in {one.hex() for one in found.digests}:
        raise BadConfiguration(f"{args.transcript}: has no entry {args.head[:16]}...: lines are missing at its end")
    _tell(found)


def _tell(found: Transcript) -> None:
    state = found.ceremony
    print(f"{found.number} entries, each signed and in its place. Newest: {found.head.hex()}")
    for digest, asked in state.requests.items():
        names = ", ".join(state.approved.get(digest, ())) or "nobody"
        stand = "done" if digest in state.executed else "not done"
        day = time.strftime("%Y-%m-%d", time.gmtime(asked.not_before))
        print(f"  {day}  {stand:<9} approved by {names}: {asked.words}")
    if state.policy is not None:
        people = ", ".join(one.name for one in state.policy.custodians)
        print(f"Now {state.policy.quorum} of {len(state.policy.custodians)} custodians approve: {people}.")
