"""`kioskd access enrolment add|list|revoke`: one-time codes for new terminals, and who was given a certificate."""

import argparse
import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import Any

import kioskd.edges.enrolments as book
from kioskd.access.campaigns import in_store
from kioskd.access.enrolment import SALT_BYTES, authority_of, slow_hash
from kioskd.command_line import add_command
from kioskd.config import AccessConfig, EnrolmentSection, file_of, load_access
from kioskd.edges.certificates import check_name
from kioskd.edges.enrolling import fingerprint_of, first_host
from kioskd.errors import BadConfiguration
from kioskd.rekey.bundle import minute
from kioskd.rekey.enrolment import CODE_BYTES, ROLES, new_code

_UNITS = {"m": 60, "h": 3600, "d": 86400}
LONGEST_S = 7 * 86400
OFF = "enrolment: there is no such section, so that enrolment is off: config/access.yaml shows one"


def add_enrolment_commands(commands: Any) -> None:
    """Adds `enrolment` and its commands to `kioskd access`."""
    words = "one-time codes for new terminals; revoking one"
    inner = commands.add_parser("enrolment", help=words, description=words).add_subparsers(required=True, metavar="DO")

    def command(name: str, words: str, work: Any) -> argparse.ArgumentParser:
        made = add_command(inner, name, words, lambda args: work(load_access(args.config), args))
        made.add_argument("--config", type=Path, required=True, help="the server's YAML file")
        return made

    add = command("add", "a one-time code for one terminal; it is shown once", _add)
    add.add_argument("name", help="the terminal's name, such as kiosk-17")
    add.add_argument("--role", choices=ROLES, default=ROLES[0])
    add.add_argument("--valid", type=_duration, default=3600, metavar="TIME", help="30m, 1h (default), 2d; at most 7d")
    command("list", "every code and every certificate that was given out", _list)
    revoke = command("revoke", "have a terminal refused from its next message on (K413)", _revoke)
    revoke.add_argument("name", help="the name in its certificate")


def _add(config: AccessConfig, args: argparse.Namespace) -> None:
    section = config.enrolment
    if section is None:
        raise BadConfiguration(f"{args.config}: {OFF}")
    check_name(args.name)
    authority_of(config, section)  # a code that nobody could use is not made
    url, fingerprint = _url(config, section), fingerprint_of(file_of(config.tls.certificate))
    code, salt, until = new_code(secrets.token_bytes(CODE_BYTES)), secrets.token_bytes(SALT_BYTES), _now() + args.valid
    entry = book.Entry(code.entry, args.name, args.role, salt, slow_hash(code, salt), until)
    asyncio.run(in_store(config, lambda connection: book.add_entry(connection, entry), new=True))
    given = asyncio.run(in_store(config, book.certificates))
    print(f"One-time code for the {args.role} {args.name}, shown only now, good until {minute(until)}:\n")
    print(f"    {code}\n")
    print("Type this at the terminal; it asks for the code:\n")
    print(f"    kioskctl enrol {url} --fingerprint {fingerprint}\n")
    if any(one.name == args.name and not one.revoked and one.until > _now() for one in given):
        print(f"{args.name} has a certificate already, which stays good. If that machine is gone or lost, first:")
        print(f"    kioskd access enrolment revoke {args.name} --config {args.config}")


def _list(config: AccessConfig, args: argparse.Namespace) -> None:
    if config.enrolment is None:
        print(f"{args.config}: {OFF}")
    codes = asyncio.run(in_store(config, book.entries))
    given = asyncio.run(in_store(config, book.certificates))
    revoked = asyncio.run(in_store(config, book.revoked_names))
    now = _now()
    for code in codes:
        print(f"{code.name:<24} {code.role:<8} code until {minute(code.until)}, {code.state(now)}")
    for one in given:
        state = "revoked" if one.revoked else "ended" if one.until <= now else "good"
        print(f"{one.name:<24} {one.role:<8} certificate until {minute(one.until)}, {state}, {one.serial}")
    for name, at in sorted(revoked.items()):
        print(f"{name:<24} {'':<8} revoked {minute(at)}: every certificate from before")
    if not codes and not given and not revoked:
        print("none: `kioskd access enrolment add NAME`")


def _revoke(config: AccessConfig, args: argparse.Namespace) -> None:
    check_name(args.name)
    codes, count = asyncio.run(in_store(config, lambda connection: book.revoke(connection, args.name, _now())))
    print(f"{args.name} is refused from its next message on.")
    if not count and not codes:
        print(f"Nothing of that name is on record here: is {args.name} spelled right? `kioskd access enrolment list`")
    else:
        print(f"Certificates on record: {count}; any other of its name is refused as well.")
    if codes:
        print("Its code that was not used is void.")


def _url(config: AccessConfig, section: EnrolmentSection) -> str:
    if section.url:
        return section.url
    host = first_host(file_of(config.tls.certificate))
    if not host:
        raise BadConfiguration("enrolment.url: is needed, for the server's certificate gives no host name")
    return f"https://{host}:{section.port}"


def _duration(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    seconds = int(found[1]) * _UNITS.get(found[2], 1) if found else 0
    if not 0 < seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError("a time such as 30m, 1h or 2d, at most 7d")
    return seconds


def _now() -> int:
    return int(time.time())
