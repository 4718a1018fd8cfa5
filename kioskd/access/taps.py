"""What happens at a tap, seen from the access server: late reports, then who the card is, then what it is due."""

import logging
import time

from kioskd.access.office import ATTEMPTS, Answerer, Office, TerminalLine
from kioskd.drive import drive
from kioskd.errors import CampaignOver, Malformed, TapEnds
from kioskd.gp.cplc import CardId
from kioskd.rekey.evidence import Subject
from kioskd.rekey.facts import Facts, identify
from kioskd.rekey.issue import Order, issue
from kioskd.rekey.records import fold
from kioskd.rekey.replace import replace as replace_keys
from kioskd.rekey.replace import settle
from kioskd.rekey.script import Desk
from kioskd.rekey.wire import CardReport, Tap

log = logging.getLogger(__name__)

ROLES = {"replace": "kiosk", "issue": "station"}
"""Which certificate role may ask for which purpose."""


async def settle_report(office: Office, terminal: str, late: CardReport) -> bool:
    """Judges a report that waited in a terminal's journal; False if its script is not on record."""
    try:
        card = CardId.parse(late.card)
    except Malformed:
        return False
    answerer = Answerer(office, terminal, "late", card)
    try:
        return await drive(settle(Subject(card, office.profile), late.report), answerer.answer)
    finally:
        await answerer.close()


async def converse(office: Office, terminal: str, role: str, tap: Tap, line: TerminalLine) -> str:
    """One tap, from its identify answers to its outcome's name; `TapEnds` and errors carry the other outcomes."""
    if ROLES.get(tap.purpose) != role:
        raise TapEnds("role-forbidden", f"a {role} may not {tap.purpose}")
    answerer = Answerer(office, terminal, tap.head.tap, line=line)
    try:
        facts = await drive(identify(tap.answers), answerer.answer)
        known = await office.store.find((facts.card, *facts.aliases))
        if tap.purpose == "issue":
            return await _issue(answerer, facts, known)
        return await _replace(answerer, facts, known)
    except TapEnds as end:
        log.info("tap %s: %s: %s", tap.head.tap, end.name, end.detail)
        await answerer.acknowledge()
        raise
    finally:
        await answerer.close()


async def _replace(answerer: Answerer, facts: Facts, known: CardId | None) -> str:
    office = answerer.office
    if known is None:
        raise TapEnds("unknown-card", str(facts.card))
    await _admit(answerer, known)
    answerer.recalled = await office.store.records(known)
    state = fold(answerer.recalled)
    if state.closed is None:
        raise TapEnds("unknown-card", f"{known}: its issuance was never proven finished")
    epoch = state.closed.krk.epoch
    holdings = await office.in_vault(office.vault.holdings)
    generation = holdings.generation_of(epoch)
    if epoch not in holdings.armed or generation is None:
        raise TapEnds("nothing-to-do", f"epoch {epoch} is not armed for replacement")
    if not state.open and state.closed.master.generation != generation:
        await _check_campaign(office, epoch, generation)
    return await drive(replace_keys(_desk(answerer, known), facts.key_information, generation), answerer.answer)


async def _check_campaign(office: Office, epoch: int, generation: int) -> None:
    """Refuses a card that is not begun outside its campaign's window; a begun card is finished whatever the window."""
    campaign, now = await office.store.campaign(epoch, generation), int(time.time())
    if campaign is None:
        raise CampaignOver(f"no campaign is armed that brings epoch {epoch} to generation {generation}")
    if now < campaign.not_before:
        raise TapEnds("nothing-to-do", f"the campaign {campaign.id} has not begun")
    if now > campaign.not_after:
        raise CampaignOver(f"the window of the campaign {campaign.id} is over")


async def _issue(answerer: Answerer, facts: Facts, known: CardId | None) -> str:
    office = answerer.office
    holdings = await office.in_vault(office.vault.holdings)
    epoch = max(holdings.issuing, default=0)
    generation = holdings.generation_of(epoch)
    if generation is None:
        raise TapEnds("not-armed", "no epoch is issuing: import an issue bundle")
    card = known or facts.card
    await _admit(answerer, card)
    order = Order(generation, epoch, facts.aliases, facts.key_information)
    return await drive(issue(_desk(answerer, card), order), answerer.answer)


async def _admit(answerer: Answerer, card: CardId) -> None:
    """Refuses a terminal that has spent its attempts with this card; the card itself is never charged."""
    answerer.card = card
    spent = await answerer.office.store.charges(answerer.terminal, card)
    if spent >= ATTEMPTS:
        raise TapEnds("attempts-spent", f"{answerer.terminal} has had {spent} wrong cryptograms with {card}")


def _desk(answerer: Answerer, card: CardId) -> Desk:
    return Desk(answerer.tap, answerer.terminal, Subject(card, answerer.office.profile))
