"""The card that the suite runs on: the virtual one in a real pcscd, or a physical one that its owner has listed.

    pytest tests/card --reader NAME --card-id ID --card-list FILE

The list is YAML, `cards:` of `{id: "cplc:...", kvn: "FF", keys: FILE}`; FILE is private: ENC, MAC and DEK in hex.
A card whose own id is not the one asked for, and listed, gets nothing but the reads that tell its id.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kioskd.config import load_yaml
from kioskd.errors import KioskError
from kioskd.gp.apdu import ResponseAPDU
from kioskd.gp.cplc import CardId, canonical_id
from kioskd.gp.isd import ISD_AID, get_data, select
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.custody import read_factory_file
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader
from tests.card.plain_reader import PlainReader, reader_named, refuse
from tests.virtual.host import FACTORY, FACTORY_KVN


@dataclass(frozen=True, slots=True)
class ListedCard:
    """One card that may be tested: its id, and a key set of its own that the suite may open it with."""

    id: str
    kvn: str
    keys: str


@dataclass(frozen=True, slots=True)
class CardList:
    """The cards that may be tested."""

    cards: tuple[ListedCard, ...]


@dataclass(frozen=True, slots=True)
class CardUnderTest:
    """A card in a reader, and the key set that opens it."""

    reader: PlainReader
    id: CardId
    kvn: int
    keys: tuple[bytes, ...]


@pytest.fixture(scope="module")
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardUnderTest]:
    """The listed card in the named reader; without `--reader`, a virtual card behind a pcscd of its own."""
    name = request.config.getoption("reader")
    if name is None:
        yield from _virtual(tmp_path_factory.mktemp("card"))
        return
    listed = listed_card(request.config.getoption("card_list"), request.config.getoption("card_id"))
    with reader_named(name) as reader:
        yield CardUnderTest(reader, own_id(reader, listed), int(listed.kvn, 16), keys_of(listed))


def _virtual(folder: Path) -> Iterator[CardUnderTest]:
    with PrivatePcscd(folder) as pcscd:
        pcscd.serve_this_process()
        hand = CardInReader(VirtualCard(folder / "card.json"), pcscd.connect_card)
        hand.insert()
        try:
            with reader_named(pcscd.readers[0].name) as reader:
                yield CardUnderTest(reader, card_id(reader), FACTORY_KVN, FACTORY)
        finally:
            hand.pull()


def listed_card(list_file: Path | None, wanted: str | None) -> ListedCard:
    """The entry of the id that was asked for; the run ends with one sentence otherwise."""
    if list_file is None or wanted is None:
        refuse("--reader needs --card-id ID and --card-list FILE: only listed cards are tested")
    try:
        cards = load_yaml(CardList, list_file).cards
    except KioskError as wrong:
        refuse(str(wrong))
    found = next((one for one in cards if one.id.lower() == wanted.lower()), None)
    if found is None:
        refuse(f"{wanted}: is not in {list_file}: add it if this card may be written to")
    return found


def own_id(reader: PlainReader, listed: ListedCard) -> CardId:
    """The card's own id, if it is the listed one."""
    mine = card_id(reader)
    if str(mine).lower() != listed.id.lower():
        refuse(f"the card in {reader.name} is {mine}, not {listed.id}: nothing was written to it")
    return mine


def card_id(reader: PlainReader) -> CardId:
    """Who the card says that it is; reads only."""
    reader.transmit(select(ISD_AID).encode())
    tags = (0x9F7F, 0x42, 0x45, 0xCF)
    answers = {tag: ResponseAPDU.decode(reader.transmit(get_data(tag).encode())) for tag in tags}
    return canonical_id({tag: one.data for tag, one in answers.items() if one.ok and one.data})


def keys_of(listed: ListedCard) -> tuple[bytes, ...]:
    """The values of the listed key file."""
    try:
        return tuple(one.reveal() for one in read_factory_file(Path(listed.keys)).keys)
    except KioskError as wrong:
        refuse(str(wrong))
