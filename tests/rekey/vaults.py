"""Vaults for attacks: one KMS with many generations, made once, and access vaults in the states that it leads to."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from kioskd.kms.release import release
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

GENERATIONS = 30
EPOCHS = 3

_PASSPHRASE = Secret(b"for tests only")
_CHEAP = Cost(n=2, r=1, p=1)
_NOW = 1_800_000_000


class Keys:
    """A vault whose cryptograms are opened once: RSA would be most of the time of these runs."""

    def __init__(self, vault: SoftVault) -> None:
        self._vault = vault
        self._opened: dict[bytes, KeyHandle] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vault, name)

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set; its handle is kept."""
        if cryptogram.value not in self._opened:
            self._opened[cryptogram.value] = self._vault.recover_krk(cryptogram, label)
        return self._opened[cryptogram.value]

    def forget(self, handles: tuple[int, ...]) -> None:
        """All but the kept ones."""
        kept = set(self._opened.values())
        self._vault.forget(tuple(one for one in handles if one not in kept))

    def values(self, handle: KeyHandle) -> tuple[bytes, ...]:
        """A key set in the clear: only a test looks."""
        return tuple(one.reveal() for one in self._vault._set(handle))


@functools.cache
def _kms() -> tuple[Path, SoftKms, dict[int, Keys]]:
    """One KMS with many generations, and access vaults that issue generation 1 and generation 2 under epoch 1."""
    folder = Path(tempfile.mkdtemp(prefix="kioskd-world-"))
    kms = SoftKms.create(folder / "kms", _PASSPHRASE, _CHEAP)
    for _ in range(GENERATIONS):
        kms.generate()
    for _ in range(EPOCHS):
        kms.new_epoch(rsa_bits=2048)
    vault = SoftVault.create(folder / "issuing-1", _PASSPHRASE, cost=_CHEAP, rsa_bits=2048)
    factory = Secret(bytes(range(0x40, 0x50)))
    vault.add_factory_set("factory", KeyValues(factory, factory, factory))
    _bring(kms, vault, BundlePurpose.ISSUE, 1)
    shutil.copy(folder / "issuing-1", folder / "issuing-2")
    second = SoftVault.open(folder / "issuing-2", _PASSPHRASE)
    _bring(kms, second, BundlePurpose.ISSUE, 2)
    atexit.register(shutil.rmtree, folder)
    return folder, kms, {1: Keys(vault), 2: Keys(second)}


def _bring(kms: SoftKms, vault: SoftVault, purpose: BundlePurpose, generation: int, epoch: int = 1) -> None:
    raw = release(kms, purpose, generation, epoch, vault.transport_key(), (_NOW - 60, _NOW + 60), _NOW)
    vault.import_bundle(raw, kms.public_key(), _NOW)


def issuing(generation: int = 1) -> Keys:
    """The access server's vault while it issues that generation: 1 or 2."""
    return _kms()[2][generation]


@functools.cache
def armed(generation: int = 2) -> Keys:
    """The access server's vault, armed to replace with that generation; it has had the ones before it."""
    folder, kms, _ = _kms()
    path = folder / f"armed-{generation}"
    if generation > 2:
        armed(generation - 1)
    shutil.copy(folder / ("issuing-1" if generation == 2 else f"armed-{generation - 1}"), path)
    vault = SoftVault.open(path, _PASSPHRASE)
    _bring(kms, vault, BundlePurpose.REPLACE, generation)
    return Keys(vault)


def _brought(name: str, source: str, *bundles: tuple[BundlePurpose, int, int]) -> Keys:
    """A copy of a vault's file, and what else came to it: (purpose, generation, epoch)."""
    folder, kms, _ = _kms()
    shutil.copy(folder / source, folder / name)
    vault = SoftVault.open(folder / name, _PASSPHRASE)
    for purpose, generation, epoch in bundles:
        _bring(kms, vault, purpose, generation, epoch)
    return Keys(vault)


@functools.cache
def rotating(epoch: int) -> Keys:
    """The access server's vault, armed for an epoch with the generation after it; the next epoch issues."""
    if epoch > 1:
        rotating(epoch - 1)
    source = "issuing-1" if epoch == 1 else f"rotating-{epoch - 1}"
    arm, issue = (BundlePurpose.REPLACE, epoch + 1, epoch), (BundlePurpose.ISSUE, epoch + 1, epoch + 1)
    return _brought(f"rotating-{epoch}", source, issue, arm)


@functools.cache
def both() -> Keys:
    """The access server's vault, armed for epochs 1 and 2 with generation 3."""
    rotating(EPOCHS - 1)
    arms = tuple((BundlePurpose.REPLACE, 3, epoch) for epoch in (1, 2))
    return _brought("both", "rotating-1", *arms)


@functools.cache
def everything() -> Keys:
    """A vault that every epoch's private key came to: for tests that look at what a card has."""
    rotating(EPOCHS - 1)  # the key management server releases no issuing keys afterwards
    arms = tuple((BundlePurpose.REPLACE, GENERATIONS, epoch) for epoch in range(1, EPOCHS + 1))
    return _brought("everything", "issuing-1", *arms)
