"""`kioskd ca`: makes and signs the certificates of a small installation."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from kioskd.command_line import add_command, run_command, whole
from kioskd.edges.certificates import (
    CA_DAYS,
    CLIENT_DAYS,
    SERVER_DAYS,
    Issued,
    Role,
    create_ca,
    issue_client,
    issue_server,
)

_WHO = {
    Role.KIOSK: "one kiosk",
    Role.STATION: "one issuing station",
    Role.OPERATOR: "an operator of the key management server",
    Role.CUSTODIAN: "a custodian who approves online",
    Role.ACCESS: "an access server that fetches its bundles",
}


def main(argv: list[str]) -> int:
    """Runs one command; 0, or 2 with one sentence on standard error."""
    return run_command(_parser(), argv)


def _sign(options: argparse.Namespace) -> None:
    issued, next_step = _issued(options)
    print(f"Wrote {issued.certificate} and {issued.key}.\nNext: {next_step}")


def _issued(options: argparse.Namespace) -> tuple[Issued, str]:
    match options.command:
        case "init":
            issued = create_ca(options.dir, options.name, options.days or CA_DAYS, options.not_before)
            return issued, f"give {issued.certificate.name} to every machine; keep {issued.key.name} on this one."
        case "server":
            hosts = tuple(options.host)
            days = options.days or SERVER_DAYS
            issued = issue_server(options.dir, options.name, hosts, options.out, days, options.not_before)
            return issued, "name both files in that server's configuration."
        case role:
            days = options.days or CLIENT_DAYS
            issued = issue_client(options.dir, Role(role), options.name, options.out, days, options.not_before)
            return issued, "bring both files there; a configuration or a command line names them."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kioskd ca", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    words = {"init": "make the CA", "server": "sign for an access server"}
    words |= {role.value: f"sign for {_WHO[role]}" for role in Role}
    for command, word in words.items():
        one = add_command(commands, command, word, _sign)
        one.add_argument("name", help="the common name, and the file name of what is signed")
        one.add_argument("--dir", type=Path, default=Path("ca"), metavar="DIR", help="where ca.crt and ca.key are")
        one.add_argument("--days", type=whole(1, 36500), metavar="N", help="how long it is valid")
        one.add_argument("--not-before", type=_moment, metavar="TIME", help="ISO 8601, UTC unless it says otherwise")
        if command != "init":
            one.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to write; here by default")
        if command == "server":
            one.add_argument("--host", action="append", required=True, help="a DNS name or IP address; repeat it")
    return parser


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError("not an ISO 8601 time, such as 2026-01-31T08:00") from wrong
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
