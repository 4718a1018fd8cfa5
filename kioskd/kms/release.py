"""Releasing a bundle, whatever vault the keys are in: the release is written down before the bundle leaves."""

import secrets
from typing import Protocol

from kioskd.errors import VaultError
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.release import KmsHoldings, Release


class KmsVault(Protocol):
    """The key management server's keys: made, wrapped for a recipient, never read. Blocking."""

    def generate(self) -> int:
        """Makes the master block of the next generation; its number."""
        ...

    def new_epoch(self, rsa_bits: int) -> int:
        """Makes the replacement block and the RSA pair of the next epoch; its number."""
        ...

    def destroy_epoch(self, number: int) -> None:
        """Destroys the block and the pair of an armed epoch, for ever; `VaultError` for any other."""
        ...

    def note_release(self, note: Release) -> None:
        """Writes a release down; `VaultError` for what is not held, or may not be released any more."""
        ...

    def seal(self, header: BundleHeader, transport: bytes) -> bytes:
        """The signed bundle file for a transport key (PEM), with what the header's purpose allows."""
        ...

    def public_key(self) -> bytes:
        """The key that checks this server's bundles, PEM; an access server pins it."""
        ...

    def holdings(self) -> KmsHoldings:
        """What is held, without a key."""
        ...

    def sign(self, text: bytes) -> bytes:
        """An Ed25519 signature by this server's signing key."""
        ...

    def head(self) -> tuple[int, bytes]:
        """The number and digest of the transcript's newest entry, as far as this vault was told."""
        ...

    def remember_head(self, number: int, digest: bytes) -> None:
        """Notes the transcript's newest entry: an older copy put back is found out."""
        ...


def release(
    vault: KmsVault,
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
    try:
        if purpose is BundlePurpose.REPLACE and campaign is None:
            campaign = Campaign(f"generation-{generation}", generation - 1, generation, (epoch,), *window)
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
    vault.note_release(Release.of(header))
    return vault.seal(header, transport)
