"""Notes in a token: what is known of its keys, no keys. A data object each; in NSS, which keeps none, a useless key."""

from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass

from kioskd.edges.pkcs11.token import Token

_APPLICATION = "kioskd"
_NOTE = "note: "

_USELESS = {
    **dict.fromkeys((Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.SIGN, Attribute.VERIFY), False),
    **dict.fromkeys((Attribute.WRAP, Attribute.UNWRAP, Attribute.DERIVE, Attribute.EXTRACTABLE), False),
    Attribute.SENSITIVE: True,
}


def notes(token: Token, prefix: str) -> tuple[tuple[str, bytes], ...]:
    """The notes whose label begins so."""
    kind, value = _form(token)
    found = ((one[Attribute.LABEL], one) for one in token.objects(kind))
    named = ((label.removeprefix(_NOTE), one) for label, one in found if label.startswith(_NOTE + prefix))
    return tuple((label, bytes(one[value])) for label, one in named)


def note(token: Token, label: str, content: bytes) -> None:
    """Writes a note; the older one of that label is taken away afterwards, so there is always one."""
    kind, value = _form(token)
    wanted = {**kind, Attribute.LABEL: _NOTE + label}
    before = token.objects(wanted)
    if token.bounded:
        made = {**wanted, value: content, Attribute.TOKEN: True, Attribute.PRIVATE: True}
        token.session.create_object(made)
    else:
        token.session.generate_key(KeyType.AES, 128, store=True, label=_NOTE + label, id=content, template=_USELESS)
    for one in before:
        one.destroy()


def _form(token: Token) -> tuple[dict[Attribute, Any], Attribute]:
    """What a note is, and which attribute has its content: in NSS the id of a key that may do nothing."""
    if token.bounded:
        return {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: _APPLICATION}, Attribute.VALUE
    return {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}, Attribute.ID
