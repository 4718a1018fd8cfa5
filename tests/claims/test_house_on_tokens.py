"""The claims on real parts: two servers with a SoftHSM2 token each, station, kiosk, TLS, and a card through PC/SC."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import ObjectClass

from kioskd.access.vaults import open_vault as open_configured
from kioskd.config import load_access
from kioskd.demo.softhsm import SoftHsm
from kioskd.demo.stage import Stage
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.errors import NotArmed
from kioskd.gp.apdu import SW, CommandAPDU
from kioskd.gp.isd import ISD_AID, delete_key, external_authenticate, initialize_update, put_key, select
from kioskd.gp.keys import KVN
from kioskd.ports import KeptVault
from kioskd.rekey.evidence import Subject
from kioskd.rekey.labels import KeyLabel
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.records import CardState
from kioskd.virtual.card import VirtualCard
from tests.path.scene import Scene
from tests.vault.contract.keepers import softhsm_configuration
from tests.virtual.host import Host, sw

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]


@dataclass
class Story:
    """What happened to one card: its keys and its records after issuance and after the replacement, and both taps."""

    stage: Stage
    card: VirtualCard
    issued: CardState
    replaced: CardState
    refused: str  # the outcome of a tap before arming
    not_armed: str  # what the access server's token said to recovering before arming
    issue_tap: dict[str, Any]
    tap: dict[str, Any]
    issued_keys: dict[int, tuple[bytes, ...]]

    @property
    def vault(self) -> KeptVault:
        """The access server's token, as another process of that server opens it."""
        return open_configured(load_access(self.stage.folder / "access.yaml"))

    def keys(self, kvn: int) -> tuple[bytes, ...]:
        """The values of a set on the card."""
        return values(self.card, kvn)

    @property
    def subject(self) -> Subject:
        """Whose keys these are."""
        assert self.replaced.registered is not None
        return Subject(self.replaced.registered.card, DEFAULT_PROFILE)


def values(card: VirtualCard, kvn: int) -> tuple[bytes, ...]:
    """The values of a set on a card."""
    found = card.memory.at(kvn)
    assert found is not None
    return found.enc, found.mac, found.dek


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One card issued and replaced."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    folder = tmp_path_factory.mktemp("c") / "s"
    with Stage(folder, rsa_bits=2048, hsm=SoftHsm(Path(softhsm_configuration()))) as stage:
        stage.make_keys()
        stage.start_access()
        stage.start_terminal("station")
        card, scene = stage.new_card(), Scene(stage)
        issue_tap = stage.tap(stage.holder(card, "station"), "station")
        issued, kvns = scene._state(card), card.kvns
        issued_keys = {kvn: values(card, kvn) for kvn in kvns}
        stage.start_terminal("kiosk")
        hand = stage.holder(card, "kiosk")
        refused = stage.tap(hand, "kiosk")["outcome"]
        stage.kms("generate")
        not_armed = _recovering(stage, issued)
        stage.release("replace", generation=2)
        tap = stage.tap(hand, "kiosk")
        yield Story(stage, card, issued, scene._state(card), refused, not_armed, issue_tap, tap, issued_keys)


def _recovering(stage: Stage, issued: CardState) -> str:
    """What the access server's token says to the cryptogram before it is armed."""
    assert issued.registered is not None and issued.closed is not None
    krk, subject = issued.closed.krk, Subject(issued.registered.card, DEFAULT_PROFILE)
    try:
        stage.vault().recover_krk(krk, subject.krk_label(krk.epoch, krk.install, krk.kvn))
    except NotArmed as wrong:
        return str(wrong)
    return "recovered"


@pytest.mark.claim(1, 8, 10, 12, 14, 29, 30, 31)
def test_a_card_is_issued_end_to_end_with_both_sets_registered_and_proven(story: Story) -> None:
    assert story.issue_tap["outcome"] == "issued"
    assert set(story.issued_keys) == {0x31, 0x3E}, "the master in the first slot, the KRK in the second"
    assert isinstance(story.vault, TokenVault)
    closed = story.issued.closed
    assert closed is not None
    assert (closed.master.kvn, closed.krk.kvn) == (0x31, 0x3E)


@pytest.mark.claim(5, 6)
def test_the_cryptogram_is_in_the_store_against_the_cards_id_before_the_krk_leaves(story: Story) -> None:
    intents = [one for one in story.issued.intents if one.cryptogram is not None]
    assert story.issued.closed is not None
    krk = story.issued.closed.krk
    assert [one.cryptogram for one in intents] == [krk]
    assert story.issued.found[intents[0].number].proven_krk == krk
    assert len(krk.value) == 256, "encrypted to the epoch's public key"


@pytest.mark.claim(7, 19)
def test_after_issuance_no_random_number_is_left_and_an_access_server_that_is_not_armed_recovers_nothing(
    story: Story,
) -> None:
    assert "private key is not here" in story.not_armed
    assert story.refused == "nothing-to-do"
    vault = story.vault
    assert isinstance(vault, TokenVault)
    secrets = vault._token.labels(ObjectClass.SECRET_KEY)
    assert {one.split()[0] for one in secrets} == {"MKDB", "KRKDB", "factory", "journal"}, "no RND, KRK or master key"


@pytest.mark.claim(15, 16, 27, 36, 37, 38, 39)
def test_a_master_set_is_replaced_end_to_end_after_the_transfer_from_the_second_hsm(story: Story) -> None:
    assert (story.tap["outcome"], story.tap["code"]) == ("done", "K100")
    assert story.card.kvns == frozenset({0x32, 0x3E})
    holdings = story.vault.holdings()
    assert (holdings.issuing, holdings.armed, holdings.generations) == ((), (1,), (1, 2))


@pytest.mark.claim(17, 18, 20, 21)
def test_the_card_is_found_by_its_id_and_its_keys_are_computed_again(story: Story) -> None:
    closed, subject, vault = story.replaced.closed, story.subject, story.vault
    assert closed is not None
    krk = vault.recover_krk(closed.krk, subject.krk_label(closed.krk.epoch, closed.krk.install, closed.krk.kvn))
    master = vault.derive_master(subject.master_label(closed.master))
    for handle, kvn in ((krk, 0x3E), (master, 0x32)):
        challenge = vault.challenge()
        assert vault.proves(handle, challenge, greeted(story.card, kvn, challenge))
    assert story.keys(0x3E) == story.issued_keys[0x3E], "the KRK is the one that was issued"


@pytest.mark.claim(2, 11)
def test_keys_differ_by_the_cards_id(story: Story) -> None:
    closed, subject, vault = story.replaced.closed, story.subject, story.vault
    assert closed is not None
    label = subject.master_label(closed.master)
    other = KeyLabel(
        label.kind, label.number, label.install, label.profile, label.kvn, type(label.card)("cplc", b"another id")
    )
    challenge = vault.challenge()
    answer = greeted(story.card, 0x32, challenge)
    assert vault.proves(vault.derive_master(label), challenge, answer)
    assert not vault.proves(vault.derive_master(other), challenge, answer)


def greeted(card: VirtualCard, kvn: int, challenge: bytes) -> bytes:
    """The card's answer to INITIALIZE UPDATE."""
    card.reset()
    card.transmit(select(ISD_AID).encode())
    return card.transmit(initialize_update(KVN(kvn), challenge).encode())[:-2]


@pytest.mark.claim(22, 23)
def test_the_executive_compares_the_krk_and_a_wrong_one_leaves_it_locked_and_costs_an_attempt(story: Story) -> None:
    card = story.card
    before = card.memory.at(0x3E)
    assert before is not None
    challenge = bytes(range(8))
    greeted(card, 0x3E, challenge)
    wrong = CommandAPDU(0x84, 0x82, 0x33, 0, external_authenticate(0x33, bytes(8)).data + bytes(8))
    assert sw(card.transmit(wrong.encode())) != SW.OK
    spent = card.memory.at(0x3E)
    assert spent is not None
    assert spent.tries == before.tries - 1
    assert sw(card.transmit(delete_key(KVN(0x32)).encode())) == SW.SECURITY_STATUS_NOT_SATISFIED
    card.reset()
    card.transmit(select(ISD_AID).encode())
    host = Host.open(card.transmit, 0x3E, story.keys(0x3E))
    assert host.key_information().kvns == card.kvns, "the right one unlocks"


@pytest.mark.claim(24)
def test_the_old_master_set_opens_nothing(story: Story) -> None:
    old = story.issued_keys[0x31]
    assert 0x31 not in story.card.kvns
    for kvn in story.card.kvns:
        story.card.reset()
        story.card.transmit(select(ISD_AID).encode())
        with pytest.raises(AssertionError):
            Host.open(story.card.transmit, kvn, old)


@pytest.mark.claim(25)
def test_the_new_master_set_is_registered_with_a_matching_receipt_and_opens_the_card(story: Story) -> None:
    closed = story.replaced.closed
    assert closed is not None
    assert closed.receipt.value == "match"
    story.card.reset()
    story.card.transmit(select(ISD_AID).encode())
    assert Host.open(story.card.transmit, 0x32, story.keys(0x32)).key_information().kvns == {0x32, 0x3E}


@pytest.mark.claim(26)
def test_after_the_closing_initialize_update_key_commands_are_refused_again(story: Story) -> None:
    card = story.card
    card.reset()
    card.transmit(select(ISD_AID).encode())
    host = Host.open(card.transmit, 0x3E, story.keys(0x3E))
    card.transmit(initialize_update(KVN(0x32), bytes(8)).encode())
    for command in (delete_key(KVN(0x32)), put_key(KVN(0x33), host.fields(story.keys(0x3E)))):
        wrapped, _, _ = host.channel.wrap(command)
        assert sw(card.transmit(wrapped.encode())) == SW.SECURITY_STATUS_NOT_SATISFIED
    assert card.kvns == frozenset({0x32, 0x3E})


@pytest.mark.claim(35)
def test_the_steps_of_a_real_run_come_in_the_claims_order(story: Story) -> None:
    told = [moment["what"] for moment in story.tap["moments"]]
    greeting, proof = "INITIALIZE UPDATE 3E", "INITIALIZE UPDATE 32"
    steps = ("GET DATA 9F7F", greeting, "EXTERNAL AUTHENTICATE", "DELETE", "PUT KEY", proof)
    at = [next(place for place, name in enumerate(told) if name.startswith(step)) for step in steps]
    assert at == sorted(at), "id; unlock; delete; install; relock"


def test_a_token_that_was_never_prepared_is_one_sentence(story: Story, tmp_path: Path) -> None:
    stage, hsm = story.stage, story.stage.hsm
    assert hsm is not None
    hsm.make_token(stage.roles, tmp_path, f"bare-{os.getpid()}")
    config = (stage.folder / "access.yaml").read_text().splitlines(keepends=True)
    lines = [line for line in config if not line.startswith("  token:")]
    at = next(place for place, line in enumerate(lines) if line.startswith("  kms_key:"))
    lines.insert(at + 1, hsm.section(tmp_path, f"bare-{os.getpid()}"))
    (tmp_path / "access.yaml").write_text("".join(lines))
    with pytest.raises(Exception, match="has no 'transport'; prepare it with `kioskd access init`"):
        stage.roles.run("access", "serve", "--check", "--config", f"{tmp_path}/access.yaml")


def test_a_wrong_pin_is_one_sentence_and_the_server_does_not_start(story: Story, tmp_path: Path) -> None:
    config = (story.stage.folder / "access.yaml").read_text()
    (tmp_path / "pin").write_text("9999-wrong\n")
    (tmp_path / "pin").chmod(0o600)
    label = story.stage._token("access")
    (tmp_path / "access.yaml").write_text(config.replace(f"{story.stage.folder}/{label}.pin", f"{tmp_path}/pin"))
    with pytest.raises(Exception, match="refuses the PIN") as failed:
        story.stage.roles.run("access", "serve", "--check", "--config", f"{tmp_path}/access.yaml")
    assert "Traceback" not in str(failed.value)
