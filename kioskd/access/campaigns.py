"""Arming and disarming at the access server: the keys in the vault and the campaign in the store, in a safe order.

Arming writes the campaign first, then takes in the keys; disarming ends the campaign first, then destroys the keys.
Whatever dies in between leaves a server that begins no card, and the same command again finishes the work.
"""

from collections.abc import Callable
from typing import TypeVar

import kioskd.edges.campaigns as book
from kioskd.config import AccessConfig, file_of
from kioskd.edges.store import BEGIN_WRITING, SqlStore, exists
from kioskd.errors import BadBundle, BadConfiguration
from kioskd.ports import KeptVault
from kioskd.rekey.bundle import Bundle, Imported
from kioskd.rekey.bundle_check import check_bundle, check_order, read_kms_key, read_transport_key
from kioskd.rekey.campaign import CampaignState, DisarmOrder, OpenCase

T = TypeVar("T")


async def in_store(config: AccessConfig, job: Callable[[book.Connection], T], *, new: bool = False) -> T:
    """One writing transaction in the server's store, which may be running.

    `BadConfiguration` where there is no store yet: it may be elsewhere, and an answer from an empty one would be wrong.
    With `new` it is made, as the first bundle that is taken in, or the server's first start, makes it.
    """
    if not new and not exists(config.store):
        raise BadConfiguration(f"store: {config.store}: there is none; is it elsewhere, or was nothing imported yet?")
    store = SqlStore(config.store)
    try:
        return await store.run(job, BEGIN_WRITING)
    finally:
        store.close()


async def take_in(config: AccessConfig, vault: KeptVault, raw: bytes, now: int) -> Imported:
    """Imports a bundle, its campaign first; `BadBundle` if it is refused, and then nothing has changed."""
    kms_key = file_of(config.vault.kms_key).read_bytes()
    bundle = Bundle.decode(raw)
    check_bundle(bundle, read_kms_key(kms_key), read_transport_key(vault.transport_key()), now)
    campaign = bundle.header.campaign
    if campaign is None:
        return vault.import_bundle(raw, kms_key, now)
    new = await in_store(config, lambda connection: book.arm(connection, campaign), new=True)
    try:
        return vault.import_bundle(raw, kms_key, now)
    except BadBundle:
        if new:
            await in_store(config, lambda connection: book.forget(connection, campaign.id))
        raise


async def disarm(
    config: AccessConfig, vault: KeptVault, campaign: str, order: bytes | None, now: int
) -> tuple[OpenCase, ...]:
    """Ends a campaign and destroys its keys; the open cases, if nobody accepted them: then nothing has changed.

    `order` is the file of a `DisarmOrder`; `BadBundle` for one that is not for this server, campaign and list.
    """
    accepted = None if order is None else _accepted(config, vault, campaign, order, now)
    cases = await in_store(config, lambda connection: book.begin_disarming(connection, campaign, accepted))
    standing = await _standing(config, campaign)
    if standing.state is CampaignState.ARMED:
        if accepted is not None:
            raise BadBundle("order: the list of open cases has changed since the custodians accepted it")
        return cases
    if standing.state is CampaignState.DISARMED:
        return ()
    for epoch in standing.campaign.epochs:
        if await _goes_with(config, vault, epoch, standing.campaign.generation_to):
            vault.disarm(epoch)
    await in_store(config, lambda connection: book.set_state(connection, campaign, CampaignState.DISARMED))
    return ()


async def _goes_with(config: AccessConfig, vault: KeptVault, epoch: int, generation: int) -> bool:
    """Whether the keys that are here go with this campaign: not if a later one brought newer ones or needs the same."""
    other = await in_store(config, lambda connection: book.covering(connection, epoch, generation))
    holdings = vault.holdings()
    return other is None and epoch in holdings.armed and holdings.generation_of(epoch) == generation


async def _standing(config: AccessConfig, campaign: str) -> book.Standing:
    every = await in_store(config, book.all_of)
    return next(one for one in every if one.campaign.id == campaign)


def _accepted(config: AccessConfig, vault: KeptVault, campaign: str, raw: bytes, now: int) -> bytes:
    """The digest of the list that a good order accepts."""
    order = DisarmOrder.decode(raw)
    kms = read_kms_key(file_of(config.vault.kms_key).read_bytes())
    check_order(order, kms, read_transport_key(vault.transport_key()), now)
    if order.campaign != campaign:
        raise BadBundle(f"order: is for the campaign {order.campaign}")
    return order.cases
