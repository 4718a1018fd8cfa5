"""A custodian's personal key: Ed25519, in a private file under a passphrase (PKCS#8, encrypted), by cryptography."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.errors import BadConfiguration
from kioskd.private_file import read_private, write_private
from kioskd.secret import Secret


def create_personal_key(path: Path, passphrase: Secret) -> bytes:
    """A new key in a file of mode 0600; its public half, PEM. `BadConfiguration` if the file exists."""
    if path.exists():
        raise BadConfiguration(f"{path}: exists already")
    key = Ed25519PrivateKey.generate()
    sealing = serialization.BestAvailableEncryption(passphrase.reveal())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealing)
    write_private(path, pem, new=True)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, spki)


def open_personal_key(path: Path, passphrase: Secret) -> Callable[[bytes], bytes]:
    """What signs with the key of that file; `BadConfiguration` for a wrong passphrase or another file."""
    try:
        key = serialization.load_pem_private_key(read_private(path).reveal(), passphrase.reveal())
    except (ValueError, TypeError) as wrong:
        raise BadConfiguration(f"{path}: does not open with this passphrase, or is no key file") from wrong
    if not isinstance(key, Ed25519PrivateKey):
        raise BadConfiguration(f"{path}: is not an Ed25519 key")
    return key.sign
