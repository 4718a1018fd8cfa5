"""The software vault of a simulation: the shipped verbs, over keys and random bytes that come from a seed."""

import random
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kioskd.gp.factory_keys import FactoryKeys
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleContents, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import read_point
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import Pair, load_pair
from kioskd.virtual.holdings import Held
from kioskd.virtual.vault import SoftVault

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_LAST = 2**40


def pair(some: random.Random) -> ec.EllipticCurvePrivateKey:
    """A P-256 pair of a seed: the only kind whose every use can be repeated to the byte."""
    return ec.derive_private_key(some.randrange(1, _ORDER), ec.SECP256R1())


class KeyServer:
    """All blocks and epochs of one installation, as its key management server has them."""

    def __init__(self, some: random.Random) -> None:
        self._some = some
        self.blocks: dict[int, Secret] = {}
        self.epochs: dict[int, BundleContents] = {}
        self._pairs: dict[int, Pair] = {}

    def block(self, generation: int) -> Secret:
        """MKDB of a generation, made when it is first asked for."""
        return self.blocks.setdefault(generation, Secret(self._some.randbytes(32)))

    def contents(self, purpose: BundlePurpose, generation: int, epoch: int) -> BundleContents:
        """What a bundle of that purpose carries."""
        if epoch not in self.epochs:
            self.epochs[epoch] = self._new_epoch()
        known = self.epochs[epoch]
        private = known.private if purpose is BundlePurpose.REPLACE else None
        return BundleContents(self.block(generation), known.krkdb, known.public, private)

    def shared(self, epoch: int, point: bytes) -> Secret:
        """RND of a cryptogram of that epoch."""
        if epoch not in self._pairs:
            private = self.epochs[epoch].private
            assert private is not None
            self._pairs[epoch] = load_pair(private)
        known = self._pairs[epoch]
        assert isinstance(known, ec.EllipticCurvePrivateKey)
        return Secret(known.exchange(ec.ECDH(), read_point(point)))

    def _new_epoch(self) -> BundleContents:
        made, der = pair(self._some), serialization.Encoding.DER
        public = made.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
        private = made.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        unused = Secret(bytes(32))  # each bundle has the block of its own generation
        return BundleContents(unused, Secret(self._some.randbytes(32)), public, Secret(private))


class SeededVault(SoftVault):
    """`ports.Vault` over what bundles brought, in memory alone."""

    def __init__(self, some: random.Random, factory_sets: Mapping[str, FactoryKeys]) -> None:
        self._some = some
        self.held = Held(Secret(b""), Secret(some.randbytes(32)), factory_sets=factory_sets)
        super().__init__(None)  # type: ignore[arg-type] # nothing is on a disk

    def bring(
        self, keys: KeyServer, purpose: BundlePurpose, generation: int, epoch: int, campaign: Campaign | None = None
    ) -> None:
        """Takes in a bundle that was opened and checked."""
        header = BundleHeader(
            BUNDLE_VERSION, self._some.randbytes(16), purpose, generation, epoch, bytes(32), 0, _LAST, campaign
        )
        self.held = self.held.with_bundle(header, keys.contents(purpose, generation, epoch))

    def restarted(self) -> "SeededVault":
        """What another process has: the same keys, none of the handles."""
        again = SeededVault(self._some, self.held.factory_sets)
        again.held = self.held
        return again

    def _held(self) -> Held:
        return self.held

    def _change(self, edit: Callable[[Held], Held]) -> None:
        self.held = edit(self.held)

    def _random(self, size: int) -> bytes:
        return self._some.randbytes(size)

    def _ephemeral(self) -> ec.EllipticCurvePrivateKey:
        return pair(self._some)
