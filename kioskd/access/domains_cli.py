"""`kioskd access domains`: which security domains of others the cards named, where their profile has them asked."""

import argparse
import asyncio
from collections.abc import Callable

from kioskd.access.blocking_cli import A_CARD
from kioskd.access.campaign_cli import Work
from kioskd.access.campaigns import in_store
from kioskd.config import AccessConfig
from kioskd.edges.campaigns import Connection
from kioskd.edges.card_names import card_named
from kioskd.edges.store import listed_cards
from kioskd.gp.cplc import CardId
from kioskd.gp.registry import SecurityDomain
from kioskd.rekey.notices import Listed, ListEnd

_ENDS = {
    ListEnd.WHOLE: "",
    ListEnd.CUT: "there are more: not all of them were read",
    ListEnd.UNREADABLE: "the card's answer cannot be read: there may be more",
    ListEnd.FORGED: "an answer had no right MAC: it is left out, there may be more",
}


def add_domains_command(command: Callable[[str, str, Work], argparse.ArgumentParser]) -> None:
    """Adds the command of this file to `kioskd access`."""
    made = command(
        "domains", "which security domains of others the cards named (`list_domains` of a profile)", _domains
    )
    made.add_argument("card", nargs="?", help=f"{A_CARD}; without it: every card that has some")


def _domains(config: AccessConfig, args: argparse.Namespace) -> None:
    def work(connection: Connection) -> tuple[tuple[CardId, Listed], ...]:
        return listed_cards(connection, card_named(connection, args.card) if args.card is not None else None)

    cards = asyncio.run(in_store(config, work))
    shown = [(card, listed) for card, listed in cards if args.card is not None or lines_of(listed)]
    for card, listed in shown:
        print(card)
        for line in lines_of(listed) or ["  no security domain besides the issuer's"]:
            print(line)
    if not shown:
        print("none was named: `list_domains: true` in a profile has its cards asked after each replacement")


def lines_of(listed: Listed) -> list[str]:
    """What is to be said of one card; nothing if it named none, and all was read."""
    lines = [_line(one) for one in listed.domains]
    refused = f"the card refused GET STATUS with {listed.sw:04X}"
    words = refused if listed.end is ListEnd.REFUSED else _ENDS[listed.end]
    if words:
        lines.append(f"  {words}")
    if lines and listed.domains and not listed.authentic:
        lines.append("  by the card's word alone: its answers carry no MAC")
    return lines


def _line(one: SecurityDomain) -> str:
    powers = ", ".join(one.powers) or "no power over others"
    return f"  {one.aid.hex().upper():<32}  {one.state:<12}  {powers}"
