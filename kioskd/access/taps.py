"""What happens at a tap, seen from the access server: late reports, then who the card is, then what it is due."""

import logging

from kioskd.access.office import ATTEMPTS, Answerer, Office, TerminalLine
from kioskd.drive import drive
from kioskd.errors import CampaignOver, KioskError, Malformed, TapEnds
from kioskd.gp.cplc import CardId
from kioskd.log_fields import MessageId, card_hash, entry, tell
from kioskd.rekey.adopt import adopt
from kioskd.rekey.evidence import Subject
from kioskd.rekey.facts import Facts, further_ids, identify
from kioskd.rekey.holding import Holdings
from kioskd.rekey.issue import Target, issue
from kioskd.rekey.listing import list_domains
from kioskd.rekey.profile import Lock, domains
from kioskd.rekey.profile_choice import of_facts, of_record
from kioskd.rekey.records import CardState, fold
from kioskd.rekey.replace import replace as replace_keys
from kioskd.rekey.replace import settle
from kioskd.rekey.rotate import due, rotate
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
    answerer.recalled = await office.store.records(card)
    registered = fold(answerer.recalled).registered
    if registered is None:
        return False
    try:
        subject = Subject(card, of_record(office.profiles, registered))
        return await drive(settle(subject, late.report), answerer.answer)
    finally:
        await answerer.close()


async def converse(office: Office, terminal: str, role: str, tap: Tap, line: TerminalLine) -> str:
    """One tap, from its identify answers to its outcome's name; `TapEnds` and errors carry the other outcomes."""
    if ROLES.get(tap.purpose) != role:
        raise TapEnds("role-forbidden", f"a {role} may not {tap.purpose}")
    answerer = Answerer(office, terminal, tap.head.tap, line=line)
    try:
        facts = await drive(identify(tap.answers, domains(*office.profiles)), answerer.answer)
        known = await _known(office, facts)
        if known is None:
            facts = await drive(further_ids(facts), answerer.answer)
            if tap.purpose != "issue":  # a new card may share one of these with another of its batch
                known = await _known(office, facts)
            if known is None:
                await _check_ids(office, facts.aliases)
        tell(CARD=card_hash(str(known or facts.card)))
        if tap.purpose == "issue":
            return await _issue(answerer, facts, known, tap.atr)
        return await _replace(answerer, facts, known, tap.atr)
    except TapEnds as end:
        kind = entry(MessageId.TAP_TROUBLE, end.name)
        log.info("tap %s: %s: %s", tap.head.tap, end.name, end.detail, extra=kind)
        await answerer.acknowledge()
        raise
    finally:
        await answerer.close()


async def _known(office: Office, facts: Facts) -> CardId | None:
    """The card on record that has one of these ids; `TapEnds` where the id that counts is another card's.

    Cards may share one of their ids with others of their batch: one that differs in another id is another card.
    """
    ids = (facts.card, *facts.aliases)
    taken = False
    for one in ids:
        known = await office.store.find((one,))
        if known is not None and (known == one or not await _differs(office, known, ids)):
            return known
        taken = taken or (known is not None and one == facts.card)
    if taken:
        raise TapEnds("no-card-id", f"{facts.card} is an id of another card, too")
    return None


async def _check_ids(office: Office, aliases: tuple[CardId, ...]) -> None:
    """`TapEnds` for a card that is not on record, and one of whose further ids the operators have had refused."""
    for one in aliases:
        blocked = fold(await office.store.records(one)).blocked
        if blocked:
            raise TapEnds("card-blocked", f"{one}: {blocked}")


async def _differs(office: Office, known: CardId, ids: tuple[CardId, ...]) -> bool:
    """Whether the card on record has an id of the same kind as one of these, and of another value."""
    registered = fold(await office.store.records(known)).registered
    if registered is None:
        return False
    theirs = {one.kind: one for one in (*registered.aliases, registered.card)}
    return any(theirs.get(one.kind, one) != one for one in ids)


async def _replace(answerer: Answerer, facts: Facts, known: CardId | None, atr: bytes) -> str:
    office = answerer.office
    await _admit(answerer, known or facts.card)
    state = await _recalled(answerer)
    if state.closed is None and (state.registered is None or state.registered.adopted is not None):
        return await _adopt(answerer, facts, state, atr)
    if state.closed is None:
        raise TapEnds("unknown-card", f"{answerer.known}: its issuance was never proven finished")
    desk = _desk(answerer, state, facts, atr)
    holdings = await office.in_vault(office.vault.holdings)
    if state.rotating is not None:
        outcome = await drive(rotate(desk, facts.key_information, _newer(holdings, state)), answerer.answer)
        state = await _recalled(answerer)
        if state.open or _due_generation(holdings, state) is None:
            return outcome
    assert state.closed is not None
    generation = _due_generation(holdings, state)
    if generation is None:
        raise TapEnds("nothing-to-do", f"epoch {state.closed.krk.epoch} is not armed for replacement")
    if not state.open and state.closed.master.generation != generation:
        await _check_campaign(office, state.closed.krk.epoch, generation)
    outcome = await drive(replace_keys(desk, facts.key_information, generation), answerer.answer)
    if office.rotates:
        outcome = await _rotate(answerer, desk, holdings, outcome)
    return await _list(answerer, desk, outcome)


async def _recalled(answerer: Answerer) -> CardState:
    """The card's records, folded, and kept for the conversation that is next; `TapEnds` for a blocked card.

    A card that was begun is finished, blocked or not: it would be left between two master sets.
    """
    answerer.recalled = await answerer.office.store.records(answerer.known)
    state = fold(answerer.recalled)
    if state.blocked and not (state.open and state.issued):
        raise TapEnds("card-blocked", f"{answerer.known}: {state.blocked}")
    return state


async def _adopt(answerer: Answerer, facts: Facts, state: CardState, atr: bytes) -> str:
    """A card that is not on record, if its profile names the key set of cards that are adopted."""
    adopting = tuple(one for one in answerer.office.profiles if one.adopts)
    if not adopting:
        raise TapEnds("unknown-card", str(answerer.known))
    target = await _target(answerer, facts)
    desk = _desk(answerer, state, facts, atr)
    if not desk.subject.profile.adopts:
        raise TapEnds("unknown-card", str(answerer.known))
    return await _list(answerer, desk, await drive(adopt(desk, target), answerer.answer))


def _due_generation(holdings: Holdings, state: CardState) -> int | None:
    """The generation that the card's epoch is armed for."""
    epoch = state.closed.krk.epoch if state.closed is not None else 0
    return holdings.generation_of(epoch) if epoch in holdings.armed else None


def _newer(holdings: Holdings, state: CardState) -> int | None:
    """The newest epoch that issues, if it is newer than the card's."""
    newest = max(holdings.issuing, default=0)
    return newest if state.closed is not None and newest > state.closed.krk.epoch else None


async def _rotate(answerer: Answerer, desk: Desk, holdings: Holdings, outcome: str) -> str:
    """After a replacement: a KRK of an epoch that is not armed. If it cannot begin, the replacement stands."""
    state = await _recalled(answerer)
    epoch, generation = _newer(holdings, state), _due_generation(holdings, state)
    if epoch is None or generation is None or not due(desk.subject.profile, state, epoch):
        return outcome
    assert state.closed is not None
    try:
        await _check_campaign(answerer.office, state.closed.krk.epoch, generation)
        rotated = await drive(rotate(desk, None, epoch), answerer.answer)
        return outcome if (outcome, rotated) == ("not-migrated", "done") else rotated
    except KioskError as wrong:
        if (await _recalled(answerer)).open:
            raise  # it was begun: the next tap finishes it
        log.info("tap %s: the KRK is not rotated: %s", answerer.tap, wrong)
        return outcome


async def _list(answerer: Answerer, desk: Desk, outcome: str) -> str:
    """A finished card names the security domains of others, if its profile says so; it is finished whatever it says."""
    if desk.subject.profile.list_domains and outcome in ("done", "not-migrated", "issued", "adopted"):
        try:
            listed = await drive(list_domains(desk), answerer.answer)
            log.info("tap %s: %d security domains of others, %s", answerer.tap, len(listed.domains), listed.end.value)
        except KioskError as wrong:
            log.info("tap %s: its security domains were not read: %s", answerer.tap, wrong)
    return outcome


async def _check_campaign(office: Office, epoch: int, generation: int) -> None:
    """Refuses a card that is not begun outside its campaign's window; a begun card is finished whatever the window."""
    campaign, now = await office.store.campaign(epoch, generation), int(office.now())
    if campaign is None:
        raise CampaignOver(f"no campaign is armed that brings epoch {epoch} to generation {generation}")
    if now < campaign.not_before:
        raise TapEnds("nothing-to-do", f"the campaign {campaign.id} has not begun")
    if now > campaign.not_after:
        raise CampaignOver(f"the window of the campaign {campaign.id} is over")


async def _issue(answerer: Answerer, facts: Facts, known: CardId | None, atr: bytes) -> str:
    target = await _target(answerer, facts)
    await _admit(answerer, known or facts.card)
    state = await _recalled(answerer)
    desk = _desk(answerer, state, facts, atr)
    return await _list(answerer, desk, await drive(issue(desk, target), answerer.answer))


async def _target(answerer: Answerer, facts: Facts) -> Target:
    """What a card gets that is issued or adopted now; `TapEnds` if no epoch is issuing."""
    holdings = await answerer.office.in_vault(answerer.office.vault.holdings)
    epoch = max(holdings.issuing, default=0)
    generation = holdings.generation_of(epoch)
    if generation is None:
        raise TapEnds("not-armed", "no epoch is issuing: import an issue bundle")
    return Target(generation, epoch, facts.aliases, facts.key_information)


async def _admit(answerer: Answerer, card: CardId) -> None:
    """Refuses a terminal that has spent its attempts with this card; the card itself is never charged."""
    answerer.card = card
    spent = await answerer.office.store.charges(answerer.terminal, card)
    if spent >= ATTEMPTS:
        raise TapEnds("attempts-spent", f"{answerer.terminal} has had {spent} wrong cryptograms with {card}")


def _desk(answerer: Answerer, state: CardState, facts: Facts, atr: bytes) -> Desk:
    """The conversation's place; `TapEnds` for a card that no profile fits, or that is locked where it should not be."""
    profiles, known = answerer.office.profiles, state.registered
    profile = of_facts(profiles, facts, atr) if known is None else of_record(profiles, known)
    if facts.locked and profile.lock is not Lock.LIFECYCLE:
        raise TapEnds("card-locked", "SELECT was answered 6283: CARD_LOCKED")
    return Desk(answerer.tap, answerer.terminal, Subject(answerer.known, profile))
