"""Arming brings the keys and their campaign together; disarming takes them away, never from under an open case."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kioskd.access import cli
from kioskd.access.campaigns import disarm, in_store, take_in
from kioskd.access.vaults import open_vault
from kioskd.config import AccessConfig, ListenSection, TlsSection, VaultSection
from kioskd.edges import campaigns as book
from kioskd.edges.card_index import index
from kioskd.edges.certificates import create_ca, issue_server
from kioskd.edges.certified import check_certified
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import SqlStore
from kioskd.errors import BadBundle, NotArmed
from kioskd.gp.cplc import CardId
from kioskd.ports import KeptVault
from kioskd.private_file import write_private
from kioskd.rekey.bundle import BUNDLE_VERSION, BundleContents, BundleHeader, BundlePurpose, Campaign
from kioskd.rekey.bundle_check import fingerprint_of, pem_of, read_transport_key, spki_of
from kioskd.rekey.campaign import ORDER_VERSION, CampaignState, DisarmOrder, OpenCase, digest_of
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.rekey.records import Closed, MasterRef, Purpose, Receipt
from kioskd.rekey.statement import Statement
from kioskd.rekey.wire import Script, Step
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import load_private, make_rsa, seal_bundle
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

pytestmark = pytest.mark.slow

PHRASE = Secret(b"correct horse")
CARD = CardId("cplc", b"0123456789")
LEAK = Campaign("leak", 1, 2, (1,), 0, 10**10)
CLOSED = Closed(
    3, Purpose.CONCLUDE, MasterRef(1, 0x31, 1), Cryptogram(1, 1, "SHA1", 0x3E, 2, b"x" * 256), Receipt.MATCH
)
NOW = 150


@cache
def pair() -> Secret:
    """The epoch's pair: one for all tests, since it takes long to make."""
    return make_rsa(2048)


class House:
    """An access server's files, and the key management server that signs for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kms = Ed25519PrivateKey.generate()
        write_private(folder / "pass", b"correct horse\n")
        (folder / "kms.pem").write_bytes(pem_of(self.kms.public_key()))
        SoftVault.create(folder / "vault", PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
        self.config = AccessConfig(
            ListenSection("127.0.0.1", 1),
            TlsSection("", "", ""),
            f"sqlite:///{folder}/access.db",
            VaultSection(f"{folder}/kms.pem", f"{folder}/vault", f"{folder}/pass"),
            f"{folder}/sock",
        )
        SqlStore(self.config.store).close()

    @property
    def vault(self) -> KeptVault:
        """The vault, as a process opens it."""
        return open_vault(self.config)

    def bundle(
        self, purpose: BundlePurpose, generation: int = 2, campaign: Campaign | None = LEAK, name: bytes = b""
    ) -> bytes:
        """A bundle of epoch 1 for this server."""
        recipient = read_transport_key(self.vault.transport_key())
        public = spki_of(load_private(pair()).public_key())
        arming = purpose is BundlePurpose.REPLACE
        contents = BundleContents(Secret(b"m" * 32), Secret(b"k" * 32), public, pair() if arming else None)
        name = name or bytes((generation,)) * 8 + purpose.value.encode().ljust(8)
        to = fingerprint_of(recipient)
        header = BundleHeader(BUNDLE_VERSION, name, purpose, generation, 1, to, 100, 200, campaign if arming else None)
        return seal_bundle(header, contents, recipient, self.kms)

    def arm(self, generation: int = 2, campaign: Campaign = LEAK) -> None:
        """Takes in a replace bundle."""
        asyncio.run(take_in(self.config, self.vault, self.bundle(BundlePurpose.REPLACE, generation, campaign), NOW))

    def issue(self) -> None:
        """A card of epoch 1 has generation 1."""
        asyncio.run(in_store(self.config, lambda connection: index(connection, CARD, CLOSED)))

    def begin(self) -> tuple[OpenCase, ...]:
        """A card of epoch 1 was begun; the list of open cases."""

        def write(connection: book.Connection) -> None:
            index(connection, CARD, CLOSED)
            connection.exec_driver_sql("UPDATE cards SET last = 4")

        asyncio.run(in_store(self.config, write))
        return (OpenCase(CARD, 1, 1, 4),)

    def order(self, cases: tuple[OpenCase, ...], campaign: str = "leak") -> DisarmOrder:
        """The KMS's order over a list."""
        to = fingerprint_of(read_transport_key(self.vault.transport_key()))
        return self.signed(DisarmOrder(ORDER_VERSION, bytes(16), to, campaign, digest_of(cases), 100, 200))

    def signed(self, order: DisarmOrder) -> DisarmOrder:
        """The order under the KMS's signature."""
        return replace(order, signature=self.kms.sign(order.signed_part()))

    def disarm(self, order: DisarmOrder | None = None, campaign: str = "leak") -> tuple[OpenCase, ...]:
        """Disarms; the open cases that forbid it."""
        raw = None if order is None else order.encode()
        return asyncio.run(disarm(self.config, self.vault, campaign, raw, NOW))

    @property
    def standings(self) -> dict[str, CampaignState]:
        """Every campaign's state."""
        return {one.campaign.id: one.state for one in asyncio.run(in_store(self.config, book.all_of))}


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An access server without keys."""
    return House(tmp_path)


def test_arming_ends_issuing_and_writes_the_campaign_down(house: House) -> None:
    raw = house.bundle(BundlePurpose.ISSUE, 1)
    asyncio.run(take_in(house.config, house.vault, raw, NOW))
    assert house.vault.holdings().issuing == (1,)
    house.arm()
    assert (house.vault.holdings().issuing, house.vault.holdings().armed) == ((), (1,))
    assert house.standings == {"leak": CampaignState.ARMED}


def test_a_refused_bundle_leaves_no_campaign(house: House) -> None:
    house.arm()
    again = house.bundle(BundlePurpose.REPLACE, 2, replace(LEAK, id="twice"))
    with pytest.raises(BadBundle, match="imported before"):
        asyncio.run(take_in(house.config, house.vault, again, NOW))
    assert house.standings == {"leak": CampaignState.ARMED}


def test_an_import_that_died_between_campaign_and_keys_is_finished_by_the_same_command(house: House) -> None:
    asyncio.run(in_store(house.config, lambda connection: book.arm(connection, LEAK)))
    house.arm()
    assert house.vault.holdings().armed == (1,)


def test_disarming_destroys_the_replacing_keys(house: House) -> None:
    house.arm()
    assert house.disarm() == ()
    assert house.standings == {"leak": CampaignState.DISARMED}
    assert (house.vault.holdings().armed, house.vault.holdings().generations) == ((), ())
    label = KeyLabel("KRK", 1, 2, "gp-scp03-aes128", 0x3E, CARD)
    with pytest.raises(NotArmed):
        house.vault.recover_krk(CLOSED.krk, label)
    with pytest.raises(NotArmed):
        house.vault.derive_master(replace(label, kind="MK", number=2))


def test_disarming_that_died_before_the_keys_were_destroyed_is_finished_by_the_same_command(house: House) -> None:
    house.arm()
    asyncio.run(in_store(house.config, lambda c: book.set_state(c, "leak", CampaignState.DISARMING)))
    assert house.disarm() == ()
    assert house.vault.holdings().armed == ()


def test_disarming_an_old_campaign_leaves_the_keys_of_the_one_that_followed_it(house: House) -> None:
    house.arm()
    house.arm(3, Campaign("second", 2, 3, (1,), 0, 10**10))
    assert house.disarm() == ()
    assert house.vault.holdings().armed == (1,)
    assert house.standings == {"leak": CampaignState.DISARMED, "second": CampaignState.ARMED}


def test_open_cases_forbid_disarming_until_the_custodians_accept_the_list(house: House) -> None:
    house.arm()
    cases = house.begin()
    assert house.disarm() == cases
    assert house.vault.holdings().armed == (1,)
    assert house.disarm(house.order(cases)) == ()
    assert house.vault.holdings().armed == ()


@pytest.mark.parametrize(
    ("bend", "words"),
    [
        (lambda house, _: house.order(()), "the list of open cases has changed"),
        (lambda house, cases: house.order((replace(cases[0], number=5),)), "the list of open cases has changed"),
        (lambda house, cases: house.order(cases, "other"), "is for the campaign other"),
        (lambda house, cases: house.signed(replace(house.order(cases), recipient=bytes(32))), "another access server"),
        (lambda house, cases: house.signed(replace(house.order(cases), not_after=149)), "not for this time"),
        (lambda house, cases: house.signed(replace(house.order(cases), not_before=151)), "not for this time"),
        (lambda house, cases: replace(house.order(cases), signature=bytes(64)), "altered"),
        (lambda house, cases: replace(house.order(()), cases=digest_of(cases)), "altered"),
    ],
)
def test_an_order_that_is_not_for_this_list_server_campaign_and_time_changes_nothing(
    house: House, bend: Callable[[House, tuple[OpenCase, ...]], DisarmOrder], words: str
) -> None:
    house.arm()
    cases = house.begin()
    with pytest.raises(BadBundle, match=words):
        house.disarm(bend(house, cases))
    assert house.standings == {"leak": CampaignState.ARMED}
    assert house.vault.holdings().armed == (1,)


def test_a_disarmed_campaign_is_not_armed_again(house: House) -> None:
    house.arm()
    house.disarm()
    with pytest.raises(BadBundle, match="was disarmed"):
        house.arm()
    assert house.vault.holdings().armed == ()


def test_an_unknown_campaign_is_a_sentence(house: House) -> None:
    with pytest.raises(BadBundle, match="none of this id"):
        house.disarm(campaign="other")


def test_an_order_written_in_another_way_is_refused(house: House) -> None:
    raw = house.order(()).encode()
    assert DisarmOrder.decode(raw) == house.order(())
    for other in (raw.rstrip(), b" " + raw, raw * 30, b"{}\n", b"null\n", b"\xff", b"[" * 5000):
        with pytest.raises(BadBundle):
            DisarmOrder.decode(other)


def test_the_command_line_shows_campaigns_and_open_cases(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_access", lambda _: house.config)
    house.arm()
    (case,) = house.begin()
    assert cli.main(["campaigns", "--config", "any"]) == 0
    assert "leak" in capsys.readouterr().out
    assert cli.main(["disarm", "leak", "--config", "any"]) == 2
    told = capsys.readouterr()
    assert str(case.card) in told.out
    assert "1 case is open" in told.err
    assert cli.main(["campaigns", "--config", "any"]) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("leak"))
    assert row[1:9] == ["armed", "1", "to", "2", "1", "1", "1", "1"], "cards, left to be replaced, open"


def test_who_disarms_a_campaign_hears_how_many_cards_it_leaves_and_that_it_was_disarmed_before(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_access", lambda _: house.config)
    house.arm()
    house.issue()
    assert cli.main(["disarm", "leak", "--config", "any"]) == 0
    assert "Cards of its epochs that were not replaced: 1." in capsys.readouterr().out
    assert cli.main(["disarm", "leak", "--config", "any"]) == 0
    assert capsys.readouterr().out == "The campaign leak was disarmed before; nothing was changed.\n"


@pytest.mark.parametrize("words", [["campaigns"], ["blocked"], ["block", str(CARD), "--reason", "lost"]])
def test_a_store_that_is_not_there_is_not_taken_for_an_empty_one(
    house: House, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = house.folder / "elsewhere.db"
    monkeypatch.setattr(cli, "load_access", lambda _: replace(house.config, store=f"sqlite:///{elsewhere}"))
    assert cli.main([*words, "--config", "any"]) == 2
    assert "there is none; is it elsewhere" in capsys.readouterr().err
    assert not elsewhere.exists()


def test_the_command_line_says_what_is_in_doubt_after_a_restore(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_access", lambda _: house.config)
    script = Script(1, str(CARD), b"", 1000, (Step(b"\x80\xd8\x00\x00", (0x9000,)),), CLOSED.krk)

    async def note() -> None:
        journal = SqliteJournal(house.folder / "station.journal")
        await journal.note_in_doubt(script)
        await journal.close()

    asyncio.run(note())
    assert cli.main(["restored", "--journal", f"{house.folder}/station.journal", "--config", "any"]) == 0
    said = capsys.readouterr().out
    assert "The store's epoch is 1: 0 cards are in doubt until their next tap." in said
    assert "1 of 1 cryptograms of 1 journals were not here, and are now." in said
    assert cli.main(["restored", "--journal", f"{house.folder}/none", "--config", "any"]) == 2
    assert "none: is no journal" in capsys.readouterr().err


def test_the_server_states_how_many_cards_rely_on_each_epoch(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_ca(house.folder, "authority")
    issue_server(house.folder, "access.example", ("access.example",), house.folder)
    files = (f"{house.folder}/{name}" for name in ("ca.crt", "access.example.crt", "access.example.key"))
    config = replace(house.config, tls=TlsSection(*files))
    monkeypatch.setattr(cli, "load_access", lambda _: config)
    house.begin()
    assert cli.main(["statement", "--out", f"{house.folder}/statement", "--config", "any"]) == 0
    assert "epoch 1: 1 cards" in capsys.readouterr().out
    one = Statement.decode((house.folder / "statement").read_bytes())
    authority = (house.folder / "ca.crt").read_bytes()
    check_certified(one.signed_part(), one.signature, one.certificate, authority, one.at)
    assert (one.cards_of(1), one.cards_of(2)) == (1, 0)
    assert one.server == fingerprint_of(read_transport_key(house.vault.transport_key()))


def test_two_campaigns_with_one_goal_are_disarmed_one_by_one_and_the_keys_go_with_the_last(house: House) -> None:
    house.arm()
    again = replace(LEAK, id="longer")
    raw = house.bundle(BundlePurpose.REPLACE, 2, again, name=b"another bundle..")
    asyncio.run(take_in(house.config, house.vault, raw, NOW))
    assert house.disarm() == ()
    assert house.vault.holdings().armed == (1,)
    assert house.disarm() == (), "said again, nothing more happens"
    assert house.vault.holdings().armed == (1,)
    assert house.standings == {"leak": CampaignState.DISARMED, "longer": CampaignState.ARMED}
    assert house.disarm(campaign="longer") == ()
    assert house.vault.holdings().armed == ()


def test_a_campaign_that_was_disarmed_stays_so_whatever_is_open(house: House) -> None:
    house.arm()
    assert house.disarm() == ()
    house.begin()
    assert house.disarm() == ()
    assert house.standings == {"leak": CampaignState.DISARMED}
