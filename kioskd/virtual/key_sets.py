"""The software vault's key sets: minted, recovered, derived or from the factory, each behind a handle."""

import secrets
from itertools import count

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kioskd.errors import VaultError
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.bundle_check import load_public, read_point
from kioskd.rekey.labels import Cryptogram, KeyLabel, agreed_rnd, check_cryptogram, sealed_rnd
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import OAEP, Pair, load_pair
from kioskd.virtual.custody import Custody
from kioskd.virtual.derivation import RND_BYTES, KeyValues, factory_values, krk_values, master_values
from kioskd.virtual.sealed import SealedFile


class KeySets(Custody):
    """Makes key sets from what is in custody; they live in memory until they are forgotten."""

    def __init__(self, file: SealedFile) -> None:
        super().__init__(file)
        self._numbers = count(1)
        self._sets: dict[int, KeyValues] = {}
        self._loaded: tuple[Secret, Pair] | None = None

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A new replacement key set; `NotArmed` unless the epoch issues here."""
        krkdb, spki = self._held().issuing(label.number)
        public = load_public(spki)
        if isinstance(public, rsa.RSAPublicKey):
            rnd = Secret(self._random(RND_BYTES))
            cryptogram = sealed_rnd(label, public.encrypt(rnd.reveal(), OAEP))
        else:
            ephemeral = self._ephemeral()
            rnd = Secret(ephemeral.exchange(ec.ECDH(), public))
            point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            cryptogram, label = agreed_rnd(label, point)
        return self._keep(krk_values(krkdb, rnd, label)), cryptogram

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set of a cryptogram; `NotArmed` unless the epoch is armed here."""
        krkdb, private = self._held().armed(label.number)
        pair = self._ready(private)
        check_cryptogram(cryptogram, label, curve=not isinstance(pair, rsa.RSAPrivateKey))
        if not isinstance(pair, rsa.RSAPrivateKey):
            rnd = Secret(pair.exchange(ec.ECDH(), read_point(cryptogram.value)))
            return self._keep(krk_values(krkdb, rnd, agreed_rnd(label, cryptogram.value)[1]))
        try:
            rnd = Secret(pair.decrypt(cryptogram.value, OAEP))
        except ValueError as wrong:
            raise VaultError(f"the cryptogram does not open with the private key of epoch {label.number}") from wrong
        return self._keep(krk_values(krkdb, rnd, label))

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master key set; `NotArmed` without the generation's block."""
        return self._keep(master_values(self._held().block(label.number), label))

    def factory_set(self, name: str, kdd: bytes = b"") -> KeyHandle:
        """The factory key set of that name, for that card if it is diversified; `NotArmed` without it."""
        return self._keep(factory_values(self._held().factory_set(name), kdd))

    def _ready(self, private: Secret) -> Pair:
        """An epoch's key, loaded once: OpenSSL's first use of a key takes longer than the decryption."""
        if self._loaded is None or self._loaded[0] is not private:
            self._loaded = (private, load_pair(private))
        return self._loaded[1]

    def _random(self, size: int) -> bytes:
        """Fresh random bytes; a simulation has its own."""
        return secrets.token_bytes(size)

    def _ephemeral(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

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
