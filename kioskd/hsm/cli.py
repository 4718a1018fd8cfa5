"""`kioskd hsm`: a new token, and what a token does inside, lets cross, or cannot do."""

import argparse
from hashlib import sha256
from pathlib import Path

from kioskd.command_line import add_command, run_command, typed, whole
from kioskd.config import TokenSection, file_of, load_access
from kioskd.edges.profile_file import load_profiles
from kioskd.errors import BadConfiguration, NotApproved
from kioskd.gp.isd import SCP02
from kioskd.private_file import read_passphrase
from kioskd.rekey.bundle import MAX_NUMBER, in_words


def main(argv: list[str]) -> int:
    """Runs one command; 2 with one sentence for anything that cannot be done."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kioskd hsm", description="PKCS#11 tokens")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = add_command(commands, "init", "make a new token in the module's first free slot", _init)
    init.add_argument("--module", required=True, help="the PKCS#11 module, such as /usr/lib/softhsm/libsofthsm2.so")
    init.add_argument("--label", required=True, help="the new token's name")
    init.add_argument("--so-pin-file", type=Path, required=True, help="private file of the security officer's PIN")
    init.add_argument("--pin-file", type=Path, required=True, help="private file of the user's PIN")
    init.add_argument("--configuration", default="", help="SoftHSM2's own configuration file")
    init.add_argument("--parameters", default="", help="NSS's parameters")
    trust = add_command(commands, "trust", "mark an epoch's public key: random numbers go to no other", _trust)
    trust.add_argument("--config", type=Path, required=True, help="the access server's YAML file")
    trust.add_argument("--epoch", type=whole(1, MAX_NUMBER), required=True, metavar="N")
    trust.add_argument("--so-pin-file", type=Path, required=True, help="private file of the security officer's PIN")
    trust.add_argument("--yes", metavar="FINGERPRINT", help="the key's fingerprint, instead of being asked")
    check = add_command(commands, "check", "try each job of the vault in the token and say where its keys are", _check)
    check.add_argument("--config", type=Path, required=True, help="the access server's YAML file")
    return parser


def _init(args: argparse.Namespace) -> int:
    from kioskd.edges.pkcs11.open_vault import make_token

    pins = read_passphrase(args.so_pin_file), read_passphrase(args.pin_file)
    make_token(args.module, args.label, *pins, args.parameters, args.configuration)
    print(f"The token {args.label} is made.")
    print("Next: name it in access.yaml under vault.token, then `kioskd access init`.")
    return 0


def _trust(args: argparse.Namespace) -> int:
    from kioskd.edges.pkcs11.trust import epoch_key, mark_trusted

    section = _section(args.config)
    configuration = str(file_of(section.configuration)) if section.configuration else ""
    public = epoch_key(section.module, section.label, args.epoch, configuration)
    fingerprint = in_words(sha256(public).digest())
    print(f"The public key of epoch {args.epoch} has the fingerprint\n  {fingerprint}")
    said = args.yes if args.yes is not None else typed("Type it, as the key management server showed it: ")
    if said.replace(" ", "").upper() != fingerprint.replace(" ", ""):
        raise NotApproved("that is not the fingerprint of this key; nothing was changed")
    pin = read_passphrase(args.so_pin_file)
    mark_trusted(section.module, section.label, pin, args.epoch, public, configuration)
    print("It is trusted now. Next: `trusted: true` in access.yaml demands that of every epoch.")
    return 0


def _section(config: Path) -> TokenSection:
    section = load_access(config).vault.token
    if section is None:
        raise BadConfiguration(f"{config}: vault.token: is missing; the vault is a file of this software")
    return section


def _check(args: argparse.Namespace) -> int:
    from kioskd.edges.pkcs11.judgement import SCP02_PUT_KEY, Place, judge, pin_holder
    from kioskd.edges.pkcs11.token import Token

    section = _section(args.config)
    configuration = str(file_of(section.configuration)) if section.configuration else ""
    token = Token(
        section.module, section.label, read_passphrase(file_of(section.pin)), section.parameters, configuration
    )
    findings = judge(token)
    print(f"token {section.label}, {section.module}\n")
    for one in findings:
        print(f"  {one.job:<46} {one.place.value:<13} {one.words}")
    print("\nWhoever has the PIN and this machine could")
    for words in pin_holder(token):
        print(f"  - {words}")
    cannot = any(one.job == SCP02_PUT_KEY and one.place is Place.IMPOSSIBLE for one in findings)
    refused = [one.name for one in load_profiles(load_access(args.config).profiles) if one.scp == SCP02]
    if cannot and refused:
        print(f"\nCards of these profiles are refused, for their keys cannot be put with it: {', '.join(refused)}.")
    leaving = [one.job for one in findings if one.key]
    if leaving:
        print(f"\nWith `strict: true` the server refuses to start where it needs: {'; '.join(leaving)}.")
    return 0
