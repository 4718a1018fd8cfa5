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
from kioskd.rekey.bundle import BLOCK_BYTES, BundleContents, BundleHeader, BundlePurpose
from kioskd.rekey.bundle_check import fingerprint_of, pem_of, read_transport_key, spki_of
from kioskd.rekey.master_bundle import MasterHeader
from kioskd.rekey.release import KmsHoldings, Release, check_destroy, check_release, check_share
from kioskd.rekey.transcript import BEGINNING
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import RSA_BITS, load_pair, make_p256, make_rsa, seal_bundle, seal_master
from kioskd.virtual.sealed import Cost, SealedFile

KIND = "kms-vault"


@dataclass(frozen=True, slots=True)
class KmsEpoch:
    """One epoch's keys."""

    krkdb: Secret
    private: Secret  # PKCS#8, DER
    armed: bool = False


@dataclass(frozen=True, slots=True)
class _Held:
    """All that the sealed file holds."""

    signing: Secret  # Ed25519, 32 bytes
    blocks: Mapping[int, Secret] = field(default_factory=dict)
    epochs: Mapping[int, KmsEpoch] = field(default_factory=dict)
    releases: tuple[Release, ...] = ()
    head: tuple[int, bytes] = (0, BEGINNING)
    destroyed: tuple[int, ...] = ()

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
            "head": [self.head[0], self.head[1].hex()],
            "destroyed": list(self.destroyed),
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
                head=(int(plain["head"][0]), bytes.fromhex(plain["head"][1])),
                destroyed=tuple(int(one) for one in plain["destroyed"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise VaultError("the vault's content is of another version") from wrong


class SoftSigner:
    """The signing key in the sealed file, and the note of the transcript's newest entry beside it."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file

    def sign(self, text: bytes) -> bytes:
        """An Ed25519 signature by this server's signing key."""
        return self._signing_key().sign(text)

    def head(self) -> tuple[int, bytes]:
        """The number and digest of the transcript's newest entry, as far as this vault was told."""
        return self._held().head

    def remember_head(self, number: int, digest: bytes) -> None:
        """Notes the transcript's newest entry."""
        self._change(lambda held: replace(held, head=(number, digest)))

    def public_key(self) -> bytes:
        """The key that checks this server's bundles, PEM; an access server pins it."""
        return pem_of(self._signing_key().public_key())

    def _signing_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self._held().signing.reveal())

    def _held(self) -> _Held:
        return _Held.decode(self._file.content())

    def _change(self, edit: Callable[[_Held], _Held]) -> None:
        self._file.change(lambda content: edit(_Held.decode(content)).encode())


class SoftKms(SoftSigner):
    """`ports.KmsVault` in a sealed file; every change is sealed before it counts."""

    @classmethod
    def create(cls, path: Path, passphrase: Secret, cost: Cost | None = None) -> "SoftKms":
        """A new vault with a signing key of its own; `VaultError` if the file exists."""
        held = _Held(signing=Secret(Ed25519PrivateKey.generate().private_bytes_raw()))
        return cls(SealedFile.create(path, KIND, passphrase, held.encode(), cost))

    @classmethod
    def open(cls, path: Path, passphrase: Secret) -> "SoftKms":
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
        return self._add_epoch(make_rsa(rsa_bits))

    def new_p256_epoch(self) -> int:
        """Makes the replacement block and the P-256 pair of the next epoch; its number."""
        return self._add_epoch(make_p256())

    def _add_epoch(self, private: Secret) -> int:
        epoch = KmsEpoch(Secret(secrets.token_bytes(BLOCK_BYTES)), private)
        number = 0

        def add(held: _Held) -> _Held:
            nonlocal number
            number = max((*held.epochs, *held.destroyed), default=0) + 1
            return replace(held, epochs={**held.epochs, number: epoch})

        self._change(add)
        return number

    def note_release(self, note: Release) -> None:
        """Writes a release down; `VaultError` for what is not held, or may not be released any more."""

        def write_down(held: _Held) -> _Held:
            if note.purpose is BundlePurpose.SHARE:
                check_share(note.generation, note.generation in held.blocks)
                return replace(held, releases=(*held.releases, note))
            kept = held.epochs.get(note.epoch)
            ended = kept is not None and kept.armed and note.purpose is BundlePurpose.ISSUE
            check_release(note.generation, note.epoch, note.generation in held.blocks, kept is not None, ended)
            assert kept is not None
            armed = replace(kept, armed=kept.armed or note.purpose is BundlePurpose.REPLACE)
            return replace(held, epochs={**held.epochs, note.epoch: armed}, releases=(*held.releases, note))

        self._change(write_down)

    def seal(self, header: BundleHeader, transport: bytes) -> bytes:
        """The signed bundle file for a transport key (PEM), with what the header's purpose allows."""
        held = self._held()
        kept = held.epochs[header.epoch]
        contents = BundleContents(
            mkdb=held.blocks[header.generation],
            krkdb=kept.krkdb,
            public=spki_of(load_pair(kept.private).public_key()),
            private=kept.private if header.purpose is BundlePurpose.REPLACE else None,
        )
        return seal_bundle(header, contents, read_transport_key(transport), self._signing_key())

    def seal_master(self, header: MasterHeader, transport: bytes) -> bytes:
        """The signed master bundle for a transport key (PEM): one master block, and nothing of an epoch."""
        block = self._held().blocks[header.generation]
        return seal_master(header, block, read_transport_key(transport), self._signing_key())

    def destroy_epoch(self, number: int) -> None:
        """Destroys the block and the pair of an armed epoch, for ever; `VaultError` for any other."""

        def take_away(held: _Held) -> _Held:
            kept = held.epochs.get(number)
            check_destroy(number, kept is not None and kept.armed)
            epochs = {one: keys for one, keys in held.epochs.items() if one != number}
            return replace(held, epochs=epochs, destroyed=(*held.destroyed, number))

        self._change(take_away)

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        held = self._held()
        return KmsHoldings(
            fingerprint=fingerprint_of(self._signing_key().public_key()),
            generations=tuple(sorted(held.blocks)),
            issuing=tuple(sorted(number for number, one in held.epochs.items() if not one.armed)),
            armed=tuple(sorted(number for number, one in held.epochs.items() if one.armed)),
            releases=held.releases,
            destroyed=held.destroyed,
        )
