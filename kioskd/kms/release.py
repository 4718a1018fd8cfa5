"""Releasing a bundle, whatever vault the keys are in: the release is written down before the bundle leaves."""

import secrets

from kioskd.errors import VaultError
from kioskd.ports import KmsVault
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.master_bundle import MASTER_BUNDLE_VERSION, MasterHeader
from kioskd.rekey.release import Release


def share(vault: KmsVault, generation: int, transport: bytes, window: tuple[int, int]) -> bytes:
    """The master bundle file of a generation for the holder of a transport key (PEM).

    `VaultError` for what is not held, `BadConfiguration` for a bad transport key.
    """
    recipient = fingerprint_of(read_transport_key(transport))
    header = MasterHeader(MASTER_BUNDLE_VERSION, secrets.token_bytes(16), generation, recipient, *window)
    vault.note_release(Release.of_master(header))
    return vault.seal_master(header, transport)


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
