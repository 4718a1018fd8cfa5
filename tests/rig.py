"""One card, one terminal's relay and one access server in a process: the real engine, vault, store and journal.

Only the PC/SC daemon and TLS are left out, so that a run takes milliseconds and every point of it can be cut.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kioskd.access.office import Office
from kioskd.access.taps import converse, settle_report
from kioskd.drive import drive
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import SqlStore
from kioskd.errors import KioskError, TapEnds
from kioskd.gp.apdu import INS
from kioskd.gp.cplc import CardId
from kioskd.gp.executive import STATE_TAG
from kioskd.gp.keyinfo import KeyInformation
from kioskd.ports import Journal, Vault
from kioskd.rekey.asks import Ask, Elapsed, KeepReport, NoteInDoubt, Transmit
from kioskd.rekey.profile import DEFAULT_PROFILE, Lock, Profile, identify_steps
from kioskd.rekey.records import CardState, fold
from kioskd.rekey.relay import CardSession, RelayPolicy, relay
from kioskd.rekey.wire import WIRE_VERSION, Head, Report, Script, Tap
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.faults import Faults, PowerCut

SERVER_POINTS = (
    *("challenge", "mint_krk", "recover_krk", "derive_master", "factory_set", "proves", "open_channel"),
    *("wrap_key_set", "wrap_commands", "unwrap_responses", "records", "campaign", "append", "firm_lease", "run"),
)
RELAY_POINTS = ("transmit", "note_in_doubt", "keep_report")

_taps = itertools.count(1)


def policy_of(profile: Profile) -> RelayPolicy:
    """What a terminal for these cards lets through."""
    executive = profile.lock is Lock.EXECUTIVE
    tags = (0x9F7F, 0x66, 0xE0, 0x42, 0x45, 0xCF, *((STATE_TAG,) if executive else ()))
    return RelayPolicy((profile.aid,), profile.level, tags, executive)


class Contact:
    """The card in the reader. Holds every card-changing command to invariant 4 before the card sees it."""

    def __init__(self, rig: "Rig") -> None:
        self.rig = rig

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer."""
        if command[1] in (INS.DELETE, INS.PUT_KEY, INS.SET_STATUS):
            await self.written_down(command[1])
        return self.rig.card.transmit(command)

    async def written_down(self, ins: int) -> None:
        """The intent is in the store, the note in the journal, and a new KRK's cryptogram in both."""
        intent = (await self.rig.state()).last
        assert intent is not None, "a card-changing command without an intent"
        notes = {(one.report.number, one.report.digest) for one in await self.rig.journal.pending()}
        assert (intent.number, intent.digest) in notes, "a card-changing command without a note"
        if ins == INS.PUT_KEY and intent.cryptogram is not None:
            kept = [cryptogram for _, cryptogram in await self.rig.journal.cryptograms()]
            assert intent.cryptogram in kept, "a KRK whose cryptogram is in one place only"


@dataclass(slots=True)
class Rig:
    """Everything that survives between taps: card memory, store, vault, journal."""

    card: VirtualCard
    vault: Vault
    store: SqlStore
    journal: SqliteJournal
    messages: list[str] = field(default_factory=list)
    hold: Callable[[Any], Any] = lambda contact: contact  # puts something between the relay and the card
    profile: Profile = DEFAULT_PROFILE
    rotates: bool = False  # whether the server rotates the KRK of a replaced card
    hearsay: bytes | None = None  # what a lying terminal says instead of the card's key information

    async def tap(
        self, purpose: str = "replace", *, faults: Faults | None = None, side: str = "", terminal: str = "k1"
    ) -> str:
        """One tap, under faults at the `server`'s asks or the `relay`'s steps; the outcome's name."""
        faults = faults or Faults()
        server = faults if side == "server" else Faults()
        relayed = faults if side == "relay" else Faults()
        office = Office(
            server.wrap(self.vault, *SERVER_POINTS),
            server.wrap(self.store, *SERVER_POINTS),
            (self.profile,),
            self.rotates,
        )
        self.card.reset()
        contact = relayed.wrap(self.hold(Contact(self)), *RELAY_POINTS)
        journal = relayed.wrap(self.journal, *RELAY_POINTS)
        line = Line(contact, journal, self.messages, policy_of(self.profile))
        try:
            answers = tuple([await contact.transmit(s.command) or b"" for s in identify_steps(self.profile)])
            if self.hearsay is not None:
                answers = (*answers[:3], self.hearsay)
            tap = Tap(Head(WIRE_VERSION, terminal, 1, f"tap-{next(_taps)}", 2, 0, ""), purpose, answers, ())
            await self.deliver(office)
            role = "station" if purpose == "issue" else "kiosk"
            return await converse(office, terminal, role, tap, server.wrap(line, *SERVER_POINTS))
        except TapEnds as end:
            return end.name
        except PowerCut:
            return "cut"
        except KioskError as wrong:
            return wrong.outcome
        finally:
            office.worker.shutdown()
            self.card.reset()

    async def deliver(self, office: Office) -> None:
        """Hands the journal's reports up, as a terminal does whenever its link is there."""
        for pending in await self.journal.pending():
            if await settle_report(office, "k1", pending):
                await self.journal.acknowledge(pending.report.number, pending.report.digest)

    async def state(self) -> CardState:
        """The card's records, folded."""
        card = await self.store.find((self.card_id(),))
        return fold(await self.store.records(card)) if card is not None else CardState()

    def card_id(self) -> CardId:
        """The card's canonical id."""
        raw = self.card.transmit(bytes.fromhex("80CA9F7F00"))[:-2][3:]
        return CardId("cplc", raw[0:2] + raw[2:4] + raw[16:18] + raw[12:16])

    def key_information(self) -> KeyInformation:
        """What the card itself says that it holds."""
        return KeyInformation.parse(self.card.transmit(bytes.fromhex("80CA00E000"))[:-2])


@dataclass(slots=True)
class Line:
    """The way from the engine to the relay, without a network."""

    contact: Any
    journal: Journal
    messages: list[str]
    policy: RelayPolicy
    session: CardSession = field(default_factory=CardSession)
    bend: Any = None  # a lying terminal: report -> report
    _script: Script | None = None

    async def run(self, script: Script, fence: int) -> Report:
        """Runs a script in the relay."""
        self.messages += ["script", "report"]
        self._script = script
        report, self.session = await drive(relay(script, self.policy, self.session), self._answer)
        return report

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """The journal may forget the report."""
        self.messages.append("ack")
        await self.journal.acknowledge(number, digest)

    async def _answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Transmit(command):
                return await self.contact.transmit(command)
            case NoteInDoubt(script):
                return await self.journal.note_in_doubt(script)
            case KeepReport(report):
                assert self._script is not None
                return await self.journal.keep_report(self._script.card, report)
            case Elapsed():
                return 0
        raise AssertionError(ask)
