"""`kioskd kms`: makes blocks and epochs, and releases them in bundles."""

import argparse
import sys
import time
from pathlib import Path

from kioskd.errors import BadConfiguration, KioskError
from kioskd.kms.release import release
from kioskd.kms.vaults import add_vault_arguments, create_vault, open_vault
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BundlePurpose, in_words
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.virtual.bundle_keys import RSA_BITS


def main(argv: list[str]) -> int:
    """Runs one command; 0, or 2 with one sentence on standard error."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    try:
        lines = _COMMANDS[options.command](options)
    except KioskError as wrong:
        sys.stderr.write(f"kioskd kms: {wrong}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _init(options: argparse.Namespace) -> list[str]:
    vault = create_vault(options)
    return [
        f"Made {options.vault or options.token} with a signing key.",
        f"Fingerprint: {in_words(vault.holdings().fingerprint)}",
        "Next: make a master block with `kioskd kms generate`.",
    ]


def _generate(options: argparse.Namespace) -> list[str]:
    vault = open_vault(options)
    number = vault.generate()
    next_step = "release it with `kioskd kms release`."
    if not vault.holdings().issuing:
        next_step = "make an epoch with `kioskd kms epoch`."
    return [f"Made generation {number}.", f"Next: {next_step}"]


def _epoch(options: argparse.Namespace) -> list[str]:
    vault = open_vault(options)
    number = vault.new_epoch(options.rsa_bits)
    return [
        f"Made epoch {number} with an RSA pair of {options.rsa_bits} bits.",
        "Next: write this server's public key to a file with `kioskd kms export`.",
    ]


def _export(options: argparse.Namespace) -> list[str]:
    vault = open_vault(options)
    _write_public(options.out, vault.public_key())
    return [
        f"Wrote the public key to {options.out}.",
        f"Fingerprint: {in_words(vault.holdings().fingerprint)}",
        "Next: bring the file to the access server, compare the fingerprint there, and name it in its configuration.",
    ]


def _release(options: argparse.Namespace) -> list[str]:
    vault = open_vault(options)
    transport = _read_public(options.to)
    fingerprint = fingerprint_of(read_transport_key(transport))
    if options.confirm is not None and options.confirm.replace(" ", "").lower() != fingerprint.hex():
        raise BadConfiguration(f"{options.to}: its fingerprint is not the confirmed one; it is {in_words(fingerprint)}")
    if options.out.exists():
        raise BadConfiguration(f"{options.out}: exists already")
    now = int(time.time())
    window = (now - 300, now + options.hours * 3600)  # clocks differ
    purpose = BundlePurpose(options.purpose)
    bundle = release(vault, purpose, options.generation, options.epoch, transport, window, now)
    write_private(options.out, bundle, new=True)
    lines = [
        f"Wrote the {purpose.value} bundle of generation {options.generation}, epoch {options.epoch} to {options.out}.",
        f"It opens for the holder of {in_words(fingerprint)}, for {options.hours} hours.",
    ]
    if purpose is BundlePurpose.REPLACE:
        lines.append(f"Epoch {options.epoch} is armed: no issue bundle of it will be made any more.")
    return [*lines, "Next: bring the file to the access server and import it there."]


def _list(options: argparse.Namespace) -> list[str]:
    held = open_vault(options).holdings()
    lines = [
        f"Fingerprint: {in_words(held.fingerprint)}",
        f"Generations: {_numbers(held.generations)}",
        f"Epochs that issue: {_numbers(held.issuing)}",
        f"Epochs that are armed: {_numbers(held.armed)}",
        f"Bundles released: {len(held.releases) or 'none'}",
    ]
    for one in held.releases:
        until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one.not_after))
        lines.append(
            f"  {one.id.hex()} {one.purpose.value}, generation {one.generation}, epoch {one.epoch},"
            f" to {in_words(one.recipient)[:9]}..., until {until}"
        )
    if not held.generations:
        return [*lines, "Next: make a master block with `kioskd kms generate`."]
    if not held.issuing:
        return [*lines, "Next: make an epoch with `kioskd kms epoch`."]
    return [*lines, "Next: release what an access server needs with `kioskd kms release`."]


_COMMANDS = {
    "init": _init,
    "generate": _generate,
    "epoch": _epoch,
    "export": _export,
    "release": _release,
    "list": _list,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kioskd kms", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    words = {
        "init": "make the vault",
        "generate": "make the next generation's master block",
        "epoch": "make the next epoch's replacement block and pair",
        "export": "write the public key that checks bundles",
        "release": "write a bundle for one access server",
        "list": "say what is held and what was released",
    }
    made = {}
    for command, word in words.items():
        made[command] = one = commands.add_parser(command, help=word)
        add_vault_arguments(one)
    made["epoch"].add_argument("--rsa-bits", type=int, default=RSA_BITS, metavar="N")
    made["export"].add_argument("--out", type=Path, required=True, metavar="FILE")
    bundle = made["release"]
    bundle.add_argument("--purpose", choices=[purpose.value for purpose in BundlePurpose], required=True)
    bundle.add_argument("--generation", type=int, required=True, metavar="N")
    bundle.add_argument("--epoch", type=int, required=True, metavar="N")
    bundle.add_argument("--to", type=Path, required=True, metavar="PEM", help="the access server's transport key")
    bundle.add_argument("--confirm", metavar="FINGERPRINT", help="refuse a transport key with another fingerprint")
    bundle.add_argument("--hours", type=_hours, default=24, metavar="N", help="how long it may be imported")
    bundle.add_argument("--out", type=Path, required=True, metavar="FILE")
    return parser


def _read_public(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be read: {wrong.strerror}") from wrong


def _write_public(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be written: {wrong.strerror}") from wrong


def _hours(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 24 * 366:
        raise argparse.ArgumentTypeError("1 to 8784 hours")
    return int(text)


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
