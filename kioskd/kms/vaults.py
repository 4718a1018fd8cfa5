"""The vault that a command line names: a sealed file, or a token. A token's library is loaded only for a token."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kioskd.command_line import add_token_arguments, token_or_file
from kioskd.config import KeeperSection, file_of
from kioskd.errors import BadConfiguration
from kioskd.ports import KmsVault
from kioskd.private_file import read_passphrase
from kioskd.rekey.backup import Backup
from kioskd.virtual.kms import SoftKms

if TYPE_CHECKING:
    from kioskd.edges.pkcs11.kms import TokenKms


def add_vault_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a vault."""
    parser.add_argument("--vault", type=Path, metavar="FILE", help="a sealed file, with --passphrase-file")
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE")
    add_token_arguments(parser, "a PKCS#11 token, with --module and --pin-file")


def open_vault(options: argparse.Namespace) -> KmsVault:
    """The vault, ready for use; `BadConfiguration` unless one is named."""
    if token_or_file(options, "vault"):
        return _token(options)
    return SoftKms.open(options.vault, read_passphrase(options.passphrase_file))


def create_vault(options: argparse.Namespace) -> KmsVault:
    """A new vault with a signing key; a token must be there, and empty."""
    if not token_or_file(options, "vault"):
        return SoftKms.create(options.vault, read_passphrase(options.passphrase_file))
    vault = _token(options)
    vault.prepare()
    return vault


def vault_of(section: KeeperSection) -> KmsVault:
    """The vault that a configuration names."""
    token = section.token
    if token is None:
        return SoftKms.open(file_of(section.file), read_passphrase(file_of(section.passphrase)))
    from kioskd.edges.pkcs11.open_vault import open_kms

    configuration = str(file_of(token.configuration)) if token.configuration else ""
    pin = read_passphrase(file_of(token.pin))
    return open_kms(token.module, token.label, pin, token.parameters, configuration=configuration)


def _token(options: argparse.Namespace) -> "TokenKms":
    from kioskd.edges.pkcs11.open_vault import open_kms

    pin = read_passphrase(options.pin_file)
    return open_kms(options.module, options.token, pin, configuration=options.configuration)


def token_of(vault: KmsVault) -> "TokenKms":
    """The vault, if it is a token; `BadConfiguration` for a sealed file, which is backed up by copying it."""
    if isinstance(vault, SoftKms):
        raise BadConfiguration("the vault is a sealed file: copy it, and never put an older copy back")
    return vault  # type: ignore[return-value]


def back_up(kms: "TokenKms", to: bytes) -> Backup:
    """Every key of the token, wrapped to the restore key (PEM) of another."""
    from kioskd.edges.pkcs11.kms_backup import back_up as wrap_all

    return wrap_all(kms, to)


def restore(kms: "TokenKms", backup: Backup, server: bytes) -> None:
    """Takes a backup into an empty token; `server` is the public key (PEM) of who made it."""
    from kioskd.edges.pkcs11.kms_backup import restore as take_in

    take_in(kms, backup, server)


def restore_key(kms: "TokenKms") -> bytes:
    """The key that a backup for this token is wrapped to, PEM; made if it is not there."""
    from kioskd.edges.pkcs11.kms_backup import make_restore_key

    return make_restore_key(kms)
