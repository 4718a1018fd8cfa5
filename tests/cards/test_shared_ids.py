"""Cards that share an id with others of their batch, the card image number: none is taken for another."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from kioskd.edges.campaigns import Connection, arm
from kioskd.edges.card_names import card_named
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import BEGIN_WRITING, SqlStore, note
from kioskd.gp.apdu import INS
from kioskd.gp.cplc import CardId
from kioskd.ports import Vault
from kioskd.rekey.bundle import Campaign
from kioskd.rekey.notices import Blocked
from kioskd.rekey.profile import DEFAULT_PROFILE, Profile
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from tests.rekey.vaults import armed, issuing
from tests.rig import Contact, Rig

ELSEWHERE = Profile(adopts="factory", adopts_kvn=0x01)
ADOPTED = CardOptions(factory_kvn=0x01, factory_fills=True, cin=b"\x11\x22\x33\x44")
ISSUED = CardOptions(cin=b"\x11\x22\x33\x44")
SHARED = CardId("iin-cin", ISSUED.iin + ISSUED.cin)


class Twins:
    """Two cards of one batch, and the installation that both come to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqlStore(f"sqlite:///{folder}/access.db")
        self.journal = SqliteJournal(folder / "journal.db")

    def rigs(self, options: CardOptions, profile: Profile = DEFAULT_PROFILE) -> tuple[Rig, Rig]:
        """A place for each of the cards; they differ in their serial number."""
        made = []
        for number in (b"\x00\xc0\xff\xee", b"\x00\xc0\xff\xef"):
            card = VirtualCard(self.folder / f"{number.hex()}.json", replace(options, serial=number))
            rig = Rig(card, cast(Vault, issuing()), self.store, self.journal, profile=profile)
            rig.hold = Plain
            made.append(rig)
        return made[0], made[1]

    async def begin(self, *rigs: Rig) -> None:
        """The master set has leaked: the campaign begins."""
        campaign = Campaign("leak", 1, 2, (1,), 0, 2**40)
        await self.store.run(lambda connection: arm(connection, campaign), BEGIN_WRITING)
        for one in rigs:
            one.vault = cast(Vault, armed(2))


class Plain:
    """The card itself in the reader."""

    def __init__(self, contact: Contact) -> None:
        self.card = contact.rig.card

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer."""
        return self.card.transmit(command)


class Contactless(Plain):
    """A reader in whose field the card refuses its CPLC."""

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer."""
        return bytes.fromhex("6985") if command[1:4] == bytes.fromhex("CA9F7F") else await Plain.transmit(self, command)


class Pulled(Plain):
    """The card is pulled when PUT KEY is done."""

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer, which is lost."""
        raw = await Plain.transmit(self, command)
        return None if command[1] == INS.PUT_KEY else raw


@pytest.fixture
async def twins(tmp_path: Path) -> AsyncIterator[Twins]:
    made = Twins(tmp_path)
    yield made
    made.store.close()
    await made.journal.close()


async def test_the_second_card_of_a_batch_is_adopted_as_itself(twins: Twins) -> None:
    first, second = twins.rigs(ADOPTED, ELSEWHERE)
    assert (await first.tap(), await second.tap()) == ("adopted", "adopted")
    await twins.begin(first, second)
    assert (await first.tap(), await second.tap()) == ("done", "done")


async def test_another_card_does_not_close_the_case_of_one_whose_adoption_was_torn(twins: Twins) -> None:
    first, second = twins.rigs(ADOPTED, ELSEWHERE)
    first.hold = Pulled
    assert await first.tap() == "card-pulled-in-doubt"
    first.hold = Plain
    assert await second.tap() == "adopted"
    assert not (await first.state()).issued, "closed by the proof of another card"
    assert await first.tap() == "adopted"
    await twins.begin(first, second)
    assert (await first.tap(), await second.tap()) == ("done", "done")


async def test_a_card_without_its_cplc_is_not_told_that_it_is_done_because_another_is(twins: Twins) -> None:
    first, second = twins.rigs(ISSUED)
    assert (await first.tap("issue"), await second.tap("issue")) == ("issued", "issued")
    await twins.begin(first, second)
    assert await first.tap() == "done"
    second.hold = Contactless
    assert await second.tap() == "done"
    assert second.card.kvns == first.card.kvns
    assert await twins.store.charges("k1", first.card_id()) == 0


async def test_a_blank_card_without_its_cplc_does_not_go_on_with_the_issuance_of_another(twins: Twins) -> None:
    first, second = twins.rigs(ISSUED)
    first.hold = Pulled
    assert await first.tap("issue") == "card-pulled-in-doubt"
    second.hold = Contactless
    assert await second.tap("issue") == "no-card-id"
    assert second.card.kvns == {0xFF}
    first.hold = second.hold = Plain
    assert (await first.tap("issue"), await second.tap("issue")) == ("issued", "issued")
    assert await twins.store.find((SHARED,)) == first.card_id()


async def test_a_strangers_card_costs_no_attempt_of_the_one_that_it_shares_an_id_with(twins: Twins) -> None:
    first, second = twins.rigs(ISSUED)
    assert await first.tap("issue") == "issued"
    await twins.begin(first, second)
    assert {await second.tap() for _ in range(6)} == {"unknown-card"}
    assert await first.tap() == "done"


@pytest.mark.parametrize(
    ("options", "profile", "purpose"), [(ISSUED, DEFAULT_PROFILE, "issue"), (ADOPTED, ELSEWHERE, "replace")]
)
async def test_a_new_card_is_refused_by_any_id_of_it_that_was_blocked_before_it_came(
    twins: Twins, options: CardOptions, profile: Profile, purpose: str
) -> None:
    first, _ = twins.rigs(options, profile)
    await blocked(twins, str(SHARED), "the whole batch was stolen")
    before = first.card.kvns
    assert await first.tap(purpose) == "card-blocked"
    assert first.card.kvns == before
    await blocked(twins, str(SHARED), "")
    assert await first.tap(purpose) in ("issued", "adopted")


async def test_a_card_on_record_is_blocked_by_any_of_its_ids_and_its_twin_is_not(twins: Twins) -> None:
    first, second = twins.rigs(ISSUED)
    assert (await first.tap("issue"), await second.tap("issue")) == ("issued", "issued")
    await twins.begin(first, second)
    await blocked(twins, str(SHARED), "reported stolen")
    assert (await first.tap(), await second.tap()) == ("card-blocked", "done")


async def blocked(twins: Twins, words: str, reason: str) -> None:
    """What `kioskd access block` and `unblock` write."""

    def work(connection: Connection) -> None:
        note(connection, card_named(connection, words, new=True), Blocked(reason))

    await twins.store.run(work, BEGIN_WRITING)
