"""`kioskd kms request ACT`: what each act is asked for with, and the particulars that its words say."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kioskd.command_line import whole
from kioskd.edges.certified import check_certified
from kioskd.errors import BadConfiguration, NotApproved
from kioskd.kms.acts import P256
from kioskd.kms.ceremonies import DAY_S
from kioskd.public_file import read_public
from kioskd.rekey.backup import Backup
from kioskd.rekey.bundle import in_words, window_words
from kioskd.rekey.bundle_check import ed25519_raw, fingerprint_of, read_kms_key, read_transport_key
from kioskd.rekey.ceremony import Act, Custodian
from kioskd.rekey.statement import Statement
from kioskd.virtual.bundle_keys import RSA_BITS


def add_requests(common: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """`request ACT`, each with what its words need; `common` makes a command with the options of all of them."""

    def act(kind: Act, words: str, details: Callable[..., dict[str, str]]) -> argparse.ArgumentParser:
        made = common(kind.value, words)
        made.set_defaults(act=kind, details=details)
        made.add_argument("--out", type=Path, required=True, metavar="FILE", help="the request, for the custodians")
        made.add_argument("--days", type=whole(1, 31), default=7, metavar="N", help="how long it may be approved")
        return made

    act(Act.GENERATE, "the next generation's master block", _generate_details)
    epoch = act(Act.EPOCH, "the next epoch's replacement block and pair", _epoch_details)
    epoch.add_argument("--rsa-bits", type=int, default=RSA_BITS, metavar="N")
    epoch.add_argument("--p256", action="store_true", help="a pair of P-256 instead of RSA: faster on many tokens")
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
    shared = act(Act.SHARE, "a master block for the card management system", _share_details)
    shared.add_argument("--generation", type=int, required=True, metavar="N")
    shared.add_argument("--to", type=Path, required=True, metavar="PEM", help="its transport key, RSA")
    shared.add_argument("--hours", type=whole(1, 24 * 31), default=24, metavar="N", help="how long it may be used")
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
    add_people(act(Act.POLICY, "other custodians, or another quorum", _policy_details))


def _generate_details(_: argparse.Namespace, held: Any, __: int) -> dict[str, str]:
    return {"generation": str(max(held.generations, default=0) + 1)}


def _epoch_details(options: argparse.Namespace, held: Any, _: int) -> dict[str, str]:
    pair = {"curve": P256} if options.p256 else {"bits": str(options.rsa_bits)}
    return {"epoch": str(held.next_epoch), **pair}


def _release_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    fingerprint = in_words(fingerprint_of(read_transport_key(read_public(options.to))))
    numbers = {"generation": str(options.generation), "epoch": str(options.epoch), "hours": str(options.hours)}
    return {**numbers, "recipient": fingerprint}


def _share_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    fingerprint = in_words(fingerprint_of(read_transport_key(read_public(options.to))))
    return {"generation": str(options.generation), "hours": str(options.hours), "recipient": fingerprint}


def _arm_details(options: argparse.Namespace, held: Any, now: int) -> dict[str, str]:
    campaign = options.campaign or f"generation-{options.generation}"
    since = options.generation_from if options.generation_from is not None else options.generation - 1
    window = window_words(now - 300, now + options.campaign_days * DAY_S)
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
        if not now - DAY_S <= one.at <= now + 300:
            raise NotApproved(f"{file}: is older than a day, or of the future: make a new one")
        check_certified(one.signed_part(), one.signature, one.certificate, read_public(options.ca), one.at)
        if one.cards_of(options.epoch):
            raise NotApproved(f"{file}: {one.cards_of(options.epoch)} cards rely on epoch {options.epoch}")
        said.append(in_words(one.server))
    return {"epoch": str(options.epoch), "servers": " and ".join(said)}


def _policy_details(options: argparse.Namespace, _: Any, __: int) -> dict[str, str]:
    people = ", ".join(f"{one.name} ({one.key.hex()})" for one in map(custodian_of, options.custodian))
    return {"quorum": str(options.quorum), "custodians": people}


def add_people(parser: argparse.ArgumentParser) -> None:
    """The options that name the custodians and their quorum."""
    parser.add_argument(
        "--custodian", action="append", required=True, metavar="NAME=PEM", help="a custodian's public key; repeat it"
    )
    parser.add_argument("--quorum", type=int, required=True, metavar="M", help="how many of them must approve")


def custodian_of(text: str) -> Custodian:
    """The custodian of NAME=PEM."""
    name, _, file = text.partition("=")
    try:
        return Custodian(name, ed25519_raw(read_public(Path(file))))
    except ValueError as wrong:
        raise BadConfiguration(f"--custodian {name}: {wrong}") from wrong
