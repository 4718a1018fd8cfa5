"""`kioskd audit verify`: whether a transcript is whole, signed, and shows a quorum for every act. Offline."""

import argparse
import sys
import time
from pathlib import Path

from kioskd.errors import BadConfiguration, KioskError
from kioskd.rekey.bundle_check import ed25519_raw, ed25519_verifies
from kioskd.rekey.transcript import Transcript, read_transcript


def main(argv: list[str]) -> int:
    """0 for a good transcript, 2 with one sentence for any other."""
    parser = argparse.ArgumentParser("kioskd audit", description="checks the transcript of the ceremonies, offline")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    verify = commands.add_parser("verify", help="check every line, signature and quorum")
    verify.add_argument("transcript", type=Path)
    verify.add_argument("--kms-key", type=Path, required=True, metavar="PEM", help="the key management server's key")
    verify.add_argument("--head", metavar="HEX", help="the digest of the newest entry, as somebody wrote it down")
    args = parser.parse_args(argv)
    try:
        lines, key = args.transcript.read_bytes().splitlines(keepends=True), args.kms_key.read_bytes()
        found = read_transcript(lines, ed25519_raw(key), ed25519_verifies)
        if args.head is not None and args.head.lower() not in {one.hex() for one in found.digests}:
            raise BadConfiguration(f"{args.transcript}: has no entry {args.head[:16]}...: lines are missing at its end")
    except OSError as wrong:
        print(f"{wrong.filename}: cannot be read: {wrong.strerror}", file=sys.stderr)
        return 2
    except KioskError as wrong:
        print(f"{args.transcript}: {wrong}", file=sys.stderr)
        return 2
    _tell(found)
    return 0


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
