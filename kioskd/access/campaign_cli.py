"""`kioskd access campaigns|disarm|export`: what is armed, which cases are open, what each card holds."""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import kioskd.edges.campaigns as book
from kioskd.access.campaigns import disarm, in_store
from kioskd.access.vaults import open_vault
from kioskd.config import AccessConfig, file_of
from kioskd.edges.card_index import cards_left, cards_of_epochs, issued_cards, open_cases
from kioskd.edges.certified import certificate_of, sign_with
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.signed_export import sign, table_of, verify_command
from kioskd.edges.store import hand_back, mark_restored
from kioskd.errors import BadConfiguration, CasesOpen
from kioskd.gp.cplc import CardId
from kioskd.private_file import read_private
from kioskd.public_file import read_public, write_public
from kioskd.rekey.bundle import in_words
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.campaign import CampaignState, OpenCase, digest_of
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.statement import STATEMENT_VERSION, Reliance, Statement

SHOWN = 20
OVERTAKEN = "overtaken"
"""An armed campaign all of whose epochs a later one brings further: it begins no card any more."""

Work = Callable[[AccessConfig, argparse.Namespace], None]


def add_campaign_commands(command: Callable[[str, str, Work], argparse.ArgumentParser]) -> None:
    """Adds the commands of this file to `kioskd access`."""
    command("campaigns", "what was armed, until when, and what is open", _campaigns)
    out = command("export", "write which card holds which key set, signed with this server's certificate", _export)
    out.add_argument("--out", type=Path, required=True, metavar="FILE", help="a CMS file, PEM; no key is in it")
    says = command("statement", "say how many cards rely on each epoch, for the KMS to destroy one", _statement)
    says.add_argument("--out", type=Path, required=True, metavar="FILE")
    back = command("restored", "say that the store was put back from a backup: its cards are in doubt", _restored)
    back.add_argument("--journal", type=Path, action="append", default=[], metavar="FILE", help="a terminal's journal")
    end = command("disarm", "end a campaign and destroy its keys; refused while cases are open", _disarm)
    end.add_argument("campaign", help="its id, as `kioskd access campaigns` shows it")
    end.add_argument("--order", type=Path, help="the KMS's order that accepts the open cases")


def _campaigns(config: AccessConfig, _: argparse.Namespace) -> None:
    every = asyncio.run(in_store(config, _rows))
    print(
        f"{'campaign':<24} {'state':<10} {'generation':<11} {'epochs':<8} {'cards':>7} {'left':>7} {'open':>6}  window"
    )
    for one, state, count, left, begun in every:
        campaign = one.campaign
        moves = f"{campaign.generation_from} to {campaign.generation_to}"
        print(
            f"{campaign.id:<24} {state:<10} {moves:<11} {','.join(map(str, campaign.epochs)):<8}"
            f" {count:>7} {left:>7} {begun:>6}  {campaign.window}"
        )
    if not every:
        print("none: import a replace bundle to arm one")


def _rows(connection: book.Connection) -> tuple[tuple[book.Standing, str, int, int, int], ...]:
    """Each campaign, the oldest first: its state, the cards of its epochs, those with older keys, those open."""
    cards, rows = cards_of_epochs(connection), []
    every = sorted(book.all_of(connection), key=lambda one: (one.campaign.generation_to, one.campaign.id))
    for one in every:
        epochs, goal = one.campaign.epochs, one.campaign.generation_to
        newer = {epoch for other in every if other.campaign.generation_to > goal for epoch in other.campaign.epochs}
        overtaken = one.state is CampaignState.ARMED and newer >= set(epochs)
        count, left = sum(cards.get(epoch, 0) for epoch in epochs), cards_left(connection, epochs, goal)
        state = OVERTAKEN if overtaken else one.state.value
        rows.append((one, state, count, left, len(open_cases(connection, epochs))))
    return tuple(rows)


def _export(config: AccessConfig, args: argparse.Namespace) -> None:
    rows = asyncio.run(in_store(config, issued_cards))
    certificate, key = file_of(config.tls.certificate).read_bytes(), read_private(file_of(config.tls.key)).reveal()
    write_public(args.out, sign(table_of(rows), certificate, key))
    print(f"{len(rows)} cards are in {args.out}.")
    print(f"Next: {verify_command('ca.crt', args.out)}")


def _statement(config: AccessConfig, args: argparse.Namespace) -> None:
    counts = asyncio.run(in_store(config, cards_of_epochs))
    server = fingerprint_of(read_transport_key(open_vault(config).transport_key()))
    certificate = certificate_of(file_of(config.tls.certificate).read_bytes())
    epochs = tuple(Reliance(epoch, cards) for epoch, cards in sorted(counts.items()))
    made = Statement(STATEMENT_VERSION, server, int(time.time()), epochs, certificate)
    key = read_private(file_of(config.tls.key)).reveal()
    write_public(args.out, made.signed(lambda text: sign_with(key, text)).encode())
    for one in epochs:
        print(f"epoch {one.epoch}: {one.cards} cards")
    print("Next: `kioskd kms request destroy --epoch N --statement FILE` for an epoch without cards.")


def _restored(config: AccessConfig, args: argparse.Namespace) -> None:
    given = [entry for file in args.journal for entry in asyncio.run(_cryptograms(file))]

    def merge(connection: book.Connection) -> tuple[int, int, int]:
        epoch, cards = mark_restored(connection)
        return epoch, cards, sum(hand_back(connection, CardId.parse(card), one) for card, one in given)

    epoch, cards, merged = asyncio.run(in_store(config, merge))
    print(f"The store's epoch is {epoch}: {cards} cards are in doubt until their next tap.")
    print(f"{merged} of {len(given)} cryptograms of {len(args.journal)} journals were not here, and are now.")


async def _cryptograms(file: Path) -> tuple[tuple[str, Cryptogram], ...]:
    if not file.is_file():
        raise BadConfiguration(f"{file}: is no journal")
    journal = SqliteJournal(file)
    try:
        return await journal.cryptograms()
    finally:
        await journal.close()


def _disarm(config: AccessConfig, args: argparse.Namespace) -> None:
    order = None if args.order is None else read_public(args.order)
    before = asyncio.run(in_store(config, lambda connection: _left(connection, args.campaign)))
    if before is not None and before[0] is CampaignState.DISARMED:
        print(f"The campaign {args.campaign} was disarmed before; nothing was changed.")
        return
    cases = asyncio.run(disarm(config, open_vault(config), args.campaign, order, int(time.time())))
    if cases:
        _tell(cases)
        count = "1 case is open" if len(cases) == 1 else f"{len(cases)} cases are open"
        raise CasesOpen(
            f"{args.campaign}: {count}; tap those cards, or have the custodians accept the list "
            f"{in_words(digest_of(cases))} and give their order with --order"
        )
    print(f"The campaign {args.campaign} is disarmed; its replacing keys are destroyed here.")
    if before is not None and before[1]:
        print(f"Cards of its epochs that were not replaced: {before[1]}. They keep their old master set until another")
        print("campaign is armed for them; `kioskd access export --out FILE` names them.")


def _left(connection: book.Connection, name: str) -> tuple[CampaignState, int] | None:
    """Where a campaign stands, and how many cards of its epochs have an older generation; None if there is none."""
    for one in book.all_of(connection):
        if one.campaign.id == name:
            return one.state, cards_left(connection, one.campaign.epochs, one.campaign.generation_to)
    return None


def _tell(cases: tuple[OpenCase, ...]) -> None:
    print(f"{'open case':<40} {'epoch':>6} {'generation':>11} {'script':>7}")
    for one in cases[:SHOWN]:
        print(f"{one.card!s:<40} {one.epoch:>6} {one.generation:>11} {one.number:>7}")
    if len(cases) > SHOWN:
        print(f"... and {len(cases) - SHOWN} more")
