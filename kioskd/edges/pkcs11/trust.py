"""The security officer marks an epoch's public key as trusted: RND goes to no other key then, whoever has the PIN.

Only the security officer can make a trusted object, and sees no private one. A token that marks nothing (NSS) refuses.
"""

from typing import Any

from pkcs11 import Attribute, ObjectClass

from kioskd.edges.pkcs11.bundles import public_spki, public_template
from kioskd.edges.pkcs11.module import load
from kioskd.edges.pkcs11.token import translated
from kioskd.errors import HsmGone, NotArmed, VaultError
from kioskd.secret import Secret


def epoch_key(module: str, label: str, epoch: int, configuration: str = "") -> bytes:
    """An epoch's public key in the token, SubjectPublicKeyInfo; no PIN is needed. `NotArmed` if it is not there."""
    with translated(f"token {label}"), _token(module, label, configuration).open() as session:
        return _one(_keys(session, epoch), epoch)


def mark_trusted(module: str, label: str, so_pin: Secret, epoch: int, public: bytes, configuration: str = "") -> None:
    """Puts a trusted object in the place of the epoch's public key, which must still be `public`.

    A crash in between leaves both; the same call again takes the untrusted one away.
    """
    with translated(f"token {label}"):
        token = _token(module, label, configuration)
        with token.open(rw=True, so_pin=so_pin.reveal().decode()) as session:
            found = _keys(session, epoch)
            if _one(found, epoch) != public:
                raise VaultError(f"epoch {epoch}: its public key is another one by now")
            if not any(one[Attribute.TRUSTED] for one in found):
                template = public_template(f"E {epoch}", public)
                session.create_object({**template, Attribute.TRUSTED: True, Attribute.PRIVATE: False})
            for one in found:
                if not one[Attribute.TRUSTED]:
                    one.destroy()


def _token(module: str, label: str, configuration: str) -> Any:
    found = next(iter(load(module, "", configuration).get_tokens(token_label=label)), None)
    if found is None:
        raise HsmGone(f"token {label}: is not there")
    return found


def _keys(session: Any, epoch: int) -> list[Any]:
    wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.LABEL: f"E {epoch}"}
    return list(session.get_objects(wanted))


def _one(keys: list[Any], epoch: int) -> bytes:
    """What all of them are."""
    found = {public_spki(one) for one in keys}
    if not found:
        raise NotArmed(f"epoch {epoch}: its public key is not here; import a bundle of it")
    if len(found) > 1:
        raise VaultError(f"epoch {epoch}: two public keys are here under this number")
    return found.pop()
