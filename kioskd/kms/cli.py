"""`kioskd kms`: makes blocks and epochs and releases them, each on a request that the custodians approved."""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from kioskd.command_line import Work, add_command, add_server_arguments, run_command
from kioskd.config import file_of, load_kms
from kioskd.edges.https import server_of
from kioskd.edges.systemd import set_up_log
from kioskd.errors import BadConfiguration
from kioskd.kms.acts import Files
from kioskd.kms.ceremonies import Ceremonies
from kioskd.kms.remote import RemoteCeremonies
from kioskd.kms.request_cli import add_people, add_requests, custodian_of
from kioskd.kms.serve import serve
from kioskd.kms.transcript_file import opened
from kioskd.kms.vaults import add_vault_arguments, create_vault, open_vault, restore_key, token_of, vault_of
from kioskd.public_file import check_free, read_public, write_public
from kioskd.rekey.bundle import in_words, minute
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.ceremony import (
    Approval,
    Founded,
    Policy,
    Request,
)
from kioskd.rekey.papers import read_paper, write_paper

_DAY_S = 24 * 3600


def main(argv: list[str]) -> int:
    """Runs one command; 0, or 2 with one sentence on standard error."""
    return run_command(_parser(), argv)


def _init(options: argparse.Namespace) -> list[str]:
    people = tuple(custodian_of(one) for one in options.custodian)
    try:
        policy = Policy(1, options.quorum, people)
    except ValueError as wrong:
        raise BadConfiguration(f"--custodian and --quorum: {wrong}") from wrong
    file = _transcript(options)
    check_free(file)
    vault = create_vault(options)
    with opened(file, vault, new=True) as transcript:
        transcript.append(Founded(policy), int(time.time()))
    return [
        f"Made {options.vault or options.token} with a signing key.",
        f"Fingerprint: {in_words(vault.holdings().fingerprint)}",
        f"{policy.quorum} of {len(people)} custodians approve each act: {', '.join(one.name for one in people)}.",
        "Next: ask for a master block with `kioskd kms request generate`.",
    ]


def _request(options: argparse.Namespace) -> list[str]:
    check_free(options.out)
    ceremonies = _ceremonies(options)
    said = options.details(options, ceremonies.holdings(), int(time.time()))
    asked = ceremonies.ask(options.act, said, options.days)
    write_public(options.out, write_paper(asked))
    return [
        asked.words,
        f"Fingerprint of the request: {asked.fingerprint}",
        f"Next: give {options.out} to the custodians: `kioskd custodian approve`.",
    ]


def _execute(options: argparse.Namespace) -> list[str]:
    asked = read_paper(Request, read_public(options.request), str(options.request))
    given = tuple(read_paper(Approval, read_public(one), str(one)) for one in options.approval)
    named = (None if one is None else read_public(one) for one in (options.to, options.backup, options.kms_key))
    to, backup, kms_key = named
    if options.at is not None and options.out is not None:
        raise BadConfiguration("--out: is not for --at: what is released waits there for its access server")
    return [asked.words, *_ceremonies(options).execute(asked, given, Files(to, options.out, backup, kms_key))]


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
    ceremonies, now = _ceremonies(options), int(time.time())
    held = ceremonies.holdings()
    lines = [
        f"Fingerprint: {in_words(held.fingerprint)}",
        f"Generations: {_numbers(held.generations)}",
        *(f"Epoch {epoch}: {state.value}" for epoch, state in held.states(now).items()),
        f"Bundles released: {len(held.releases) or 'none'}",
    ]
    for one in held.releases:
        lines.append(
            f"  {one.id.hex()} {one.purpose.value}, generation {one.generation}, epoch {one.epoch},"
            f" to {in_words(one.recipient)[:9]}..., until {minute(one.not_after)}"
        )
    for asked in ceremonies.listed():
        lines.append(f"  request {asked.request.fingerprint[:9]}...  {asked.words}: {asked.request.words}")
    return lines


def _serve(options: argparse.Namespace) -> None:
    config = load_kms(options.config)
    ceremonies = Ceremonies(vault_of(config.vault), file_of(config.transcript))
    if options.check:
        held, listed = ceremonies.holdings(), ceremonies.listed()
        print(f"{options.config}: usable; {len(held.generations)} generations, {len(listed)} requests")
        return
    set_up_log("kioskd-kms")
    asyncio.run(serve(config, ceremonies))


def _ceremonies(options: argparse.Namespace) -> Ceremonies | RemoteCeremonies:
    """The desk of the vault that is named, or of the service at the other end of the network."""
    if options.at is not None:
        return RemoteCeremonies(server_of(options))
    file = _transcript(options)
    return Ceremonies(open_vault(options), file)


def _transcript(options: argparse.Namespace) -> Path:
    if options.transcript is None:
        raise BadConfiguration("--transcript: is missing: the file in which every ceremony is kept")
    file: Path = options.transcript
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kioskd kms", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, words: str, work: Callable[[argparse.Namespace], list[str]]) -> argparse.ArgumentParser:
        return _common(add_command(commands, name, words, _told(work)))

    init = command("init", "make the vault, its transcript, and the first custodians", _init)
    add_people(init)
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
    run = add_command(commands, "serve", "run as a service, for operators, custodians and access servers", _serve)
    run.add_argument("--config", type=Path, required=True, help="the service's YAML file")
    run.add_argument("--check", action="store_true", help="only say whether all that it names is usable")
    restore = command("restore-key", "write the key that a backup for this token is wrapped to", _restore_key)
    restore.add_argument("--out", type=Path, required=True, metavar="FILE")
    ask = commands.add_parser("request", help="ask for an act", description="ask for an act")
    acts = ask.add_subparsers(dest="act", required=True, metavar="ACT")
    add_requests(lambda name, words: _common(add_command(acts, name, words, _told(_request))))
    return parser


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    add_vault_arguments(parser)
    parser.add_argument("--transcript", type=Path, metavar="FILE", help="where every ceremony is kept")
    add_server_arguments(parser, "instead of a vault: a key management server that runs as a service")
    return parser


def _told(work: Callable[[argparse.Namespace], list[str]]) -> Work:
    """The work, and its lines printed when all of it is done."""
    return lambda options: print("\n".join(work(options)))


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
