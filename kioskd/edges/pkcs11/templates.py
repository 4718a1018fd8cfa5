"""What each key in a token may do, and nothing else. False is said aloud: tokens differ in what they assume.

`bounded` keys may be used with one mechanism alone, where the token can hold that to its objects (NSS cannot).
DECRYPT of a private key is True unless it is denied. MODIFIABLE=False goes last: some tokens refuse what follows it.
"""

from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.constants import DEFAULT

Template = dict[Attribute, Any]

_USES = (
    *(Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY),
    *(Attribute.WRAP, Attribute.UNWRAP, Attribute.DERIVE),
)


def _secret(*uses: Attribute, lasting: bool, extractable: bool = False, only: tuple[Mechanism, ...] = ()) -> Template:
    allowed = {Attribute.ALLOWED_MECHANISMS: list(only)} if only else {}
    return {
        **{use: use in uses for use in _USES},
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: extractable,
        Attribute.TOKEN: lasting,
        Attribute.PRIVATE: True,
        **allowed,
    }


def mkdb(*, bounded: bool = True) -> Template:
    """A master block: derives master keys, and is nothing else."""
    return _secret(Attribute.DERIVE, lasting=True, only=(Mechanism.AES_ECB_ENCRYPT_DATA,) if bounded else ())


def krkdb(*, bounded: bool = True) -> Template:
    """A replacement block: computes T_j by CMAC, and is nothing else."""
    return _secret(Attribute.SIGN, lasting=True, only=(Mechanism.AES_CMAC,) if bounded else ())


def rnd(*, trusted: bool = False) -> Template:
    """A card's RND: wrapped to the epoch's public key, derives the KRK, destroyed at once.

    `trusted`: the token wraps it to a key that the security officer has marked, and to no other.
    """
    bound = {Attribute.WRAP_WITH_TRUSTED: True} if trusted else {}
    return _secret(Attribute.DERIVE, lasting=False, extractable=True) | bound


def recovered_rnd() -> Template:
    """RND out of a cryptogram: only derives."""
    return _secret(Attribute.DERIVE, lasting=False)


def card_key() -> Template:
    """A member of a KRK or master set: proves the card, derives session keys, is put under another DEK, or is one."""
    uses = (Attribute.SIGN, Attribute.ENCRYPT, Attribute.DERIVE, Attribute.WRAP)
    return _secret(*uses, lasting=False, extractable=True)


def factory_key() -> Template:
    """A member of a factory set: as a card key, but it stays and never leaves."""
    return _secret(Attribute.SIGN, Attribute.ENCRYPT, Attribute.DERIVE, Attribute.WRAP, lasting=True)


def session_key() -> Template:
    """S-ENC, S-MAC or S-RMAC: extractable only to be wrapped under the journal key."""
    return _secret(Attribute.SIGN, Attribute.ENCRYPT, Attribute.DECRYPT, lasting=False, extractable=True)


def opened_session_key() -> Template:
    """A session key out of an intent, to check responses."""
    return _secret(Attribute.SIGN, Attribute.ENCRYPT, Attribute.DECRYPT, lasting=False)


def des_card_key() -> Template:
    """A member of a 3DES KRK or master set: derives session keys, computes its check value, is put under an S-DEK."""
    return _secret(Attribute.ENCRYPT, Attribute.DERIVE, lasting=False, extractable=True)


def des_factory_key() -> Template:
    """A member of a 3DES factory set: as a card key, but it stays and never leaves."""
    return _secret(Attribute.ENCRYPT, Attribute.DERIVE, lasting=True)


def des_session_key() -> Template:
    """SCP02's S-ENC, S-MAC or S-RMAC: extractable only to be wrapped under the journal key."""
    return _secret(Attribute.ENCRYPT, lasting=False, extractable=True)


def des_session_dek() -> Template:
    """SCP02's S-DEK: wraps the keys that are put, and is nothing else."""
    return _secret(Attribute.WRAP, lasting=False)


def des_opened_session_key() -> Template:
    """S-RMAC out of an intent, to check responses."""
    return _secret(Attribute.ENCRYPT, lasting=False)


def journal_wrap(*, bounded: bool = True) -> Template:
    """Wraps the session keys that an intent keeps."""
    return _secret(Attribute.WRAP, Attribute.UNWRAP, lasting=True, only=(Mechanism.AES_KEY_WRAP,) if bounded else ())


def journal_mac(*, bounded: bool = True) -> Template:
    """Binds the wrapped session keys to their level and lengths."""
    return _secret(Attribute.SIGN, lasting=True, only=(Mechanism.AES_CMAC,) if bounded else ())


def kek() -> Template:
    """A bundle's key: unwraps what is in it."""
    return _secret(Attribute.UNWRAP, lasting=False)


UNREADABLE: Template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
"""What every key that a private key unwraps must be: the token refuses another template, whoever asks."""


def unwrapping_private(*, lasting: bool = True, bounded: bool = True) -> Template:
    """The transport key or an epoch's private key: unwraps by OAEP what stays unreadable, and is nothing else."""
    bound = {Attribute.UNWRAP_TEMPLATE: UNREADABLE} if bounded else {}
    return {
        **bound,
        **dict.fromkeys((Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP), DEFAULT),
        Attribute.DECRYPT: False,
        Attribute.SIGN: False,
        Attribute.UNWRAP: True,
        Attribute.DERIVE: DEFAULT,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.TOKEN: lasting,
        Attribute.PRIVATE: True,
    }


def wrapping_public(label: str, modulus: bytes, exponent: bytes) -> Template:
    """An epoch's public key: wraps RND."""
    return {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.LABEL: label,
        Attribute.MODULUS: modulus,
        Attribute.PUBLIC_EXPONENT: exponent,
        Attribute.WRAP: True,
        Attribute.ENCRYPT: False,
        Attribute.VERIFY: False,
        Attribute.TOKEN: True,
    }


def transferred_block() -> Template:
    """MKDB or KRKDB where it is made: extractable, since transfer wraps it; no other use."""
    return _secret(lasting=True, extractable=True)


def transferred_private() -> Template:
    """An epoch's private key where it is made: extractable for transfer; no other use."""
    return unwrapping_private(bounded=False) | {Attribute.UNWRAP: False, Attribute.EXTRACTABLE: True}


def signing_private() -> Template:
    """The key management server's signing key: signs, never leaves."""
    denied = {Attribute.DECRYPT: False, Attribute.UNWRAP: False, Attribute.DERIVE: False}
    kept = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    return {Attribute.SIGN: True, **denied, **kept}


def sending_kek() -> Template:
    """A bundle's key at its sender: wraps the keys, and is wrapped to the recipient."""
    return _secret(Attribute.WRAP, lasting=False, extractable=True)


def transport_public(modulus: bytes, exponent: bytes) -> Template:
    """A recipient's transport key, for one bundle."""
    return wrapping_public("recipient", modulus, exponent) | {Attribute.TOKEN: False}
