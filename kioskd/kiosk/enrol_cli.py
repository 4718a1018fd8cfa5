"""`kioskctl enrol`: makes this terminal's key, and gets its certificate for a one-time code or a signing request."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from kioskd.command_line import typed
from kioskd.config import CREDENTIAL, TerminalConfig, load_yaml
from kioskd.edges.certificates import check_name
from kioskd.edges.enrolment_client import EnrolmentServer, read_fingerprint, read_url
from kioskd.edges.sealed_credential import check_tpm
from kioskd.edges.signing_request import new_key, signing_request
from kioskd.edges.tls import Certified
from kioskd.errors import BadConfiguration, KioskError, ServerNotTrusted
from kioskd.private_file import read_passphrase
from kioskd.public_file import check_free, read_public, write_public
from kioskd.rekey.bundle import in_words
from kioskd.rekey.enrolment import ROLES, Enrolling, read_code
from kioskd.terminal.identity import IdentityFiles, SealedIdentity, identity_files

MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made in it


def run(args: argparse.Namespace) -> int:
    """Does what the arguments say; its exit code, 2 with one sentence on standard error if it cannot."""
    try:
        return _chosen(args)
    except KioskError as wrong:
        print(wrong, file=sys.stderr)
        return 2


def _chosen(args: argparse.Namespace) -> int:
    chosen = [args.url is not None, args.csr_out is not None, args.install is not None]
    if sum(chosen) != 1:
        raise BadConfiguration("enrol: needs one of URL, --csr-out FILE or --install CERT")
    config = load_yaml(TerminalConfig, args.config)
    check_name(config.name)
    if args.seal:
        return _sealed(config, args)
    files = _files(config, args.config)
    if args.csr_out is not None:
        return _ask_in_writing(config, files, args)  # leaves an identity that is there alone
    _check_new(files, args)
    if args.install is not None:
        return _install(config, files, args)
    return _enrol(config, files, args)


def _sealed(config: TerminalConfig, args: argparse.Namespace) -> int:
    check_tpm()
    if args.url is None:
        raise BadConfiguration("--seal: goes with URL")
    name = config.tls.key.removeprefix(CREDENTIAL)
    if not config.tls.key.startswith(CREDENTIAL) or config.tls.certificate != config.tls.key:
        raise BadConfiguration(f"{args.config}: tls: --seal needs credential:NAME for both certificate and key")
    check_name(name)
    # Until it is sealed, the key is in memory only: that folder is no disk.
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        sealed = args.config.parent / f"{name}.cred"
        files = SealedIdentity(Path(folder) / name, Path(config.tls.ca), sealed, name)
        _check_new(files, args)
        code = _enrol(config, files, args)
    print(f"The unit needs LoadCredentialEncrypted={name}:{sealed}. It does not renew itself: enrol again in time.")
    return code


def _check_new(files: IdentityFiles, args: argparse.Namespace) -> None:
    if files.exists() and not args.replace:
        raise BadConfiguration(f"{files.place}: there is an identity already; --replace puts a new one in its place")


def _enrol(config: TerminalConfig, files: IdentityFiles, args: argparse.Namespace) -> int:
    server = read_url(args.url, args.proxy or config.server.proxy)
    expected = None if args.fingerprint is None else read_fingerprint(args.fingerprint)
    fingerprint = asyncio.run(_known(server, expected))
    text = typed("The one-time code: ") if args.code_file is None else _from_file(args.code_file)
    code = read_code(text)
    key = new_key()
    csr = signing_request(key, args.role, config.name)
    given = asyncio.run(server.enrol(fingerprint, Enrolling(str(code), csr.decode())))
    _done(files.put(key, given.certificate, given.ca, config.name), files, args)
    return 0


async def _known(server: EnrolmentServer, expected: bytes | None) -> bytes:
    """The server's fingerprint, compared with what is expected, or by the person at the keyboard."""
    fingerprint = await server.fingerprint()
    if expected is None:
        print(f"{server.where} shows a certificate with the fingerprint\n\n    {in_words(fingerprint)}\n")
        answer = typed("Is that the one that `kioskd access enrolment add` showed? Type yes or no: ")
        if answer.strip().lower() != "yes":
            raise ServerNotTrusted("Nothing was sent. Ask the operator which fingerprint is right.")
    elif fingerprint != expected:
        raise ServerNotTrusted(
            f"{server.where}: its certificate is not the one that you expect, but {in_words(fingerprint)}; "
            "nothing was sent. Ask the operator; somebody may be in between."
        )
    return fingerprint


def _ask_in_writing(config: TerminalConfig, files: IdentityFiles, args: argparse.Namespace) -> int:
    check_free(args.csr_out)
    key = new_key()
    files.write_pending(key, replace=args.replace)
    write_public(args.csr_out, signing_request(key, args.role, config.name))
    print(f"Wrote {args.csr_out}; the key stays in {files.pending}.")
    print("Next: have your authority sign it (client authentication), then `kioskctl enrol --install CERT --ca PEM`.")
    return 0


def _install(config: TerminalConfig, files: IdentityFiles, args: argparse.Namespace) -> int:
    key = files.read_pending()
    certificate = read_public(args.install).decode("ascii", "replace")
    ca = files.trusted() if args.ca is None else read_public(args.ca).decode("ascii", "replace")
    told = files.put(key, certificate, ca, config.name, args.role)
    files.pending.unlink()
    _done(told, files, args)
    return 0


def _files(config: TerminalConfig, path: Path) -> IdentityFiles:
    files = identity_files(config.tls)
    if files is None or not files.identity.is_absolute() or not files.ca.is_absolute():
        raise BadConfiguration(
            f"{path}: tls: `enrol` keeps key and certificate in one file: let certificate and key both name it, "
            "with an absolute path, such as /var/lib/kioskd/kiosk.pem"
        )
    for file in (files.identity, files.ca):
        if not file.parent.is_dir():
            raise BadConfiguration(f"{path}: tls: {file.parent} is not a folder")
    return files


def _from_file(file: Path) -> str:
    return read_passphrase(file).reveal().decode("ascii", "replace")


def _done(told: Certified, files: IdentityFiles, args: argparse.Namespace) -> None:
    if args.json:
        made = {"name": told.name, "role": told.role, "serial": told.serial, "end": told.end}
        print(json.dumps({**made, "identity": str(files.place), "ca": str(files.ca)}, indent=2))
        return
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(told.end))
    print(f"{told.name} is enrolled as a {told.role}, until {until}: {files.place}, {files.ca}")
    how = "`systemctl restart kioskd-kiosk`, then `kioskctl status`" if told.role == ROLES[0] else "start the station"
    print(f"Next: {how}.")
