"""What every vault must do, whatever stands behind the port.

A vault joins by a keeper: something that stocks it with known keys and can open it a second time.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.errors import ChannelBroken, Malformed, NotArmed, VaultError
from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.apdu import MAX_ANSWER_BYTES, CommandAPDU, ResponseAPDU
from kioskd.gp.cplc import CardId
from kioskd.gp.isd import InitializeUpdateAnswer, KeyField, delete_key, get_data
from kioskd.gp.keys import KVN, KeySet, kcv_aes
from kioskd.gp.scp03 import CardChannel, card_cryptogram
from kioskd.ports import Vault
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.labels import Cryptogram, KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.vault.contract.keepers import (
    CARD,
    EPOCH,
    FACTORY,
    FIGURES,
    HOST,
    KEEPERS,
    KRK,
    MASTER,
    PHRASE,
    Keeper,
)

pytestmark = pytest.mark.slow


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name != "soft" else ()) for name in KEEPERS])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Keeper:
    return KEEPERS[request.param](tmp_path)


@pytest.fixture
def vault(keeper: Keeper) -> Vault:
    """A vault of an armed epoch."""
    keeper.stock(BundlePurpose.REPLACE)
    return keeper.vault


@dataclass
class Chip:
    """The card's end of SCP03 over one key set that the test knows."""

    values: tuple[bytes, ...]
    kvn: int = 0xFF
    challenge: bytes = b"\xc0" * 8

    @property
    def static(self) -> KeySet:
        """Its keys."""
        return KeySet(*(AESKey(Secret(value)) for value in self.values))

    def channel(self) -> CardChannel:
        """A session on HOST and its own challenge."""
        return CardChannel(derive_session_keys(self.static, HOST, self.challenge, 8 * len(self.values[0])))

    def greet(self) -> bytes:
        """Its answer to INITIALIZE UPDATE with HOST."""
        cryptogram = card_cryptogram(self.channel().keys.mac, HOST, self.challenge)
        return InitializeUpdateAnswer(bytes(10), self.kvn, 3, 0x60, self.challenge, cryptogram, None).encode()

    def run(self, script: WrappedScript) -> tuple[list[CommandAPDU], list[ResponseAPDU]]:
        """What it understands of a script's commands, and its secured answers after EXTERNAL AUTHENTICATE."""
        channel = self.channel().authenticated(script.commands[0], HOST, self.challenge)
        assert channel is not None
        understood, answers = [], []
        for command in script.commands[1:]:
            plain, channel = channel.unwrap(command)
            understood.append(plain)
            answers.append(channel.wrap(ResponseAPDU(b"answer", 0x9000)))
        return understood, answers

    def read(self, fields: tuple[KeyField, ...]) -> tuple[bytes, ...]:
        """The keys in PUT KEY's fields, with their check values checked."""
        keys = []
        for field in fields:
            value = self.static.dek.decrypt_cbc(bytes(16), field.ciphertext)[: field.length]
            assert (field.type, field.kcv) == (0x88, kcv_aes(AESKey(Secret(value))))
            keys.append(value)
        return tuple(keys)


FACTORY_CHIP = Chip(FACTORY)


def opened(vault: Vault, chip: Chip = FACTORY_CHIP, level: int = 0x33) -> ChannelHandle:
    return vault.open_channel(vault.factory_set("factory"), HOST, chip.greet(), level)


def put(vault: Vault, new: KeyHandle) -> tuple[bytes, ...]:
    """The values of a key set, as a card that holds the factory set learns them."""
    return FACTORY_CHIP.read(vault.wrap_key_set(opened(vault), new))


def handle_of(vault: Vault, case: dict[str, Any]) -> KeyHandle:
    card = CardId(case["id_kind"], bytes.fromhex(case["id"]))
    label = KeyLabel(
        case["kind"], case["number"], case["install"], case["profile"], case["kvn"], card, "AES", case["bits"]
    )
    if label.kind == "MK":
        return vault.derive_master(label)
    value = bytes.fromhex(FIGURES["cryptogram"])
    return vault.recover_krk(Cryptogram(1, label.number, "SHA1", label.kvn, label.install, value), label)


@pytest.mark.parametrize("case", FIGURES["cases"], ids=lambda case: f"{case['kind']}-{case['bits']}-{case['install']}")
def test_a_vault_reproduces_the_frozen_figures(vault: Vault, case: dict[str, Any]) -> None:
    handle = handle_of(vault, case)
    expected = tuple(bytes.fromhex(case["members"][member]["key"]) for member in ("ENC", "MAC", "DEK"))
    assert put(vault, handle) == expected
    assert vault.proves(handle, HOST, bytes.fromhex(case["answer"]))
    # Its own DEK wraps what its own DEK opens.
    chip = Chip(expected, case["kvn"])
    channel = vault.open_channel(handle, HOST, bytes.fromhex(case["answer"]), 0x33)
    assert chip.read(vault.wrap_key_set(channel, handle)) == expected


def test_a_minted_set_is_recovered_by_the_armed_vault(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    handle, cryptogram = keeper.vault.mint_krk(KRK)
    values = put(keeper.vault, handle)
    keeper.stock(BundlePurpose.REPLACE)
    vault = keeper.again()
    assert put(vault, vault.recover_krk(cryptogram, KRK)) == values
    assert len(set(values)) == 3


@pytest.mark.claim(3)
def test_two_mints_of_one_label_have_nothing_in_common(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    (one, first), (other, second) = keeper.vault.mint_krk(KRK), keeper.vault.mint_krk(KRK)
    assert set(put(keeper.vault, one)).isdisjoint(put(keeper.vault, other))
    assert first.value != second.value
    assert (first.scheme, first.epoch, first.oaep, first.kvn, first.install) == (1, EPOCH, "SHA1", 0x3E, 1)


@pytest.mark.parametrize(
    "other",
    [
        replace(MASTER, install=3),
        replace(MASTER, profile="gp-scp03-aes128-b"),
        replace(MASTER, kvn=0x38),
        replace(MASTER, card=CardId("cplc", bytes.fromhex("47905A40DEAD12345679"))),
        replace(MASTER, card=CardId("cf", CARD.value)),
    ],
)
def test_every_field_of_a_label_makes_other_keys(vault: Vault, other: KeyLabel) -> None:
    ours = put(vault, vault.derive_master(MASTER))
    assert set(ours).isdisjoint(put(vault, vault.derive_master(other)))


def test_an_empty_vault_mints_recovers_and_derives_nothing(keeper: Keeper) -> None:
    vault = keeper.vault
    with pytest.raises(NotArmed, match="epoch 3"):
        vault.mint_krk(KRK)
    with pytest.raises(NotArmed, match="epoch 3"):
        vault.recover_krk(Cryptogram(1, EPOCH, "SHA1", 0x3E, 1, bytes(384)), KRK)
    with pytest.raises(NotArmed, match="generation 7"):
        vault.derive_master(MASTER)
    with pytest.raises(NotArmed, match="factory set other"):
        vault.factory_set("other")


@pytest.mark.claim(7, 19)
def test_an_issuing_vault_recovers_nothing_that_it_minted(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    _, cryptogram = keeper.vault.mint_krk(KRK)
    with pytest.raises(NotArmed):
        keeper.vault.recover_krk(cryptogram, KRK)


def test_arming_an_epoch_ends_issuing_under_it_for_ever(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    keeper.stock(BundlePurpose.REPLACE)
    for vault in (keeper.vault, keeper.again()):
        with pytest.raises(NotArmed, match="issuing has ended"):
            vault.mint_krk(KRK)
    with pytest.raises(Exception, match="issuing has ended"):
        keeper.stock(BundlePurpose.ISSUE)


def test_ending_issue_leaves_the_epoch_neither_issuing_nor_armed(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    _, cryptogram = keeper.vault.mint_krk(KRK)
    keeper.end_issue()
    for vault in (keeper.vault, keeper.again()):
        with pytest.raises(NotArmed, match="issuing has ended"):
            vault.mint_krk(KRK)
        with pytest.raises(NotArmed):
            vault.recover_krk(cryptogram, KRK)
    with pytest.raises(Exception, match="issuing has ended"):
        keeper.stock(BundlePurpose.ISSUE)


@pytest.mark.parametrize("value", [bytes(384), b"", b"\xff" * 384, b"\x01" * 17])
def test_a_forged_cryptogram_is_a_sentence(vault: Vault, value: bytes) -> None:
    with pytest.raises(VaultError, match="does not open"):
        vault.recover_krk(Cryptogram(1, EPOCH, "SHA1", 0x3E, 1, value), KRK)


def test_a_cryptogram_is_refused_under_another_label_scheme_or_hash(vault: Vault) -> None:
    good = Cryptogram(1, EPOCH, "SHA1", 0x3E, 1, bytes.fromhex(FIGURES["cryptogram"]))
    vault.recover_krk(good, KRK)
    for bad in (replace(good, scheme=2), replace(good, oaep="SHA256"), replace(good, kvn=0x3F), replace(good, epoch=4)):
        with pytest.raises(VaultError):
            vault.recover_krk(bad, KRK)
    with pytest.raises(VaultError):
        vault.recover_krk(good, replace(KRK, install=2))


def test_labels_of_the_wrong_kind_or_algorithm_are_refused(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE)
    for label in (replace(KRK, kind="MK"), replace(KRK, algorithm="RC4"), replace(KRK, bits=112)):
        with pytest.raises(VaultError):
            keeper.vault.mint_krk(label)
    with pytest.raises(VaultError):
        keeper.vault.derive_master(replace(MASTER, kind="KRK"))


def test_challenges_have_8_bytes_and_do_not_repeat(keeper: Keeper) -> None:
    challenges = {keeper.vault.challenge() for _ in range(100)}
    assert {len(one) for one in challenges} == {8}
    assert len(challenges) == 100


def test_a_key_set_proves_its_own_card_only(vault: Vault) -> None:
    factory = vault.factory_set("factory")
    assert vault.proves(factory, HOST, FACTORY_CHIP.greet())
    assert not vault.proves(factory, bytes(8), FACTORY_CHIP.greet())
    assert not vault.proves(vault.derive_master(MASTER), HOST, FACTORY_CHIP.greet())
    with pytest.raises(Malformed):
        vault.proves(factory, HOST, b"\x00" * 12)


def test_no_channel_opens_on_a_cryptogram_that_is_not_the_sets(vault: Vault) -> None:
    with pytest.raises(ChannelBroken):
        vault.open_channel(vault.derive_master(MASTER), HOST, FACTORY_CHIP.greet(), 0x33)
    with pytest.raises(VaultError, match="level 02"):
        opened(vault, level=0x02)


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13, 0x33])
def test_a_card_understands_the_script_and_another_process_its_answers(keeper: Keeper, level: int) -> None:
    keeper.stock(BundlePurpose.REPLACE)
    commands = (delete_key(KVN(0x30)), get_data(0xE0))
    script = keeper.vault.wrap_commands(opened(keeper.vault, level=level), commands)
    understood, answers = FACTORY_CHIP.run(script)
    assert [(one.ins, one.data) for one in understood] == [(one.ins, one.data) for one in commands]
    plain = (ResponseAPDU(b"answer", 0x9000),) * 2
    assert keeper.again().unwrap_responses(script.sealed, script.marks, tuple(answers)) == plain


def test_a_forged_answer_is_none_and_its_neighbours_are_read(vault: Vault) -> None:
    script = vault.wrap_commands(opened(vault), (get_data(0xE0),) * 4)
    _, answers = FACTORY_CHIP.run(script)
    answers[1] = replace(answers[1], sw=0x6310)
    answers[2] = answers[3]
    refused = ResponseAPDU(b"", 0x6A88)
    answers[3] = refused
    plain = vault.unwrap_responses(script.sealed, script.marks, tuple(answers))
    assert plain == (ResponseAPDU(b"answer", 0x9000), None, None, refused)


@pytest.mark.parametrize("level", [0x13, 0x33])
def test_an_answer_that_came_in_parts_is_read_as_one(vault: Vault, level: int) -> None:
    """Key information of many sets has more than 256 bytes; its response MAC is over all of them."""
    long = ResponseAPDU(bytes(at % 251 for at in range(MAX_ANSWER_BYTES - 32)), 0x9000)
    script = vault.wrap_commands(opened(vault, level=level), (get_data(0xE0), get_data(0xE0)))
    channel = FACTORY_CHIP.channel().authenticated(script.commands[0], HOST, FACTORY_CHIP.challenge)
    answers = []
    for command in script.commands[1:]:
        assert channel is not None
        _, channel = channel.unwrap(command)
        answers.append(channel.wrap(long))
    answers[1] = replace(answers[1], data=answers[1].data[:300] + answers[1].data[301:])
    assert vault.unwrap_responses(script.sealed, script.marks, tuple(answers)) == (long, None)


def test_a_prefix_of_the_answers_is_read_with_its_marks(vault: Vault) -> None:
    script = vault.wrap_commands(opened(vault), (get_data(0xE0),) * 3)
    _, answers = FACTORY_CHIP.run(script)
    plain = vault.unwrap_responses(script.sealed, script.marks[:1], tuple(answers[:1]))
    assert plain == (ResponseAPDU(b"answer", 0x9000),)
    with pytest.raises(VaultError):
        vault.unwrap_responses(script.sealed, script.marks, tuple(answers[:1]))


def test_sealed_response_keys_show_no_key_and_open_nowhere_else(vault: Vault, tmp_path: Path) -> None:
    script = vault.wrap_commands(opened(vault), (get_data(0xE0),))
    for sealed in (b"", script.sealed[:-1], script.sealed[:-1] + bytes((script.sealed[-1] ^ 1,))):
        with pytest.raises(VaultError):
            vault.unwrap_responses(sealed, (), ())
    stranger = SoftVault.create(tmp_path / "stranger", PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
    with pytest.raises(VaultError):
        stranger.unwrap_responses(script.sealed, (), ())


def test_a_channel_wraps_once(vault: Vault) -> None:
    channel = opened(vault)
    vault.wrap_commands(channel, ())
    with pytest.raises(VaultError, match="spent"):
        vault.wrap_commands(channel, ())
    with pytest.raises(VaultError, match="spent"):
        vault.wrap_key_set(channel, vault.factory_set("factory"))


def test_forgotten_handles_are_dead_and_unknown_ones_are_ignored(vault: Vault) -> None:
    handle, channel = vault.factory_set("factory"), opened(vault)
    kept = vault.derive_master(MASTER)
    vault.forget((handle, channel, 10**9))
    with pytest.raises(VaultError):
        vault.proves(handle, HOST, FACTORY_CHIP.greet())
    with pytest.raises(VaultError):
        vault.wrap_commands(channel, ())
    assert not vault.proves(kept, HOST, FACTORY_CHIP.greet())
    vault.forget((handle,))


def test_a_handle_of_one_kind_is_not_taken_for_the_other(vault: Vault) -> None:
    channel = opened(vault)
    with pytest.raises(VaultError):
        vault.proves(KeyHandle(channel), HOST, FACTORY_CHIP.greet())
    with pytest.raises(VaultError):
        vault.wrap_commands(ChannelHandle(vault.factory_set("factory")), ())


def test_a_master_set_lives_until_everybody_who_asked_for_it_has_forgotten_it(vault: Vault) -> None:
    first, second = vault.derive_master(MASTER), vault.derive_master(MASTER)
    vault.forget((first,))
    assert put(vault, second)
    vault.forget((second,))
    with pytest.raises(VaultError):
        put(vault, second)
