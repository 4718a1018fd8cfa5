"""Every reader of what comes from outside, on both sides: the card's language, then what travels or lies on a disk."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from kioskd.config import load_access, load_kms, load_terminal, load_yaml
from kioskd.edges.profile_file import load_profile
from kioskd.errors import BadBundle, BadConfiguration, BadTranscript, JournalFailed, Malformed, StoreFailed
from kioskd.gp.cplc import CardId
from kioskd.gp.registry import SecurityDomain
from kioskd.rekey.backup import Backup, WrappedBlock, WrappedPair
from kioskd.rekey.bundle import Bundle, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.campaign import DisarmOrder
from kioskd.rekey.ceremony import Act, Approval, Custodian, Detail, Founded, Policy, Request
from kioskd.rekey.kms_wire import Asking, Papers
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.master_bundle import MasterBundle, MasterHeader
from kioskd.rekey.notices import Blocked, Greeted, HandedBack, Listed, ListEnd, MoreTries, Restored
from kioskd.rekey.papers import read_paper, write_paper
from kioskd.rekey.records import RECORD_KINDS, Intent
from kioskd.rekey.relay import Forbidden, RelayPolicy, check
from kioskd.rekey.statement import Reliance, Statement
from kioskd.rekey.trace import TracedCommand
from kioskd.rekey.transcript import BEGINNING, Entry, read_transcript
from kioskd.rekey.wire import CardReport, End, Head, Report, Script, ScriptMessage, Step, Tap, Verdict, decode, encode
from kioskd.shape import from_plain, to_plain
from kioskd.sim.cli import SimulatedCard
from kioskd.sim.world import Size, World
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import load
from kioskd.virtual.custody import read_factory_file
from tests.fuzz.bending import Bend, bytes_of, json_of, paper_of, row_of, yaml_of
from tests.fuzz.rows import CARD, BatchRows, JournalRows, NotARow, StoreRows
from tests.fuzz.status_socket import GOOD, StatusSocket
from tests.gp.codecs import CODECS

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader, what it may raise, and what it is fed."""

    name: str
    read: Callable[[bytes], Any]
    good: tuple[bytes, ...]
    bend: Bend = bytes_of
    errors: tuple[type[Exception], ...] = (Malformed,)

    def input(self, some: Random) -> bytes:
        """The next input: nearly always nearly right."""
        good = some.choice(self.good)
        return good if some.random() < 0.01 else self.bend(some, good)


def readers(folder: Path) -> tuple[Reader, ...]:
    """All of them; files that they read are put into `folder`."""
    return (*_language(), *_wire(), *_papers(), *_files(folder), *_rows(folder))


def _language() -> tuple[Reader, ...]:
    return (
        *(Reader(one.name, one.read, (bytes.fromhex(one.good),)) for one in CODECS),
        Reader("card id", lambda raw: CardId.parse(_text(raw)), (str(CARD).encode(), b"iin-cin:0123456789AABB")),
        Reader("relay's allow-list", _checked, _STEPS, errors=(Forbidden,)),
    )


_POLICY = RelayPolicy((bytes.fromhex("A000000151000000"),), 0x33, (0x9F7F, 0x66, 0xE0))


_STEPS = (bytes.fromhex("00A4040008A000000151000000"), bytes.fromhex("8482330010" + "AB" * 16))


def _checked(raw: bytes) -> None:
    check((Step(raw, ()), Step(bytes.fromhex("80CA00E000"), (0x9000,))), _POLICY, greeted=bool(len(raw) % 2))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


_HEAD = Head(2, "kiosk-1", 77, "tap-1", 3, 1, str(CARD))
_KRK = Cryptogram(1, 1, "SHA1", 0x3E, 2, bytes(256))
_SCRIPT = Script(7, str(CARD), bytes(29), 30_000, (Step(bytes.fromhex("80503E0008") + bytes(8), (0x9000,)),) * 4, _KRK)
_REPORT = Report(7, _SCRIPT.digest, End.COMPLETE, (bytes.fromhex("9000"),) * 4)
_MESSAGES = (
    ScriptMessage(_HEAD, _SCRIPT),
    Tap(_HEAD, "replace", (bytes(20), b""), (CardReport(str(CARD), _REPORT),) * 2, bytes(5)),
    Verdict(_HEAD, "done"),
)


def _wire() -> tuple[Reader, ...]:
    asking = Asking(Act.EPOCH, (Detail("bits", "3072"),), 7)
    papers = Papers((b"one", b"two"))
    return (
        Reader(
            "wire message", lambda raw: decode(_text(raw)), tuple(encode(one).encode() for one in _MESSAGES), json_of
        ),
        _paper(Request(bytes(16), Act.GENERATE, (Detail("generation", "2"),), 1, 0, 10)),
        _paper(Approval(bytes(32), "anna", bytes(64))),
        _plain("request to the KMS", Asking, asking),
        _plain("papers of the KMS", Papers, papers),
    )


def _plain(name: str, kind: type[Any], good: Any) -> Reader:
    def read(raw: bytes) -> Any:
        try:
            plain = json.loads(raw)
        except (ValueError, RecursionError) as wrong:
            raise Malformed("not JSON") from wrong  # both ends read JSON by aiohttp or json before the shape is asked
        return from_plain(kind, plain)

    return Reader(name, read, (json.dumps(to_plain(good)).encode(),), json_of)


def _paper(good: Request | Approval) -> Reader:
    kind: Any = type(good)
    name = kind.__name__.lower()

    def read(raw: bytes) -> Any:
        return read_paper(kind, raw, name)

    return Reader(f"{name} file", read, (write_paper(good),), json_of, (BadConfiguration,))


def _papers() -> tuple[Reader, ...]:
    campaign = Campaign("leak-2026", 1, 2, (1, 2), 0, 10)
    header = BundleHeader(2, bytes(16), BundlePurpose.REPLACE, 2, 1, bytes(32), 0, 10, campaign)
    papers = (
        Bundle(header, bytes(256), bytes(40), bytes(40), bytes(80), bytes(90), signature=bytes(64)),
        MasterBundle(MasterHeader(1, bytes(16), 2, bytes(32), 0, 10), bytes(256), bytes(40), signature=bytes(64)),
        DisarmOrder(1, bytes(16), bytes(32), "leak-2026", bytes(32), 0, 10, signature=bytes(64)),
        Statement(1, bytes(32), 5, (Reliance(1, 2),), bytes(300), signature=bytes(64)),
        Backup(
            *(1, bytes(32), bytes(256), (WrappedBlock("MKDB 1", bytes(40)),), (WrappedPair(1, bytes(90), bytes(99)),)),
            (1,),
            signature=bytes(64),
        ),
    )
    people = tuple(Custodian(name, name.encode() * 8) for name in ("anna", "bert"))
    line = Entry.of(1, BEGINNING, 5, Founded(Policy(1, 2, people))).signed(lambda _: bytes(64)).encode()
    return (
        *(Reader(one.KIND, type(one).decode, (one.encode(),), paper_of, (BadBundle,)) for one in papers),
        Reader("transcript", _transcript, (line,), paper_of, (BadTranscript, BadBundle)),
        Reader("trace", lambda raw: TracedCommand.decode(_text(raw)), (_TRACED,), json_of),
    )


_TRACED = TracedCommand(bytes.fromhex("80E40000"), 5, 0, 1, 0x9000, 12.5).encode().encode()


def _transcript(raw: bytes) -> object:
    return read_transcript(raw.splitlines(keepends=True), bytes(32), lambda _, __, ___: True)


def _files(folder: Path) -> tuple[Reader, ...]:
    def of_file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
        path = folder / name

        def through(raw: bytes) -> Any:
            path.write_bytes(raw)
            return read(path)

        return through

    (folder / "fuzz.keys").touch(mode=0o600)  # only its owner may read it

    def example(name: str) -> tuple[bytes, ...]:
        return ((ROOT / "config" / name).read_bytes(),)

    wrong = (BadConfiguration,)
    profiles = tuple(one.read_bytes() for one in sorted((ROOT / "config/profiles").glob("*.yaml")))
    card = b"card: {serial: '0A0B0C0D', slots: 3, scp_i: 0x70}\npace: {read_ms: 15, write_ms: 50}\n"
    return (
        Reader("configuration, kiosk", of_file("k.yaml", load_terminal), example("kiosk.yaml"), yaml_of, wrong),
        Reader("configuration, access", of_file("a.yaml", load_access), example("access.yaml"), yaml_of, wrong),
        Reader("configuration, KMS", of_file("m.yaml", load_kms), example("kms.yaml"), yaml_of, wrong),
        Reader("profile file", of_file("p.yaml", load_profile), profiles, yaml_of, wrong),
        Reader("card options", of_file("o.yaml", lambda p: load_yaml(SimulatedCard, p)), (card,), yaml_of, wrong),
        Reader("virtual card's file", of_file("card.json", load), (_card_file(folder),), json_of),
        Reader(
            "factory key file",
            of_file("fuzz.keys", read_factory_file),
            (b"ENC 00112233445566778899AABBCCDDEEFF\n" * 3,),
            errors=wrong,
        ),
    )


_FACTORY = b"".join(name + b" 00112233445566778899AABBCCDDEEFF\n" for name in (b"ENC", b"MAC", b"DEK"))


def _card_file(folder: Path) -> bytes:
    VirtualCard(folder / "good.json")
    return (folder / "good.json").read_bytes()


_LISTED = Listed((SecurityDomain(bytes(8), 0x0F, b"\x80\x00\x00"),), ListEnd.WHOLE, authentic=True)


def _records() -> tuple[bytes, ...]:
    """One record of each kind: most of them out of a small simulation."""
    world = World(1, Size(kiosks=1, cards=2, campaigns=1, faults=0))
    world.run()
    rows = [one for card in world.cards for one in card.records()]
    cryptogram = next(one.cryptogram for one in rows if isinstance(one, Intent) and one.cryptogram)
    noted = (Blocked("lost"), Restored(1), HandedBack(cryptogram), Greeted(0x3E, "k1", 2), MoreTries(2), _LISTED)
    by_kind = {type(one): one for one in (*rows, *noted)}
    names = {kind: name for name, kind in RECORD_KINDS.items()}
    assert set(by_kind) == set(names)
    return tuple(json.dumps([names[kind], None, json.dumps(to_plain(one))]).encode() for kind, one in by_kind.items())


def _rows(folder: Path) -> tuple[Reader, ...]:
    journal, store, batch = JournalRows(folder), StoreRows(folder), BatchRows(folder)
    socket = StatusSocket(folder)
    refused = (NotARow, JournalFailed)
    return (
        Reader("journal row", journal.pending, (journal.SCRIPT,), row_of, refused),
        Reader("journal's cryptogram", journal.cryptograms, (journal.CRYPTOGRAM,), row_of, refused),
        Reader("store row", store.records, _records(), row_of, (NotARow, StoreFailed)),
        Reader("batch row", batch.rows, (batch.ROW,), json_of, (NotARow, BadConfiguration)),
        Reader("status request", socket.ask, GOOD),
    )
