"""The vault that a configuration names: a sealed file, or a token. A token's library is loaded only for a token."""

from typing import TYPE_CHECKING

from kioskd.config import AccessConfig, TokenSection, file_of
from kioskd.edges.profile_file import load_profiles
from kioskd.ports import KeptVault
from kioskd.private_file import read_passphrase
from kioskd.virtual.vault import SoftVault

if TYPE_CHECKING:
    from kioskd.edges.pkcs11.vault import TokenVault


def open_vault(config: AccessConfig) -> KeptVault:
    """The vault, ready for use; `VaultError` and its kinds if it is not."""
    section = config.vault
    if section.token is None:
        return SoftVault.open(file_of(section.file), read_passphrase(file_of(section.passphrase)))
    return _token_vault(section.token, config.profiles)


def create_vault(config: AccessConfig) -> KeptVault:
    """A new vault with a transport key; `VaultError` if there is one. A token must be there, and empty."""
    section = config.vault
    if section.token is None:
        return SoftVault.create(file_of(section.file), read_passphrase(file_of(section.passphrase)))
    vault = _token_vault(section.token, config.profiles)
    vault.prepare()
    return vault


def _token_vault(section: TokenSection, profiles: str) -> "TokenVault":
    from kioskd.edges.pkcs11.open_vault import open_vault as open_token

    pin = read_passphrase(file_of(section.pin))
    configuration = str(file_of(section.configuration)) if section.configuration else ""
    vault = open_token(section.module, section.label, pin, section.parameters, configuration)
    vault.trusted_only = section.trusted
    if section.strict:
        for bits in sorted({kind.bits for profile in load_profiles(profiles) for kind in profile.kinds}):
            vault.refuse_leaks(bits)
    return vault
