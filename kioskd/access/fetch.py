"""The online transfer, at the access server's end: what waits for its transport key is taken in as a file would be."""

import kioskd.edges.campaigns as book
from kioskd.access.campaigns import disarm, in_store, take_in
from kioskd.config import AccessConfig, file_of
from kioskd.edges.https import HttpsServer
from kioskd.edges.tls import client_context
from kioskd.errors import BadBundle, BadConfiguration, UsedBefore
from kioskd.ports import KeptVault
from kioskd.rekey.bundle import Imported
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.campaign import CampaignState, DisarmOrder
from kioskd.rekey.kms_wire import PAPERS, Papers
from kioskd.shape import from_plain


async def waiting(config: AccessConfig, vault: KeptVault) -> tuple[bytes, ...]:
    """The bundles and orders that wait for this server's transport key, oldest first, those used before among them."""
    if config.kms is None:
        raise BadConfiguration("kms: is missing in the configuration: where bundles are fetched from")
    kms = config.kms
    tls = client_context(file_of(config.tls.ca), file_of(kms.certificate), file_of(kms.key))
    server = HttpsServer(kms.host, kms.port, kms.name, tls)
    fingerprint = fingerprint_of(read_transport_key(vault.transport_key())).hex()
    return from_plain(Papers, await server.ask("GET", f"{PAPERS}/{fingerprint}")).papers


async def use(config: AccessConfig, vault: KeptVault, paper: bytes, now: int) -> Imported | str:
    """Does what a fetched paper is for: a bundle's import, or the disarming of the campaign that is returned.

    `UsedBefore` for one that was used; `BadBundle` for one that is refused, and then nothing has changed.
    """
    try:
        order = DisarmOrder.decode(paper)
    except BadBundle:
        return await take_in(config, vault, paper, now)
    every = await in_store(config, book.all_of, new=True)
    if any(one.campaign.id == order.campaign and one.state is CampaignState.DISARMED for one in every):
        raise UsedBefore(f"order: the campaign {order.campaign} is disarmed already")
    await disarm(config, vault, order.campaign, paper, now)
    return order.campaign
