"""The campaigns of an access server, in its store: what was armed, for how long, what is disarmed."""

import json
from dataclasses import dataclass

import sqlalchemy as sql

from kioskd.edges.card_index import open_cases, row_of
from kioskd.edges.tables import CAMPAIGNS
from kioskd.errors import BadBundle, CampaignOver, UsedBefore
from kioskd.gp.cplc import CardId
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.campaign import CampaignState, OpenCase, digest_of
from kioskd.rekey.records import Intent, Purpose
from kioskd.shape import from_plain, to_plain

Connection = sql.Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """A campaign and where it stands."""

    campaign: Campaign
    state: CampaignState


def covering(connection: sql.Connection, epoch: int, generation: int) -> Campaign | None:
    """The armed campaign that brings an epoch's cards to a generation; of two, the one that lasts longer."""
    armed = (one.campaign for one in _aiming(connection, epoch, generation) if one.state is CampaignState.ARMED)
    return max(armed, key=lambda one: one.not_after, default=None)


def check_begin(connection: sql.Connection, card: CardId, intent: Intent) -> None:
    """`CampaignOver` if the intent would begin a card whose campaign is being disarmed, and no other has its goal.

    In the transaction of the intent: nobody can disarm between the look and the act.
    """
    if intent.purpose not in (Purpose.REPLACE, Purpose.ROTATE):
        return
    row = row_of(connection, card)
    if row["last"] > row["settled"]:
        return  # a begun card is finished
    aiming = _aiming(connection, row["epoch"], intent.master.generation if intent.master else row["generation"])
    if aiming and CampaignState.ARMED not in {one.state for one in aiming}:
        raise CampaignOver(f"the campaign {aiming[0].campaign.id} is {aiming[0].state.value}")


def _aiming(connection: sql.Connection, epoch: int, generation: int) -> tuple[Standing, ...]:
    """The campaigns, in whatever state, that bring an epoch's cards to a generation."""
    every = all_of(connection)
    return tuple(one for one in every if epoch in one.campaign.epochs and one.campaign.generation_to == generation)


def arm(connection: sql.Connection, campaign: Campaign) -> bool:
    """Writes a campaign down; whether it is new. `BadBundle` if another has its id, or if it was disarmed."""
    row = connection.execute(sql.select(CAMPAIGNS).where(CAMPAIGNS.c.id == campaign.id)).first()
    if row is None:
        new = {"id": campaign.id, "state": CampaignState.ARMED, "body": json.dumps(to_plain(campaign))}
        connection.execute(CAMPAIGNS.insert().values(**new))
        return True
    if _standing(row).campaign != campaign:
        raise BadBundle(f"campaign {campaign.id}: there is another under this id")
    if row.state != CampaignState.ARMED:
        raise UsedBefore(f"campaign {campaign.id}: was disarmed; release the keys for a new campaign")
    return False


def forget(connection: sql.Connection, name: str) -> None:
    """Takes back a campaign whose keys never came."""
    connection.execute(CAMPAIGNS.delete().where(CAMPAIGNS.c.id == name))


def begin_disarming(connection: sql.Connection, name: str, accepted: bytes | None) -> tuple[OpenCase, ...]:
    """Ends a campaign for new cards, unless cases are open that nobody accepted; the open cases.

    `accepted` is the digest of the list that the custodians accept. A campaign whose open cases are returned and not
    accepted stays as it was, and so does one that is disarmed already. `BadBundle` for an unknown campaign.
    """
    standing = next((one for one in all_of(connection) if one.campaign.id == name), None)
    if standing is None:
        raise BadBundle(f"campaign {name}: there is none of this id; `kioskd access campaigns` lists them")
    if standing.state is CampaignState.DISARMED:
        return ()
    cases = open_cases(connection, standing.campaign.epochs)
    if not cases or accepted == digest_of(cases):
        set_state(connection, name, CampaignState.DISARMING)
    return cases


def set_state(connection: sql.Connection, name: str, state: CampaignState) -> None:
    """Moves a campaign on."""
    connection.execute(CAMPAIGNS.update().where(CAMPAIGNS.c.id == name).values(state=state.value))


def all_of(connection: sql.Connection) -> tuple[Standing, ...]:
    """Every campaign, by id."""
    return tuple(_standing(row) for row in connection.execute(sql.select(CAMPAIGNS).order_by(CAMPAIGNS.c.id)))


def _standing(row: sql.Row[tuple[str, str, str]]) -> Standing:
    return Standing(from_plain(Campaign, json.loads(row.body), "campaign"), CampaignState(row.state))
