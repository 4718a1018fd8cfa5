"""`kioskd kms`: makes blocks and epochs and releases them, each on a request that the custodians approved."""

import argparse
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kioskd.command_line import Work, add_command, run_command, whole
from kioskd.edges.certified import check_certified
from kioskd.errors import BadConfiguration, NotApproved
from kioskd.kms.acts import Files, check_files, check_possible, perform
from kioskd.kms.transcript_file import opened
from kioskd.kms.vaults import add_vault_arguments, create_vault, open_vault, restore_key, token_of
from kioskd.public_file import check_free, read_public, write_public
from kioskd.rekey.backup import Backup
from kioskd.rekey.bundle import in_words, minute, window_words
from kioskd.rekey.bundle_check import ed25519_raw, fingerprint_of, read_kms_key, read_transport_key
from kioskd.rekey.ceremony import (
    Act,
    Approval,
    Approved,
    Custodian,
    Detail,
    Executed,
    Founded,
    Policy,
    Request,
    Requested,
)
from kioskd.rekey.papers import read_paper, write_paper
from kioskd.rekey.statement import Statement
from kioskd.virtual.bundle_keys import RSA_BITS

_DAY_S = 24 * 3600


def main(argv: list[str]) -> int:
    """Runs one command; 0, or 2 with one sentence on standard error."""
    return run_command(_parser(), argv)


def _init(options: argparse.Namespace) -> list[str]:
    people = tuple(_custodian(one) for one in options.custodian)
    try:
        policy = Policy(1, options.quorum, people)
    except ValueError as wrong:
        raise BadConfiguration(f"--custodian and --quorum: {wrong}") from wrong
    check_free(options.transcript)
    vault = create_vault(options)
    with opened(options.transcript, vault, new=True) as transcript:
        transcript.append(Founded(policy), int(time.time()))
    return [
        f"Made {options.vault or options.token} with a signing key.",
        f"Fingerprint: {in_words(vault.holdings().fingerprint)}",
        f"{policy.quorum} of {len(people)} custodians approve each act: {', '.join(one.name for one in people)}.",
        "Next: ask for a master block with `kioskd kms request generate`.",
    ]


def _request(options: argparse.Namespace) -> list[str]:
    check_free(options.out)
    vault, now = open_vault(options), int(time.time())
    with opened(options.transcript, vault) as transcript:
        policy = transcript.ceremony.policy
        version = policy.version if policy is not None else 0
        said = options.details(options, vault.holdings(), now)
        details = tuple(Detail(name, said[name]) for name in sorted(said))
        try:
            asked = Request(secrets.token_bytes(16), options.act, details, version, now, now + options.days * _DAY_S)
        except ValueError as wrong:
            raise BadConfiguration(f"the request cannot be made: {wrong}") from wrong
        check_possible(vault, asked)
        transcript.append(Requested(asked), now)
    write_public(options.out, write_paper(asked))
    return [
        asked.words,
        f"Fingerprint of the request: {asked.fingerprint}",
        f"Next: give {options.out} to the custodians: `kioskd custodian approve`.",
    ]


def _execute(options: argparse.Namespace) -> list[str]:
    asked = read_paper(Request, read_public(options.request), str(options.request))
    given = [read_paper(Approval, read_public(one), str(one)) for one in options.approval]
    named = (None if one is None else read_public(one) for one in (options.to, options.backup, options.kms_key))
    to, backup, kms_key = named
    files = Files(to, options.out, backup, kms_key)
    check_files(asked, files)
    vault, now = open_vault(options), int(time.time())
    with opened(options.transcript, vault) as transcript:
        check_possible(vault, asked)  # with the transcript held: nobody makes the same generation meanwhile
        for approval in given:
            if approval.custodian not in transcript.ceremony.approved.get(approval.request, ()):
                transcript.append(Approved(approval), now)
        transcript.append(Executed(asked.digest), now)
        done = perform(vault, asked, files, now)
    return [asked.words, *done]


def _export(options: argparse.Namespace) -> list[str]:
    check_free(options.out)
    vault = open_vault(options)
    write_public(options.out, vault.public_key())
    return [
        f"Wrote the public key to {options.out}.",
        f"Fingerprint: {in_words(vault.holdings().fingerprint)}",
        "Next: bring the file to the access server, compare the fingerprint there, and name it in its configuration.",
    ]


def _restore_key(options: argparse.Namespace) -> list[str]:
    check_free(options.out)
    key = restore_key(token_of(open_vault(options)))
    write_public(options.out, key)
    return [
        f"Wrote the restore key to {options.out}.",
        f"Fingerprint: {in_words(fingerprint_of(read_transport_key(key)))}",
        "Next: bring it to the server to back up: `kioskd kms request backup`.",
    ]


def _list(options: argparse.Namespace) -> list[str]:
    vault = open_vault(options)
    held = vault.holdings()
    lines = [
        f"Fingerprint: {in_words(held.fingerprint)}",
        f"Generations: {_numbers(held.generations)}",
        f"Epochs that issue: {_numbers(held.issuing)}",
        f"Epochs that are armed: {_numbers(held.armed)}",
        f"Bundles released: {len(held.releases) or 'none'}",
    ]
    for one in held.releases:
        lines.append(
            f"  {one.id.hex()} {one.purpose.value}, generation {one.generation}, epoch {one.epoch},"
            f" to {in_words(one.recipient)[:9]}..., until {minute(one.not_after)}"
        )
    with opened(options.transcript, vault) as transcript:
        state = transcript.ceremony
    for digest, asked in state.requests.items():
        stand = (
            "done"
            if digest in state.executed
            else f"approved by {', '.join(state.approved.get(digest, ())) or 'nobody'}"
        )
        lines.append(f"  request {asked.fingerprint[:9]}...  {stand}: {asked.words}")
    return lines


def _generate_details(_: argparse.Namespace, held: Any, __: int) -> dict[str, str]:
    return {"generation": str(max(held.generations, default=0) + 1)}


def _epoch_details(options: argparse.Namespace, held: Any, _: int) -> dict[str, str]:
    return {"epoch": str(held.next_epoch), "bits": str(options.rsa_bits)}


def _release_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    fingerprint = in_words(fingerprint_of(read_transport_key(read_public(options.to))))
    numbers = {"generation": str(options.generation), "epoch": str(options.epoch), "hours": str(options.hours)}
    return {**numbers, "recipient": fingerprint}


def _arm_details(options: argparse.Namespace, held: Any, now: int) -> dict[str, str]:
    campaign = options.campaign or f"generation-{options.generation}"
    since = options.generation_from if options.generation_from is not None else options.generation - 1
    window = window_words(now - 300, now + options.campaign_days * _DAY_S)
    bound = {"campaign": campaign, "generation_from": str(since), "window": window}
    return _release_details(options, held, now) | bound


def _disarm_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    fingerprint = in_words(fingerprint_of(read_transport_key(read_public(options.to))))
    return {"campaign": options.campaign, "cases": options.cases, "recipient": fingerprint}


def _backup_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    return {"recipient": in_words(fingerprint_of(read_transport_key(read_public(options.to))))}


def _restore_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    server = in_words(fingerprint_of(read_kms_key(read_public(options.kms_key))))
    return {"backup": in_words(Backup.decode(read_public(options.backup)).digest), "server": server}


def _destroy_details(options: argparse.Namespace, _: Any, now: int) -> dict[str, str]:
    said = []
    for file in options.statement:
        one = Statement.decode(read_public(file))
        if not now - _DAY_S <= one.at <= now + 300:
            raise NotApproved(f"{file}: is older than a day, or of the future: make a new one")
        check_certified(one.signed_part(), one.signature, one.certificate, read_public(options.ca), one.at)
        if one.cards_of(options.epoch):
            raise NotApproved(f"{file}: {one.cards_of(options.epoch)} cards rely on epoch {options.epoch}")
        said.append(in_words(one.server))
    return {"epoch": str(options.epoch), "servers": " and ".join(said)}


def _policy_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    people = ", ".join(f"{one.name} ({one.key.hex()})" for one in map(_custodian, options.custodian))
    return {"quorum": str(options.quorum), "custodians": people}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kioskd kms", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, words: str, work: Callable[[argparse.Namespace], list[str]]) -> argparse.ArgumentParser:
        return _common(add_command(commands, name, words, _told(work)))

    init = command("init", "make the vault, its transcript, and the first custodians", _init)
    _people(init)
    out = command("export", "write the public key that checks bundles", _export)
    out.add_argument("--out", type=Path, required=True, metavar="FILE")
    command("list", "say what is held, what was released, and what was asked for", _list)
    do = command("execute", "do what a request says, once enough custodians have approved", _execute)
    do.add_argument("request", type=Path)
    do.add_argument("approval", type=Path, nargs="*")
    do.add_argument("--to", type=Path, metavar="PEM", help="the transport key that the request names")
    do.add_argument("--out", type=Path, metavar="FILE", help="the bundle, order or backup to write")
    do.add_argument("--backup", type=Path, metavar="FILE", help="the backup to restore")
    do.add_argument("--kms-key", type=Path, metavar="PEM", help="the public key of the server that made the backup")
    restore = command("restore-key", "write the key that a backup for this token is wrapped to", _restore_key)
    restore.add_argument("--out", type=Path, required=True, metavar="FILE")
    ask = commands.add_parser("request", help="ask for an act", description="ask for an act")
    _requests(ask.add_subparsers(dest="act", required=True, metavar="ACT"))
    return parser


def _requests(acts: Any) -> None:
    """`request generate|epoch|release|arm|disarm|policy`, each with what its words need."""

    def act(kind: Act, words: str, details: Callable[..., dict[str, str]]) -> argparse.ArgumentParser:
        made = _common(add_command(acts, kind.value, words, _told(_request)))
        made.set_defaults(act=kind, details=details)
        made.add_argument("--out", type=Path, required=True, metavar="FILE", help="the request, for the custodians")
        made.add_argument("--days", type=whole(1, 31), default=7, metavar="N", help="how long it may be approved")
        return made

    act(Act.GENERATE, "the next generation's master block", _generate_details)
    epoch = act(Act.EPOCH, "the next epoch's replacement block and pair", _epoch_details)
    epoch.add_argument("--rsa-bits", type=int, default=RSA_BITS, metavar="N")
    for kind, words, details in (
        (Act.RELEASE, "a bundle to issue cards with", _release_details),
        (Act.ARM, "a bundle with an epoch's private key, to replace with", _arm_details),
    ):
        made = act(kind, words, details)
        made.add_argument("--generation", type=int, required=True, metavar="N")
        made.add_argument("--epoch", type=int, required=True, metavar="N")
        made.add_argument("--to", type=Path, required=True, metavar="PEM", help="the access server's transport key")
        made.add_argument(
            "--hours", type=whole(1, 24 * 31), default=24, metavar="N", help="how long it may be imported"
        )
        if kind is Act.ARM:
            made.add_argument("--campaign", metavar="ID")
            made.add_argument("--generation-from", type=int, metavar="N", help="the oldest generation to replace")
            made.add_argument("--campaign-days", type=whole(1, 3660), default=365, metavar="N")
    disarm = act(Act.DISARM, "that a campaign ends with open cases", _disarm_details)
    disarm.add_argument("--campaign", required=True, metavar="ID")
    disarm.add_argument("--cases", required=True, metavar="HEX", help="the list, as `kioskd access disarm` shows it")
    disarm.add_argument("--to", type=Path, required=True, metavar="PEM", help="the access server's transport key")
    destroy = act(Act.DESTROY, "the end of an epoch on which no card relies", _destroy_details)
    destroy.add_argument("--epoch", type=int, required=True, metavar="N")
    destroy.add_argument("--ca", type=Path, required=True, metavar="PEM", help="who signs the servers' certificates")
    words = "what `kioskd access statement` wrote, of every server that has keys of the epoch; repeat it"
    destroy.add_argument("--statement", type=Path, action="append", required=True, metavar="FILE", help=words)
    backup = act(Act.BACKUP, "every key, wrapped to a second token", _backup_details)
    backup.add_argument("--to", type=Path, required=True, metavar="PEM", help="the second token's restore key")
    restore = act(Act.RESTORE, "a backup, taken into this empty token", _restore_details)
    restore.add_argument("--backup", type=Path, required=True, metavar="FILE")
    restore.add_argument("--kms-key", type=Path, required=True, metavar="PEM", help="the key of who made the backup")
    _people(act(Act.POLICY, "other custodians, or another quorum", _policy_details))


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add_vault_arguments(parser)
    parser.add_argument("--transcript", type=Path, required=True, metavar="FILE", help="where every ceremony is kept")
    return parser


def _told(work: Callable[[argparse.Namespace], list[str]]) -> Work:
    """The work, and its lines printed when all of it is done."""
    return lambda options: print("\n".join(work(options)))


def _people(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--custodian", action="append", required=True, metavar="NAME=PEM", help="a custodian's public key; repeat it"
    )
    parser.add_argument("--quorum", type=int, required=True, metavar="M", help="how many of them must approve")


def _custodian(text: str) -> Custodian:
    name, _, file = text.partition("=")
    try:
        return Custodian(name, ed25519_raw(read_public(Path(file))))
    except ValueError as wrong:
        raise BadConfiguration(f"--custodian {name}: {wrong}") from wrong


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
