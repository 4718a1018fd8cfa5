"""Every kind of key management server's vault: the software's, and the one on a real token."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kioskd.ports import KmsVault
from kioskd.secret import Secret
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.sealed import Cost
from tests.hsm.kms_tokens import new_token, open_token

PHRASE = Secret(b"correct horse")


@dataclass(frozen=True, slots=True)
class KmsKeeper:
    """A new vault with a signing key alone, and a way to open it as another process would."""

    vault: KmsVault
    again: Callable[[], KmsVault]


def soft(folder: Path) -> KmsKeeper:
    """In a sealed file."""
    file = folder / "kms"
    return KmsKeeper(SoftKms.create(file, PHRASE, Cost(n=2, r=1)), lambda: SoftKms.open(file, PHRASE))


def softhsm2(_: Path) -> KmsKeeper:
    """On a SoftHSM2 token."""
    label = new_token("kms")
    vault = open_token(label)
    vault.prepare()
    return KmsKeeper(vault, lambda: open_token(label))


KMS_KEEPERS: dict[str, Callable[[Path], KmsKeeper]] = {"soft": soft, "softhsm2": softhsm2}
