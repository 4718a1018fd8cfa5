"""`kioskd access`: the access server, its vault, and what the key management server releases to it."""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from kioskd.access.blocking_cli import A_CARD, add_blocking_commands
from kioskd.access.campaign_cli import Work, add_campaign_commands
from kioskd.access.campaigns import in_store, take_in
from kioskd.access.domains_cli import add_domains_command
from kioskd.access.enrolment import authority_of
from kioskd.access.enrolment_cli import OFF, add_enrolment_commands
from kioskd.access.fetch import use, waiting
from kioskd.access.serve import identity, serve
from kioskd.access.vaults import create_vault, open_vault
from kioskd.command_line import add_command, run_command
from kioskd.config import AccessConfig, load_access
from kioskd.edges.campaigns import Connection
from kioskd.edges.card_names import card_named
from kioskd.edges.local_http import ask_local
from kioskd.edges.profile_file import load_profiles
from kioskd.edges.store import charged_terminals, clear_charges
from kioskd.edges.systemd import set_up_log
from kioskd.errors import BadBundle, BadConfiguration, UsedBefore
from kioskd.gp.cplc import CardId
from kioskd.public_file import read_public, write_public
from kioskd.rekey.bundle import Imported, in_words
from kioskd.rekey.bundle_check import fingerprint_of, read_transport_key
from kioskd.rekey.profile_choice import hidden
from kioskd.virtual.custody import read_factory_file

FACTORY_SET = "factory"


def main(argv: list[str]) -> int:
    """One command of the access server; 2 with one sentence for anything that cannot be done."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kioskd access", description="the access server")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, words: str, work: Work) -> argparse.ArgumentParser:
        made = add_command(commands, name, words, lambda args: work(load_access(args.config), args))
        made.add_argument("--config", type=Path, required=True, help="the server's YAML file")
        return made

    init = command("init", "make the vault and its transport key", _init)
    init.add_argument("--factory-keys", type=Path, help="private file of the factory set: lines ENC, MAC, DEK and hex")
    init.add_argument("--transport-key", type=Path, required=True, help="where to write the public transport key")
    factory = command("factory", "keep another factory set, under the name that a card profile has for it", _factory)
    factory.add_argument("name", help="as `factory_set` or `adopts` of the profile has it")
    factory.add_argument("--factory-keys", type=Path, required=True, help="private file of the set")
    bring = command("import", "take in a bundle that the key management server released", _import)
    bring.add_argument("bundle", type=Path)
    command("fetch", "take in what waits for this server at the key management server", _fetch)
    add_campaign_commands(command)
    add_blocking_commands(command)
    add_domains_command(command)
    add_enrolment_commands(commands)
    run = command("serve", "run the server", _serve)
    run.add_argument("--check", action="store_true", help="only say whether the configuration and the vault are usable")
    clear = command("clear", "forgive a terminal its wrong cryptograms with a card (K408)", _clear)
    clear.add_argument("terminal", help="the name in its certificate")
    clear.add_argument("card", help=A_CARD)
    status = command("status", "what the running server says of itself", _status)
    status.add_argument("--json", action="store_true", help="for programs")
    return parser


def _init(config: AccessConfig, args: argparse.Namespace) -> None:
    factory = read_factory_file(args.factory_keys) if args.factory_keys is not None else None
    vault = create_vault(config)
    if factory is not None:
        vault.add_factory_set(FACTORY_SET, factory.keys, factory.des, factory.method)
    write_public(args.transport_key, vault.transport_key())
    name = config.vault.token.label if config.vault.token is not None else config.vault.file
    print(f"vault {name} is made; its transport key is in {args.transport_key}, fingerprint")
    print(f"  {in_words(fingerprint_of(read_transport_key(vault.transport_key())))}")
    print("Next: have the key management server release an issue bundle to that key, after comparing the fingerprint.")


def _factory(config: AccessConfig, args: argparse.Namespace) -> None:
    keys = read_factory_file(args.factory_keys)
    open_vault(config).add_factory_set(args.name, keys.keys, keys.des, keys.method)
    print(f"factory set {args.name!r} is kept. Next: `factory_set: {args.name}` in the profile of its cards; then")
    print(f"destroy {args.factory_keys}, the server needs it no more.")


def _import(config: AccessConfig, args: argparse.Namespace) -> None:
    raw = read_public(args.bundle)
    try:
        _tell_import(asyncio.run(take_in(config, open_vault(config), raw, int(time.time()))))
    except BadBundle as wrong:
        raise BadBundle(f"{args.bundle}: {wrong}") from wrong


def _fetch(config: AccessConfig, _: argparse.Namespace) -> None:
    vault, done, used, refused = open_vault(config), 0, 0, []
    for paper in asyncio.run(waiting(config, vault)):
        try:
            brought = asyncio.run(use(config, vault, paper, int(time.time())))
        except UsedBefore:
            used += 1
            continue
        except BadBundle as wrong:  # the ones after it may be good
            refused.append(str(wrong))
            continue
        done += 1
        if isinstance(brought, Imported):
            _tell_import(brought)
        else:
            print(f"The campaign {brought} is disarmed; its replacing keys are destroyed here.")
    print(f"{done or 'Nothing'} new at the key management server; {used} used before.")
    if refused:
        raise BadBundle("; ".join(refused))


def _tell_import(imported: Imported) -> None:
    if imported.campaign is None:
        print(f"Cards are issued under epoch {imported.epoch} with generation {imported.generation} from now on.")
        return
    print(f"Epoch {imported.epoch} is armed: its cards get generation {imported.generation} at their next tap.")
    print(f"The campaign is {imported.campaign.id}, for {imported.campaign.window}; its end stops new cards only.")
    print(f"No card is issued under epoch {imported.epoch} any more.")


def _serve(config: AccessConfig, args: argparse.Namespace) -> None:
    vault = open_vault(config)
    vault.transport_key()  # a token that was never prepared is found out now
    if args.check:
        identity(config)
        holdings, profiles = vault.holdings(), load_profiles(config.profiles)
        print(f"{args.config}: card profiles: {', '.join(one.name for one in profiles)}")
        for name, before in hidden(profiles):
            print(f"{args.config}: {name} is chosen for no new card: {before}, whose file comes before, takes all")
        print(f"{args.config}: {_enrolment(config)}")
        print(f"{args.config}: usable; issuing {_list(holdings.issuing)}, armed {_list(holdings.armed)}")
        return
    set_up_log("kioskd-access")
    asyncio.run(serve(config, vault))


def _enrolment(config: AccessConfig) -> str:
    if config.enrolment is None:
        return OFF
    authority_of(config, config.enrolment)
    return f"terminals enrol at port {config.enrolment.port}"


def _clear(config: AccessConfig, args: argparse.Namespace) -> None:
    def work(connection: Connection) -> tuple[CardId, int]:
        card = card_named(connection, args.card)
        charged = charged_terminals(connection, card)
        if args.terminal not in charged:
            some = f"; those that have: {', '.join(charged)}" if charged else ", and no other terminal has one"
            raise BadConfiguration(f"{args.terminal} has no wrong cryptogram with {card}{some}: nothing to forgive")
        return card, clear_charges(connection, args.terminal, card)

    card, count = asyncio.run(in_store(config, work))
    print(f"{args.terminal} had {count} wrong cryptograms with {card}; they are forgiven.")


def _status(config: AccessConfig, args: argparse.Namespace) -> None:
    told = asyncio.run(ask_local(Path(config.socket), "GET", "/status"))
    if args.json:
        print(json.dumps(told, indent=2))
        return
    print(f"access server, {told['software']}, up {told['uptime_s']:.0f} s")
    print(f"  epochs issuing   {_list(told['issuing'])}")
    print(f"  epochs armed     {_list(told['armed'])}")
    print(f"  terminals        {', '.join(told['terminals']) or 'none'}")
    for name, count in sorted(told["outcomes"].items()):
        print(f"  {name:<16} {count}")


def _list(numbers: Any) -> str:
    return ", ".join(str(one) for one in numbers) or "none"
