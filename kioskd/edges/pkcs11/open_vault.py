"""Opening and making the token that a configuration names."""

from pkcs11 import TokenFlag

from kioskd.edges.pkcs11.kms import TokenKms
from kioskd.edges.pkcs11.module import init_token, load, module_lock
from kioskd.edges.pkcs11.token import Token, translated
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.errors import HsmGone
from kioskd.secret import Secret


def open_vault(module: str, label: str, pin: Secret, parameters: str = "", configuration: str = "") -> TokenVault:
    """The vault in a token; `HsmGone`, `HsmPin` if it cannot be used."""
    return TokenVault(Token(module, label, pin, parameters, configuration))


def open_kms(module: str, label: str, pin: Secret, parameters: str = "", configuration: str = "") -> TokenKms:
    """The key management server's vault in a token."""
    return TokenKms(Token(module, label, pin, parameters, configuration))


def make_token(
    module: str, label: str, so_pin: Secret, pin: Secret, parameters: str = "", configuration: str = ""
) -> None:
    """A new token with that label in the first free slot; `HsmGone` if there is one, or no free slot."""
    library = load(module, parameters, configuration)
    with translated(f"token {label}"):
        if list(library.get_tokens(token_label=label)):
            raise HsmGone(f"token {label}: is there already")
        free = [slot for slot in library.get_slots() if not _initialised(slot)]
        if not free:
            raise HsmGone(f"{module}: has no slot for a new token")
    with module_lock:
        init_token(module, free[0].slot_id, so_pin.reveal(), label)
    set_first_pin(module, label, so_pin, pin, parameters, configuration)


def set_first_pin(
    module: str, label: str, so_pin: Secret, pin: Secret, parameters: str = "", configuration: str = ""
) -> None:
    """The user's PIN of a token that has none yet; one that has keeps it."""
    library = load(module, parameters, configuration)
    with translated(f"token {label}"):
        token = next(iter(library.get_tokens(token_label=label)), None)
        if token is None:
            raise HsmGone(f"token {label}: is not there")
        if token.flags & TokenFlag.USER_PIN_INITIALIZED:
            return
        with token.open(rw=True, so_pin=so_pin.reveal().decode()) as session:
            session.init_pin(pin.reveal().decode())


def _initialised(slot: object) -> bool:
    return bool(slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED)  # type: ignore[attr-defined]
