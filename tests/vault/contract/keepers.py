"""Whoever may put keys into a vault, for each vault that there is: the software's, and those on real tokens."""

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.edges.pkcs11.open_vault import make_token, open_vault, set_first_pin
from kioskd.edges.pkcs11.token import Token
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.gp.cplc import CardId
from kioskd.ports import Vault
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleContents, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, pem_of, read_transport_key
from kioskd.rekey.labels import KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import make_p256, seal_bundle
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

VECTORS = Path(__file__).parents[2] / "vectors"
FIGURES: dict[str, Any] = json.loads((VECTORS / "derivation.json").read_text())
EPOCH, P256_EPOCH, GENERATION, PHRASE = 3, 4, 7, Secret(b"correct horse")
HOST = bytes.fromhex(FIGURES["host_challenge"])
FACTORY = (b"E" * 16, b"M" * 16, b"D" * 16)
CARD = CardId("cplc", bytes.fromhex("47905A40DEAD12345678"))
KRK = KeyLabel("KRK", EPOCH, 1, "gp-scp03-aes128", 0x3E, CARD)
MASTER = KeyLabel("MK", GENERATION, 2, "gp-scp03-aes128", 0x37, CARD)


class Keeper(Protocol):
    """Whoever may put keys into a vault."""

    @property
    def vault(self) -> Vault:
        """The vault."""
        ...

    def stock(self, purpose: BundlePurpose, epoch: int = EPOCH) -> None:
        """Brings in the frozen figures' keys: epoch 3 (RSA) or 4 (P-256) and generation 7, to issue or to replace."""
        ...

    def stock_foreign_pair(self) -> None:
        """Brings in a replace bundle of epoch 4 whose private key is not that of its public key."""
        ...

    def end_issue(self) -> None:
        """Ends issuing under epoch 3."""
        ...

    def again(self) -> Vault:
        """The same vault, opened by another process."""
        ...


@cache
def fresh_vault_file() -> bytes:
    """A new software vault as its file: one for all tests, since its RSA pair takes long to make."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vault"
        SoftVault.create(path, PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
        return path.read_bytes()


def frozen_bundle(
    transport: bytes, purpose: BundlePurpose, number: int, epoch: int, other: Secret | None = None
) -> tuple[bytes, bytes]:
    """A bundle of the frozen figures' keys for a transport key (PEM), and the key that checks it (PEM).

    With `other`, a private key, PKCS#8, in the place of the epoch's own.
    """
    private = (VECTORS / ("epoch-key.pem" if epoch == EPOCH else "epoch-key-p256.pem")).read_bytes()
    key = serialization.load_pem_private_key(private, password=None)
    der = serialization.Encoding.DER
    public = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    pkcs8 = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = BundleContents(
        mkdb=Secret(bytes.fromhex(FIGURES["mkdb"])),
        krkdb=Secret(bytes.fromhex(FIGURES["krkdb"])),
        public=public,
        private=(other or Secret(pkcs8)) if purpose is BundlePurpose.REPLACE else None,
    )
    signing = Ed25519PrivateKey.generate()
    recipient = read_transport_key(transport)
    name = number.to_bytes(16)
    campaign = Campaign("leak", 1, GENERATION, (epoch,), 0, 10) if purpose is BundlePurpose.REPLACE else None
    to = fingerprint_of(recipient)
    header = BundleHeader(BUNDLE_VERSION, name, purpose, GENERATION, epoch, to, 0, 10, campaign)
    return seal_bundle(header, contents, recipient, signing), pem_of(signing.public_key())


class SoftKeeper:
    """Keeps a software vault, with the factory set FACTORY under the name `factory`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "vault"
        self._bundles = 0
        write_private(self._path, fresh_vault_file())
        self.vault = SoftVault.open(self._path, PHRASE)
        self.vault.add_factory_set("factory", KeyValues(*(Secret(value) for value in FACTORY)))

    def stock(self, purpose: BundlePurpose, epoch: int = EPOCH) -> None:
        """By a bundle, as in the field."""
        self._bundles += 1
        bundle, kms = frozen_bundle(self.vault.transport_key(), purpose, self._bundles, epoch)
        self.vault.import_bundle(bundle, kms, now=5)

    def stock_foreign_pair(self) -> None:
        """By a bundle that only a bad key management server makes."""
        bundle, kms = frozen_bundle(self.vault.transport_key(), BundlePurpose.REPLACE, 99, P256_EPOCH, make_p256())
        self.vault.import_bundle(bundle, kms, now=5)

    def end_issue(self) -> None:
        """As told by its keeper."""
        self.vault.end_issue(EPOCH)

    def again(self) -> Vault:
        """From the sealed file."""
        return SoftVault.open(self._path, PHRASE)


SOFTHSM, NSS = "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"
PIN, SO_PIN = Secret(b"1234-user"), Secret(b"5678-officer")
_numbers = count(1)


@cache
def softhsm_configuration() -> str:
    """SoftHSM2's own file, with a folder of tokens that ends with this process: a module is set up once a process."""
    folder = Path(tempfile.mkdtemp(prefix="kioskd-softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir(mode=0o700)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    return str(configuration)


class TokenKeeper:
    """Keeps a vault in a new SoftHSM2 token, with the factory set FACTORY under the name `factory`."""

    def __init__(self, folder: Path) -> None:
        self._label = f"vault-{os.getpid()}-{next(_numbers)}"
        self._bundles = 0
        make_token(SOFTHSM, self._label, SO_PIN, PIN, configuration=softhsm_configuration())
        self.vault: TokenVault = self._open()
        self.vault.prepare(rsa_bits=2048)
        self.vault.add_factory_set("factory", tuple(Secret(value) for value in FACTORY))

    def _open(self) -> TokenVault:
        return open_vault(SOFTHSM, self._label, PIN, configuration=softhsm_configuration())

    def stock(self, purpose: BundlePurpose, epoch: int = EPOCH) -> None:
        """By a bundle, as in the field."""
        self._bundles += 1
        bundle, kms = frozen_bundle(self.vault.transport_key(), purpose, self._bundles, epoch)
        self.vault.import_bundle(bundle, kms, now=5)

    def stock_foreign_pair(self) -> None:
        """By a bundle that only a bad key management server makes."""
        bundle, kms = frozen_bundle(self.vault.transport_key(), BundlePurpose.REPLACE, 99, P256_EPOCH, make_p256())
        self.vault.import_bundle(bundle, kms, now=5)

    def end_issue(self) -> None:
        """As told by its keeper."""
        self.vault.end_issue(EPOCH)

    def again(self) -> Vault:
        """Another vault on the same token."""
        return self._open()


@cache
def nss_parameters() -> str:
    """NSS with a database that ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="kioskd-nss-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"configDir='sql:{folder}' certPrefix='' keyPrefix='' secmod='secmod.db' dbTokenDescription='{NSS_LABEL}'"


NSS_LABEL = "kioskd NSS"


class NssKeeper(TokenKeeper):
    """Keeps a vault in NSS's only token, emptied first."""

    def __init__(self, folder: Path) -> None:
        self._bundles = 0
        prepare_nss()
        self.vault = self._open()
        self.vault.prepare(rsa_bits=2048)
        self.vault.add_factory_set("factory", tuple(Secret(value) for value in FACTORY))

    def _open(self) -> TokenVault:
        return open_vault(NSS, NSS_LABEL, PIN, nss_parameters())


def prepare_nss() -> None:
    """Sets NSS's PIN once, and takes every object away."""
    set_first_pin(NSS, NSS_LABEL, Secret(b""), PIN, nss_parameters())
    token = Token(NSS, NSS_LABEL, PIN, nss_parameters(), "")
    for one in list(token.session.get_objects()):
        one.destroy()


KEEPERS: dict[str, Callable[[Path], Keeper]] = {"soft": SoftKeeper, "softhsm2": TokenKeeper, "nss": NssKeeper}
