"""The access server, but each key set that it makes can be read, and is kept: the scan must find that."""

import sys
from typing import Any

from pkcs11 import Attribute

from kioskd.access.cli import main
from kioskd.edges.pkcs11 import card_sets, templates

_KEPT: list[bytes] = []
_card_key = templates.card_key


def _readable() -> templates.Template:
    return _card_key() | {Attribute.SENSITIVE: False}


def _derived(key: Any, data: bytes, bits: int, algorithm: str) -> Any:
    made = _honest(key, data, bits, algorithm)
    _KEPT.append(bytes(made[Attribute.VALUE]))
    return made


if __name__ == "__main__":
    templates.card_key = _readable
    _honest = card_sets.derived
    card_sets.derived = _derived
    sys.exit(main(sys.argv[1:]))
