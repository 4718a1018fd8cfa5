"""The key management server's vault: blocks, epochs' pairs and the signing key, sealed in one file.

An epoch issues until it is armed: once its private key was released, no issue bundle of it is made any more.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.errors import VaultError
from kioskd.rekey.bundle import BLOCK_BYTES, BUNDLE_VERSION, BundleContents, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, pem_of, read_transport_key, spki_of
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import RSA_BITS, load_private, make_rsa, seal_bundle
from kioskd.virtual.sealed import Cost, SealedFile

KIND = "kms-vault"


@dataclass(frozen=True, slots=True)
class KmsEpoch:
    """One epoch's keys."""

    krkdb: Secret
    private: Secret  # PKCS#8, DER
    armed: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle that went out."""

    id: bytes
    purpose: BundlePurpose
    generation: int
    epoch: int
    recipient: bytes
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class KmsHoldings:
    """What the key management server holds, in numbers: for its list."""

    fingerprint: bytes
    generations: tuple[int, ...]
    issuing: tuple[int, ...]
    armed: tuple[int, ...]
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """All that the sealed file holds."""

    signing: Secret  # Ed25519, 32 bytes
    blocks: Mapping[int, Secret] = field(default_factory=dict)
    epochs: Mapping[int, KmsEpoch] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()

    def encode(self) -> Secret:
        plain = {
            "signing": self.signing.reveal().hex(),
            "blocks": {str(number): block.reveal().hex() for number, block in self.blocks.items()},
            "epochs": {
                str(number): [one.krkdb.reveal().hex(), one.private.reveal().hex(), one.armed]
                for number, one in self.epochs.items()
            },
            "releases": [
                [r.id.hex(), r.purpose, r.generation, r.epoch, r.recipient.hex(), r.not_before, r.not_after]
                for r in self.releases
            ],
        }
        return Secret(json.dumps(plain).encode())

    @classmethod
    def decode(cls, content: Secret) -> "_Held":
        try:
            plain = json.loads(content.reveal())
            return cls(
                signing=Secret(bytes.fromhex(plain["signing"])),
                blocks={int(number): Secret(bytes.fromhex(text)) for number, text in plain["blocks"].items()},
                epochs={
                    int(number): KmsEpoch(Secret(bytes.fromhex(krkdb)), Secret(bytes.fromhex(private)), armed)
                    for number, (krkdb, private, armed) in plain["epochs"].items()
                },
                releases=tuple(
                    Release(bytes.fromhex(name), BundlePurpose(purpose), gen, epoch, bytes.fromhex(to), start, end)
                    for name, purpose, gen, epoch, to, start, end in plain["releases"]
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise VaultError("the vault's content is of another version") from wrong


class KmsVault:
    """The software vault of the key management server; every change is sealed before it counts."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file

    @classmethod
    def create(cls, path: Path, passphrase: Secret, cost: Cost | None = None) -> "KmsVault":
        """A new vault with a signing key of its own; `VaultError` if the file exists."""
        held = _Held(signing=Secret(Ed25519PrivateKey.generate().private_bytes_raw()))
        return cls(SealedFile.create(path, KIND, passphrase, held.encode(), cost))

    @classmethod
    def open(cls, path: Path, passphrase: Secret) -> "KmsVault":
        """The vault in that file; `VaultError` for a wrong passphrase."""
        return cls(SealedFile.open(path, KIND, passphrase))

    def generate(self) -> int:
        """Makes the master block of the next generation; its number."""
        block = Secret(secrets.token_bytes(BLOCK_BYTES))
        number = 0

        def add(held: _Held) -> _Held:
            nonlocal number
            number = max(held.blocks, default=0) + 1
            return replace(held, blocks={**held.blocks, number: block})

        self._change(add)
        return number

    def new_epoch(self, rsa_bits: int = RSA_BITS) -> int:
        """Makes the replacement block and the RSA pair of the next epoch; its number."""
        epoch = KmsEpoch(Secret(secrets.token_bytes(BLOCK_BYTES)), make_rsa(rsa_bits))
        number = 0

        def add(held: _Held) -> _Held:
            nonlocal number
            number = max(held.epochs, default=0) + 1
            return replace(held, epochs={**held.epochs, number: epoch})

        self._change(add)
        return number

    def release(
        self,
        purpose: BundlePurpose,
        generation: int,
        epoch: int,
        transport: bytes,
        window: tuple[int, int],
        now: int,
        campaign: Campaign | None = None,
    ) -> bytes:
        """The bundle file for the holder of a transport key (PEM); the window is (from, to), seconds since 1970.

        A replace bundle ends the making of issue bundles for its epoch, for ever; that is on disk before the bundle
        leaves; without a campaign it is for one of its own. `VaultError` for what is not held or may not be released,
        `BadConfiguration` for a bad transport key.
        """
        not_before, not_after = window
        if not_after < max(now, not_before):
            raise VaultError("the bundle's window ends before it begins or is over")
        recipient = read_transport_key(transport)
        if purpose is BundlePurpose.REPLACE and campaign is None:
            campaign = Campaign(f"generation-{generation}", generation - 1, generation, (epoch,), *window)
        try:
            header = BundleHeader(
                version=BUNDLE_VERSION,
                id=secrets.token_bytes(16),
                purpose=purpose,
                generation=generation,
                epoch=epoch,
                recipient=fingerprint_of(recipient),
                not_before=not_before,
                not_after=not_after,
                campaign=campaign,
            )
        except ValueError as wrong:
            raise VaultError(f"the bundle cannot be made: {wrong}") from wrong
        note = Release(header.id, purpose, generation, epoch, header.recipient, not_before, not_after)

        def write_down(held: _Held) -> _Held:
            kept = held.epochs.get(epoch)
            if generation not in held.blocks:
                raise VaultError(f"generation {generation}: there is none; make it first")
            if kept is None:
                raise VaultError(f"epoch {epoch}: there is none; make it first")
            if purpose is BundlePurpose.ISSUE and kept.armed:
                raise VaultError(f"epoch {epoch}: was released for replacement; issue under another epoch")
            armed = replace(kept, armed=kept.armed or purpose is BundlePurpose.REPLACE)
            return replace(held, epochs={**held.epochs, epoch: armed}, releases=(*held.releases, note))

        self._change(write_down)
        held = self._held()
        kept = held.epochs[epoch]
        contents = BundleContents(
            mkdb=held.blocks[generation],
            krkdb=kept.krkdb,
            public=spki_of(load_private(kept.private).public_key()),
            private=kept.private if purpose is BundlePurpose.REPLACE else None,
        )
        return seal_bundle(header, contents, recipient, self._signing_key())

    def public_key(self) -> bytes:
        """The key that checks this server's bundles, PEM; an access server pins it."""
        return pem_of(self._signing_key().public_key())

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        held = self._held()
        return KmsHoldings(
            fingerprint=fingerprint_of(self._signing_key().public_key()),
            generations=tuple(sorted(held.blocks)),
            issuing=tuple(sorted(number for number, one in held.epochs.items() if not one.armed)),
            armed=tuple(sorted(number for number, one in held.epochs.items() if one.armed)),
            releases=held.releases,
        )

    def _signing_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._held().signing.reveal())

    def _held(self) -> _Held:
        return _Held.decode(self._file.content())

    def _change(self, edit: Callable[[_Held], _Held]) -> None:
        self._file.change(lambda content: edit(_Held.decode(content)).encode())
