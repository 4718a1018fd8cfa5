"""Vaults on every kind of token with keys that the test knows, and cards issued and replaced with them in process."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.edges.campaigns import arm
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.ports import KeptVault
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleContents, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, pem_of, read_point, read_transport_key, spki_of
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import KeyLabel
from kioskd.rekey.profile import DEFAULT_PROFILE, Profile
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import OAEP, load_pair, make_p256, make_rsa, seal_bundle
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.rig import Rig
from tests.vault.contract.keepers import FACTORY, KEEPERS

CAMPAIGN = Campaign("leak", 1, 2, (1,), 0, 2**40)
MKDB = {1: b"master block, generation 1......", 2: b"master block, generation 2......"}
KRKDB = b"replacement block of epoch 1...."
NOW = 1000

Recomputed = dict[str, list[str]]


RSA_2048, P256 = "RSA-2048", "P-256"


@cache
def epoch_pair(pair: str = RSA_2048) -> Secret:
    """An epoch's pair by its name: one for all tests, since it may take long to make."""
    return make_p256() if pair == P256 else make_rsa(int(pair.removeprefix("RSA-")))


def opened_rnd(cryptogram: bytes, pair: str = RSA_2048) -> bytes:
    """The RND of a cryptogram."""
    key = load_pair(epoch_pair(pair))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.exchange(ec.ECDH(), read_point(cryptogram))
    return key.decrypt(cryptogram, OAEP)


@cache
def kms() -> Ed25519PrivateKey:
    """The key management server's signing key."""
    return Ed25519PrivateKey.generate()


def bring(vault: KeptVault, purpose: BundlePurpose, generation: int, pair: str = RSA_2048) -> None:
    """Has the vault take in the known keys by a bundle."""
    bundle = known_bundle(vault.transport_key(), purpose, generation, NOW, pair=pair)
    vault.import_bundle(bundle, pem_of(kms().public_key()), NOW)


def known_bundle(
    transport: bytes,
    purpose: BundlePurpose,
    generation: int,
    now: int | None,
    epoch: int = 1,
    pair: str = RSA_2048,
) -> bytes:
    """A bundle of the known keys for a transport key (PEM); its window is around `now`, or open for ever."""
    arming = purpose is BundlePurpose.REPLACE
    private = epoch_pair(pair)
    public = spki_of(load_pair(private).public_key())
    contents = BundleContents(Secret(MKDB[generation]), Secret(KRKDB), public, private if arming else None)
    recipient = read_transport_key(transport)
    name, to = epoch.to_bytes(8) + generation.to_bytes(8), fingerprint_of(recipient)
    window = (0, 2 * now if now is not None else 2**40)
    campaign = replace(CAMPAIGN, epochs=(epoch,)) if arming else None
    header = BundleHeader(BUNDLE_VERSION, name, purpose, generation, epoch, to, *window, campaign)
    return seal_bundle(header, contents, recipient, kms())


def empty_vault(kind: str, folder: Path) -> KeptVault:
    """A vault of that kind with a factory set and no other keys."""
    folder.mkdir()
    vault: KeptVault = KEEPERS[kind](folder).vault  # type: ignore[assignment]
    return vault


@dataclass
class House:
    """One card's store, journal and memory; vaults come and go."""

    folder: Path
    fresh: bool = True  # a new card gets the keepers' factory set
    card_file: str = "card.json"
    pair: str = RSA_2048
    factory: tuple[bytes, ...] = FACTORY
    options: CardOptions = field(default_factory=CardOptions)
    profile: Profile = DEFAULT_PROFILE
    card: VirtualCard = field(init=False)
    store: SqlStore = field(init=False)
    journal: SqliteJournal = field(init=False)

    def __post_init__(self) -> None:
        self.card = VirtualCard(self.folder / self.card_file, self.options)
        if self.fresh:
            factory = self.card.memory.at(0xFF)
            assert factory is not None
            enc, mac, dek = self.factory
            self.card.memory = self.card.memory.having(replace(factory, enc=enc, mac=mac, dek=dek))
        self.store = SqlStore(f"sqlite:///{self.folder}/access.db")
        self.journal = SqliteJournal(self.folder / "journal.db")

    def rig(self, vault: KeptVault, hold: Callable[[Any], Any] = lambda contact: contact) -> Rig:
        """The card with that vault behind the server."""
        return Rig(self.card, vault, self.store, self.journal, hold=hold, profile=self.profile)

    async def issue(self, vault: KeptVault) -> str:
        """Issues the card under epoch 1, generation 1; the outcome."""
        return await self.rig(vault).tap("issue")

    async def replace(self, vault: KeptVault) -> str:
        """Replaces its master set by that of generation 2; the outcome."""
        await self.store.run(lambda connection: arm(connection, CAMPAIGN), BEGIN_WRITING)
        return await self.rig(vault).tap()

    async def close(self) -> None:
        """Ends store and journal."""
        self.store.close()
        await self.journal.close()

    async def recomputed(self) -> Recomputed:
        """What another program computes from the blocks, the private key and the stored cryptogram."""
        state = await self.rig(None).state()  # type: ignore[arg-type]
        assert state.closed is not None
        krk, master = state.closed.krk, state.closed.master
        private = load_pair(epoch_pair(self.pair)).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        subject = Subject(self.rig(None).card_id(), self.profile)  # type: ignore[arg-type]
        given = {
            "mkdb": MKDB[master.generation].hex(),
            "krkdb": KRKDB.hex(),
            "private": private.decode(),
            "cryptogram": krk.value.hex(),
            "krk": _plain(subject.krk_label(krk.epoch, krk.install, krk.kvn)),
            "master": _plain(subject.master_label(master)),
        }
        return await asyncio.to_thread(_run, given)

    def on_card(self, kvn: int) -> list[str]:
        """The key values in the card's memory."""
        stored = self.card.memory.at(kvn)
        assert stored is not None
        return [stored.enc.hex(), stored.mac.hex(), stored.dek.hex()]


def _run(given: dict[str, Any]) -> Recomputed:
    command = [sys.executable, "-I", str(Path(__file__).with_name("recompute.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, timeout=30)
    found: Recomputed = json.loads(done.stdout)
    return found


def _plain(label: KeyLabel) -> dict[str, Any]:
    return {
        "kind": label.kind,
        "number": label.number,
        "install": label.install,
        "profile": label.profile,
        "kvn": label.kvn,
        "algorithm": label.algorithm,
        "bits": label.bits,
        "id_kind": label.card.kind,
        "id": label.card.value.hex(),
    }
