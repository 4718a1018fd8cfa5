"""The software vault's key sets: minted, recovered, derived or from the factory, each behind a handle."""

import secrets
from itertools import count

from cryptography.hazmat.primitives.asymmetric import rsa

from kioskd.errors import VaultError
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.bundle_check import load_public
from kioskd.rekey.labels import SCHEME, Cryptogram, KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import OAEP, OAEP_HASH, load_private
from kioskd.virtual.custody import Custody
from kioskd.virtual.derivation import RND_BYTES, KeyValues, krk_values, master_values
from kioskd.virtual.sealed import SealedFile


class KeySets(Custody):
    """Makes key sets from what is in custody; they live in memory until they are forgotten."""

    def __init__(self, file: SealedFile) -> None:
        super().__init__(file)
        self._numbers = count(1)
        self._sets: dict[int, KeyValues] = {}
        self._loaded: tuple[Secret, rsa.RSAPrivateKey] | None = None

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A new replacement key set; `NotArmed` unless the epoch issues here."""
        krkdb, public = self._held().issuing(label.number)
        rnd = Secret(secrets.token_bytes(RND_BYTES))
        values = krk_values(krkdb, rnd, label)
        value = load_public(public).encrypt(rnd.reveal(), OAEP)
        return self._keep(values), Cryptogram(SCHEME, label.number, OAEP_HASH, label.kvn, label.install, value)

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set of a cryptogram; `NotArmed` unless the epoch is armed here."""
        if (cryptogram.scheme, cryptogram.oaep) != (SCHEME, OAEP_HASH):
            raise VaultError(f"a cryptogram of scheme {cryptogram.scheme}, {cryptogram.oaep}: not known here")
        if (cryptogram.epoch, cryptogram.kvn, cryptogram.install) != (label.number, label.kvn, label.install):
            raise VaultError("the cryptogram is that of another key set than the label")
        krkdb, private = self._held().armed(label.number)
        try:
            rnd = Secret(self._ready(private).decrypt(cryptogram.value, OAEP))
        except ValueError as wrong:
            raise VaultError(f"the cryptogram does not open with the private key of epoch {label.number}") from wrong
        return self._keep(krk_values(krkdb, rnd, label))

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master key set; `NotArmed` without the generation's block."""
        return self._keep(master_values(self._held().block(label.number), label))

    def factory_set(self, name: str) -> KeyHandle:
        """The factory key set of that name; `NotArmed` without it."""
        return self._keep(self._held().factory_set(name))

    def _ready(self, private: Secret) -> rsa.RSAPrivateKey:
        """An epoch's key, loaded once: OpenSSL's first use of a key takes longer than the decryption."""
        if self._loaded is None or self._loaded[0] is not private:
            self._loaded = (private, load_private(private))
        return self._loaded[1]

    def _next(self) -> int:
        """A handle that never was: key sets and channels share one numbering."""
        return next(self._numbers)

    def _keep(self, values: KeyValues) -> KeyHandle:
        number = self._next()
        self._sets[number] = values
        return KeyHandle(number)

    def _set(self, handle: KeyHandle) -> KeyValues:
        if handle not in self._sets:
            raise VaultError(f"key set {handle} is not known, or was forgotten")
        return self._sets[handle]
