"""Key management servers on new SoftHSM2 tokens."""

import os
from itertools import count

from kioskd.edges.pkcs11.kms import TokenKms
from kioskd.edges.pkcs11.open_vault import make_token, open_kms
from tests.vault.contract.keepers import PIN, SO_PIN, SOFTHSM, softhsm_configuration

_numbers = count(1)


def new_token(kind: str) -> str:
    """A new token's label."""
    label = f"{kind}-{os.getpid()}-{next(_numbers)}"
    make_token(SOFTHSM, label, SO_PIN, PIN, configuration=softhsm_configuration())
    return label


def open_token(label: str) -> TokenKms:
    """The key management server on the token of that label."""
    return open_kms(SOFTHSM, label, PIN, configuration=softhsm_configuration())


def kms_token() -> TokenKms:
    """A key management server's token, with a signing key alone."""
    kms = open_token(new_token("kms"))
    kms.prepare()
    return kms
