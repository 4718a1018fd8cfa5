"""`kioskd access block|unblock|blocked|more-tries`: cards that are refused before anything is changed, and let in."""

import argparse
import asyncio
from collections.abc import Callable

from kioskd.access.campaign_cli import Work
from kioskd.access.campaigns import in_store
from kioskd.config import AccessConfig
from kioskd.edges.store import blocked_cards, grant_tries, note
from kioskd.errors import BadConfiguration
from kioskd.gp.cplc import CardId
from kioskd.rekey.notices import Blocked

LONGEST = 200


def add_blocking_commands(command: Callable[[str, str, Work], argparse.ArgumentParser]) -> None:
    """Adds the commands of this file to `kioskd access`."""
    block = command("block", "have a card refused (K214); one that is begun is still finished", _block)
    block.add_argument("card", help="the card's id, such as cplc:4790...")
    block.add_argument("--reason", required=True, help="for the operators' own list")
    free = command("unblock", "let a card in again", _unblock)
    free.add_argument("card")
    more = command("more-tries", "let a card be greeted again whose attempts are half spent (K215)", _more_tries)
    more.add_argument("card", help="the card's id, such as cplc:4790...")
    command("blocked", "which cards are refused, and why", _blocked)


def _block(config: AccessConfig, args: argparse.Namespace) -> None:
    reason = args.reason.strip()
    if not 0 < len(reason) <= LONGEST or not reason.isprintable():
        raise BadConfiguration(f"--reason: needs 1 to {LONGEST} printable characters")
    card = CardId.parse(args.card)
    asyncio.run(in_store(config, lambda connection: note(connection, card, Blocked(reason))))
    print(f"{card} is refused from now on: {reason}")


def _unblock(config: AccessConfig, args: argparse.Namespace) -> None:
    card = CardId.parse(args.card)
    asyncio.run(in_store(config, lambda connection: note(connection, card, Blocked(""))))
    print(f"{card} is let in again.")


def _more_tries(config: AccessConfig, args: argparse.Namespace) -> None:
    card = CardId.parse(args.card)
    count = asyncio.run(in_store(config, lambda connection: grant_tries(connection, card)))
    if not count:
        raise BadConfiguration(f"{card}: nothing to forgive: no card of this id has an INITIALIZE UPDATE counted here")
    print(f"{card}: {count} INITIALIZE UPDATEs are forgiven. The card may have counted them: the other half of its")
    print("attempts is spent now. Find out why its taps broke off before you say this again.")


def _blocked(config: AccessConfig, _: argparse.Namespace) -> None:
    cards = asyncio.run(in_store(config, blocked_cards))
    for card, reason in cards:
        print(f"{card!s:<40} {reason}")
    if not cards:
        print("none: `kioskd access block CARD --reason WORDS`")
