"""`kioskd access block|unblock|blocked|more-tries`: cards that are refused before anything is changed, and let in."""

import argparse
import asyncio
from collections.abc import Callable

from kioskd.access.campaign_cli import Work
from kioskd.access.campaigns import in_store
from kioskd.config import AccessConfig
from kioskd.edges.campaigns import Connection
from kioskd.edges.card_index import begun
from kioskd.edges.card_names import SHORTEST, card_named, on_record
from kioskd.edges.store import blocked_cards, grant_tries, note
from kioskd.errors import BadConfiguration
from kioskd.gp.cplc import CardId
from kioskd.rekey.notices import Blocked

LONGEST = 200
A_CARD = f"an id of the card, such as cplc:4790..., or {SHORTEST} digits or more of its end, as terminals show it"


def add_blocking_commands(command: Callable[[str, str, Work], argparse.ArgumentParser]) -> None:
    """Adds the commands of this file to `kioskd access`."""
    block = command("block", "have a card refused (K214); one that is begun is still finished", _block)
    block.add_argument("card", help=f"{A_CARD}; a whole id may be of a card that has never come")
    block.add_argument("--reason", required=True, help="for the operators' own list")
    free = command("unblock", "let a card in again", _unblock)
    free.add_argument("card", help=A_CARD)
    more = command("more-tries", "let a card be greeted again whose attempts are half spent (K215)", _more_tries)
    more.add_argument("card", help=A_CARD)
    command("blocked", "which cards are refused, and why", _blocked)


def _block(config: AccessConfig, args: argparse.Namespace) -> None:
    reason = args.reason.strip()
    if not 0 < len(reason) <= LONGEST or not reason.isprintable():
        raise BadConfiguration(f"--reason: needs 1 to {LONGEST} printable characters")

    def work(connection: Connection) -> tuple[CardId, str]:
        card = card_named(connection, args.card, new=True)
        if not on_record(connection, card):
            more = "No card of this id has come yet: is it spelled right? One that comes with it is refused."
        else:
            more = "It was begun: its next tap finishes it, and then it is refused." if begun(connection, card) else ""
        before = dict(blocked_cards(connection)).get(card)
        if before is not None:
            more = f"It was refused before: {before}"
        note(connection, card, Blocked(reason))
        return card, more

    card, more = asyncio.run(in_store(config, work))
    print(f"{card} is refused from now on: {reason}")
    if more:
        print(more)


def _unblock(config: AccessConfig, args: argparse.Namespace) -> None:
    def work(connection: Connection) -> CardId:
        card = card_named(connection, args.card)
        if card not in dict(blocked_cards(connection)):
            raise BadConfiguration(f"{card} is not blocked: `kioskd access blocked` lists the cards that are")
        note(connection, card, Blocked(""))
        return card

    print(f"{asyncio.run(in_store(config, work))} is let in again.")


def _more_tries(config: AccessConfig, args: argparse.Namespace) -> None:
    def work(connection: Connection) -> tuple[CardId, int]:
        card = card_named(connection, args.card)
        return card, grant_tries(connection, card)

    card, count = asyncio.run(in_store(config, work))
    if not count:
        raise BadConfiguration(f"{card}: nothing to forgive: no INITIALIZE UPDATE of this card is counted here")
    print(f"{card}: {count} INITIALIZE UPDATEs are forgiven. The card may have counted them: the other half of its")
    print("attempts is spent now. Find out why its taps broke off before you say this again.")


def _blocked(config: AccessConfig, _: argparse.Namespace) -> None:
    cards = asyncio.run(in_store(config, blocked_cards))
    for card, reason in cards:
        print(f"{card!s:<40} {reason}")
    if not cards:
        print("none: `kioskd access block CARD --reason WORDS`")
