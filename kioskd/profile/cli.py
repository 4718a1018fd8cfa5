"""`kioskd profile`: checks a card profile before a card comes, and writes the one that a card would need."""

import argparse
import asyncio
from pathlib import Path

from kioskd.command_line import add_command, run_command
from kioskd.drive import drive
from kioskd.edges.pcsc import PcscReaders
from kioskd.edges.profile_file import load_profile
from kioskd.errors import BadConfiguration, NoCard, TapEnds
from kioskd.gp.apdu import ResponseAPDU
from kioskd.ports import Card, ReaderState
from kioskd.public_file import write_public
from kioskd.rekey.asks import Ask, Send, Transmit
from kioskd.rekey.exchange import exchange
from kioskd.rekey.facts import identify
from kioskd.rekey.probe import Probed, probed
from kioskd.rekey.profile import DEFAULT_PROFILE, Operation, Profile, identify_steps
from kioskd.rekey.wire import End, Report, Step
from kioskd.shape import to_plain

WAIT_S = 20.0
KNOWN_AIDS = ("A000000151000000", "A000000003000000", "A0000001510000", "A000000018434D00")


def main(argv: list[str]) -> int:
    """One command; 2 with one sentence for a profile or a card that is not usable."""
    parser = argparse.ArgumentParser("kioskd profile", description="card profiles")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = add_command(commands, "check", "say what the cards of a profile can be brought here for", _check)
    check.add_argument("file", type=Path, nargs="+")
    probe = add_command(commands, "probe", "read a card and write the profile that it would need", _probe)
    probe.add_argument("--reader", required=True, metavar="WORDS", help="words of the reader's name")
    probe.add_argument("--out", type=Path, required=True, metavar="FILE")
    return run_command(parser, argv)


def _check(args: argparse.Namespace) -> int:
    unfit = 0
    for file in args.file:
        profile = load_profile(file)
        print(f"{file}: {profile.name}, {_spoken(profile)}, {profile.lock.value}, {profile.order.value}")
        print(f"  known: {profile.proof.value}{f', {profile.source}' if profile.source else ''}")
        for operation in Operation:
            reason = profile.refuses(operation)
            print(f"  {operation.value:<8} {f'no: {reason}' if reason else 'yes'}")
            unfit += bool(reason) and operation in (Operation.ISSUE, Operation.REPLACE)
        print(f"  {_migrating(profile)}")
    if unfit:
        raise BadConfiguration("These cards cannot be both issued and replaced: mend the profile, see docs/cards.md.")
    return 0


def _migrating(profile: Profile) -> str:
    """Whether a replacement brings its cards to AES."""
    aes = profile.migrates
    return f"migrate  {f'yes: to SCP03 with {aes.kind}, level {aes.level:02X}' if aes is not None else 'no'}"


def _spoken(profile: Profile) -> str:
    return f"SCP{profile.scp:02d} with {profile.algorithm.value}-{8 * profile.key_bytes}, level {profile.level:02X}"


def _probe(args: argparse.Namespace) -> int:
    found = asyncio.run(_read(args.reader))
    plain = to_plain(found.profile)
    usual = to_plain(DEFAULT_PROFILE)
    said = {key: value for key, value in plain.items() if value != usual[key] or key in ("name", "derivation")}
    lines = [f"# {remark}" for remark in found.remarks]
    lines += [f"{key}: {_yaml(key, value)}" for key, value in said.items()]
    write_public(args.out, ("\n".join(lines) + "\n").encode())
    load_profile(args.out)
    print(f"{args.out}: {_spoken(found.profile)}")
    for remark in found.remarks:
        print(f"  to be tried: {remark}")
    print(f"Next: kioskd profile check {args.out}")
    return 0


def _yaml(key: str, value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(name, one)}" for name, one in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"0x{value:02X}" if key.endswith("kvn") or key == "level" else str(value)
    return f'"{value}"'


async def _read(words: str) -> Probed:
    readers = PcscReaders(10.0, words)
    try:
        async with asyncio.timeout(WAIT_S):
            async for event in readers.events():
                if words in event.reader and event.state in (ReaderState.CARD, ReaderState.MUTE):
                    return await _probed(readers, event.reader)
                if event.state is ReaderState.DOWN:
                    raise NoCard(f"{event.reader or 'pcscd'}: {event.state.value}")
    except TimeoutError as wrong:
        raise NoCard(f"no card came into a reader named {words} within {WAIT_S:g} s") from wrong
    finally:
        await readers.close()
    raise NoCard(f"no reader is named {words}")


async def _probed(readers: PcscReaders, reader: str) -> Probed:
    card = await readers.connect(reader)
    try:
        for aid in map(bytes.fromhex, KNOWN_AIDS):
            answers = await _answers(card, identify_steps(Profile(aid=aid)))
            if ResponseAPDU.decode(answers[0]).ok:
                break

        async def reply(ask: Ask[object]) -> object:
            assert isinstance(ask, Send)
            return Report(0, ask.script.digest, End.COMPLETE, await _answers(card, ask.script.steps))

        facts = await drive(identify(answers), reply)
        return probed(facts, aid, card.atr)
    finally:
        await card.close()


async def _answers(card: Card, steps: tuple[Step, ...]) -> tuple[bytes, ...]:
    """The card's whole answers; `TapEnds` if it was pulled."""

    async def reply(ask: Ask[object]) -> object:
        assert isinstance(ask, Transmit)
        return await card.transmit(ask.command)

    answers, bare = [], False
    for step in steps:
        raw, bare = await drive(exchange(step.command, bare), reply)
        if raw is None:
            raise TapEnds("card-pulled", "the card left while it was read")
        answers.append(raw)
    return tuple(answers)
