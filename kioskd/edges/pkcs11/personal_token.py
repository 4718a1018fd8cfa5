"""A custodian's personal key on a token of their own."""

from collections.abc import Callable

from kioskd.edges.pkcs11.signing import make_signing_pair, public_bytes, signature
from kioskd.edges.pkcs11.token import Token
from kioskd.rekey.bundle_check import ed25519_pem
from kioskd.secret import Secret

_LABEL = "custodian"


def create_personal_key(module: str, label: str, pin: Secret, configuration: str = "") -> bytes:
    """A new key in the token of that label; its public half, PEM. `VaultError` if it has one."""
    token = Token(module, label, pin, "", configuration)
    make_signing_pair(token, _LABEL)
    return ed25519_pem(public_bytes(token, _LABEL))


def open_personal_key(module: str, label: str, pin: Secret, configuration: str = "") -> Callable[[bytes], bytes]:
    """What signs with the token's key; `VaultError` if it has none, `HsmPin` and `HsmGone` for the token."""
    token = Token(module, label, pin, "", configuration)
    public_bytes(token, _LABEL)
    return lambda text: signature(token, _LABEL, text)
