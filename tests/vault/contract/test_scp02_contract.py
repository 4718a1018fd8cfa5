"""SCP02 with every vault: software, SoftHSM2, NSS. One step tells them apart: putting a key, where a token cannot."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.aes import AESKey
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DESKey, SCP02SessionKeys, kcv_des, scp02_session_keys
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import Method
from kioskd.gp.isd import AES_TYPE, DES_TYPE, InitializeUpdateAnswer, KeyField, delete_key, get_data, put_key
from kioskd.gp.keys import KVN, kcv_aes
from kioskd.gp.scp02 import R_MAC, CardChannel, ResponseChain, card_cryptogram
from kioskd.ports import KeptVault
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.labels import DES, Cryptogram
from kioskd.secret import Secret
from kioskd.virtual.derivation import krk_values, master_values
from tests.vault.contract.keepers import EPOCH, FACTORY, FIGURES, HOST, KEEPERS, KRK, MASTER, Keeper
from tests.vault.contract.test_vault_contract import Chip as AESChip

PUTS = ("soft", "nss")
"""The vaults that can put a key over SCP02; SoftHSM2 has no C_WrapKey with 3DES."""

DES_KRK, DES_MASTER = replace(KRK, algorithm=DES, kvn=0x2E), replace(MASTER, algorithm=DES, kvn=0x27)
KEYS = (b"E" * 8 + b"e" * 8, b"M" * 8 + b"m" * 8, b"K" * 8 + b"k" * 8)
KDD = bytes.fromhex("00004790DEADBEEF0102")
COMMANDS = (delete_key(KVN(0x20)), get_data(0xE0), CommandAPDU(0x80, 0xE2, 0, 0, bytes(range(21))))


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name != "soft" else ()) for name in KEEPERS])
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def keeper(kind: str, tmp_path: Path) -> Keeper:
    made = KEEPERS[kind](tmp_path)
    kept(made).add_factory_set("des", (Secret(key) for key in KEYS), des=True)
    return made


def kept(keeper: Keeper) -> KeptVault:
    return keeper.vault  # type: ignore[return-value]


@pytest.fixture
def vault(keeper: Keeper) -> KeptVault:
    return kept(keeper)


@pytest.fixture
def armed(keeper: Keeper) -> KeptVault:
    """A vault of an armed epoch."""
    keeper.stock(BundlePurpose.REPLACE)
    return kept(keeper)


@dataclass
class Chip:
    """The card's end of SCP02 over one key set that the test knows."""

    values: tuple[bytes, ...] = KEYS
    sequence: bytes = b"\x00\x07"
    challenge: bytes = b"\xc0" * 6
    kvn: int = 0xFF
    chains_errors: bool = False

    @property
    def keys(self) -> SCP02SessionKeys[DESKey]:
        """The session's keys."""
        enc, mac, dek = (DESKey(Secret(value)) for value in self.values)
        return scp02_session_keys(enc, mac, dek, self.sequence)

    def greet(self) -> bytes:
        """Its answer to INITIALIZE UPDATE with HOST."""
        cryptogram = card_cryptogram(self.keys.enc, HOST, self.sequence, self.challenge)
        return InitializeUpdateAnswer(KDD, self.kvn, 2, 0, self.challenge, cryptogram, self.sequence).encode()

    def run(self, script: WrappedScript, *words: int) -> tuple[list[CommandAPDU], list[ResponseAPDU]]:
        """What it understands of a script's commands, and its answers after EXTERNAL AUTHENTICATE."""
        channel = CardChannel(self.keys).authenticated(script.commands[0], HOST, self.sequence, self.challenge)
        assert channel is not None
        chain = ResponseChain(channel.keys.rmac, channel.mac, chains_errors=self.chains_errors)
        understood, answers = [], []
        for number, command in enumerate(script.commands[1:]):
            plain, channel = channel.unwrap(command)
            answer = ResponseAPDU(b"answer", words[number] if number < len(words) else 0x9000)
            if channel.level & R_MAC:
                answer, chain = chain.wrap(plain, answer)
            understood.append(plain)
            answers.append(answer)
        return understood, answers

    def read(self, fields: tuple[KeyField, ...]) -> tuple[bytes, ...]:
        """The keys in PUT KEY's fields, with their check values checked."""
        keys = []
        for field in fields:
            value = Secret(self.keys.dek.decrypt_block(field.ciphertext)[: field.length])
            assert field.type in (DES_TYPE, AES_TYPE)
            assert field.kcv == (kcv_des(DESKey(value)) if field.type == DES_TYPE else kcv_aes(AESKey(value)))
            keys.append(value.reveal())
        return tuple(keys)


CHIP = Chip()


def same_des(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> bool:
    """Whether they are the same 3DES keys: parity bits mean nothing, and tokens set them."""
    bare = [[bytes(byte & 0xFE for byte in key) for key in keys] for keys in (one, other)]
    return bare[0] == bare[1]


def opened(vault: KeptVault, chip: Chip = CHIP, level: int = 0x13) -> ChannelHandle:
    return vault.open_channel(vault.factory_set("des"), HOST, chip.greet(), level)


def recovered(vault: KeptVault) -> tuple[KeyHandle, tuple[bytes, ...]]:
    """The frozen figures' KRK as a 3DES set, and its values as the derivation has them."""
    value = bytes.fromhex(FIGURES["cryptogram"])
    handle = vault.recover_krk(Cryptogram(1, EPOCH, "SHA1", DES_KRK.kvn, DES_KRK.install, value), DES_KRK)
    rnd = Secret(bytes.fromhex(FIGURES["rnd"]))
    values = krk_values(Secret(bytes.fromhex(FIGURES["krkdb"])), rnd, DES_KRK)
    return handle, tuple(key.reveal() for key in values)


def master_keys() -> tuple[bytes, ...]:
    return tuple(key.reveal() for key in master_values(Secret(bytes.fromhex(FIGURES["mkdb"])), DES_MASTER))


def test_a_vault_proves_the_card_that_holds_the_derived_3des_set_and_no_other(armed: KeptVault) -> None:
    krk, values = recovered(armed)
    master = armed.derive_master(DES_MASTER)
    assert armed.proves(krk, HOST, Chip(values).greet())
    assert armed.proves(master, HOST, Chip(master_keys()).greet())
    assert armed.proves(armed.factory_set("des"), HOST, CHIP.greet())
    assert not armed.proves(krk, HOST, Chip(master_keys()).greet())
    assert not armed.proves(krk, bytes(8), Chip(values).greet())
    # The counter goes into the session keys.
    told = replace(InitializeUpdateAnswer.parse(Chip(values).greet()), sequence=b"\x00\x08")
    assert not armed.proves(krk, HOST, told.encode())


def test_keys_of_one_protocol_do_not_speak_the_other(armed: KeptVault) -> None:
    aes = armed.derive_master(MASTER)
    assert not armed.proves(aes, HOST, Chip(master_keys()).greet())
    with pytest.raises(ChannelBroken):
        armed.open_channel(aes, HOST, CHIP.greet(), 0x03)
    scp03 = InitializeUpdateAnswer(bytes(10), 0xFF, 3, 0x60, bytes(8), bytes(8), None).encode()
    assert not armed.proves(armed.factory_set("des"), HOST, scp03)
    with pytest.raises(VaultError, match="with these keys"):
        armed.open_channel(armed.factory_set("des"), HOST, scp03, 0x03)


def test_no_channel_opens_on_another_cryptogram_or_at_a_level_that_scp02_has_not(vault: KeptVault) -> None:
    with pytest.raises(ChannelBroken):
        opened(vault, Chip(KEYS[::-1]))
    with pytest.raises(VaultError, match="level 33"):
        opened(vault, level=0x33)


@pytest.mark.parametrize("level", [0x01, 0x03, 0x11, 0x13], ids=lambda level: f"{level:02X}")
def test_a_card_understands_the_script_and_another_process_its_answers(keeper: Keeper, level: int) -> None:
    script = kept(keeper).wrap_commands(opened(kept(keeper), level=level), COMMANDS)
    understood, answers = CHIP.run(script)
    assert [(one.ins, one.data) for one in understood] == [(one.ins, one.data) for one in COMMANDS]
    plain = (ResponseAPDU(b"answer", 0x9000),) * len(COMMANDS)
    assert keeper.again().unwrap_responses(script.sealed, script.marks, tuple(answers)) == plain
    assert keeper.again().unwrap_responses(script.sealed, script.marks[:1], tuple(answers[:1])) == plain[:1]


def test_a_forged_answer_ends_what_is_read(vault: KeptVault) -> None:
    script = vault.wrap_commands(opened(vault), COMMANDS)
    _, answers = CHIP.run(script)
    answers[1] = replace(answers[1], sw=0x6310)
    assert vault.unwrap_responses(script.sealed, script.marks, tuple(answers)) == (
        ResponseAPDU(b"answer", 0x9000),
        None,
        None,
    )


@pytest.mark.parametrize("chip", [CHIP, replace(CHIP, chains_errors=True)], ids=["not chained", "chained"])
def test_an_error_is_hearsay_and_what_comes_after_it_is_read(vault: KeptVault, chip: Chip) -> None:
    script = vault.wrap_commands(opened(vault), COMMANDS)
    _, answers = chip.run(script, 0x6A88)
    right = ResponseAPDU(b"answer", 0x9000)
    told = vault.unwrap_responses(script.sealed, script.marks, tuple(answers))
    assert told == (ResponseAPDU(b"", 0x6A88), right, right)


def test_what_is_sealed_shows_no_command_and_is_opened_by_its_own_vault_alone(vault: KeptVault) -> None:
    script = vault.wrap_commands(opened(vault), COMMANDS)
    told = bytes(range(21))
    assert told not in script.sealed and told.hex().encode() not in script.sealed
    for at in range(0, len(script.sealed), 7):
        bent = script.sealed[:at] + bytes((script.sealed[at] ^ 1,)) + script.sealed[at + 1 :]
        with pytest.raises(VaultError):
            vault.unwrap_responses(bent, script.marks[:1], (ResponseAPDU(b"", 0x6A88),))


def test_a_channel_wraps_once_and_a_forgotten_one_never(vault: KeptVault) -> None:
    first, second = opened(vault), opened(vault)
    vault.wrap_commands(first, ())
    vault.forget((second,))
    for channel in (first, second):
        with pytest.raises(VaultError, match="spent"):
            vault.wrap_commands(channel, ())


def test_a_3des_set_is_put_under_the_sessions_dek_or_refused_in_one_sentence(kind: str, armed: KeptVault) -> None:
    krk, values = recovered(armed)
    master = armed.derive_master(DES_MASTER)
    if kind not in PUTS:
        with pytest.raises(VaultError, match="no C_WrapKey with 3DES-ECB, and no card's key leaves it in the clear"):
            armed.wrap_key_set(opened(armed), krk)
        return
    fields = armed.wrap_key_set(opened(armed), krk)
    assert same_des(CHIP.read(fields), values)
    assert same_des(CHIP.read(armed.wrap_key_set(opened(armed), master)), master_keys())
    put = put_key(KVN(DES_KRK.kvn), fields, 0)
    assert [one.data for one in CHIP.run(armed.wrap_commands(opened(armed), (put,)))[0]] == [put.data]
    # Its own session's DEK wraps what the card's own opens.
    own = Chip(values, b"\x00\x00")
    channel = armed.open_channel(krk, HOST, own.greet(), 0x03)
    assert same_des(own.read(armed.wrap_key_set(channel, master)), master_keys())


def test_a_3des_set_is_not_put_over_scp03_and_an_aes_set_over_scp02_where_a_3des_set_is(
    kind: str, armed: KeptVault
) -> None:
    aes, des = armed.derive_master(replace(MASTER, bits=192)), armed.derive_master(DES_MASTER)
    over_scp03 = armed.open_channel(armed.factory_set("factory"), HOST, AESChip(FACTORY).greet(), 0x33)
    with pytest.raises(VaultError, match="a 3DES set is not put over SCP03"):
        armed.wrap_key_set(over_scp03, des)
    if kind in PUTS:
        fields = armed.wrap_key_set(opened(armed), aes)
        assert [(one.type, one.length, len(one.ciphertext)) for one in fields] == [(AES_TYPE, 24, 24)] * 3
        assert len(set(CHIP.read(fields))) == 3


@pytest.mark.parametrize("method", list(Method), ids=str)
def test_a_diversified_factory_set_is_that_of_the_card_that_answers(vault: KeptVault, method: Method) -> None:
    master = Secret(bytes(range(0x40, 0x50)))
    vault.add_factory_set("batch", (master,), method=method)
    assert set(vault.holdings().factory_sets) == {"batch", "des", "factory"}
    values = tuple(key.reveal() for key in diversified(method, master, KDD))
    handle = vault.factory_set("batch", KDD)
    if method.des:
        assert vault.proves(handle, HOST, Chip(values).greet())
        assert not vault.proves(vault.factory_set("batch", KDD[::-1]), HOST, Chip(values).greet())
    else:
        answer = AESChip(values).greet()
        assert vault.proves(handle, HOST, answer)
        assert not vault.proves(vault.factory_set("batch", KDD[::-1]), HOST, answer)
    with pytest.raises(VaultError, match="10 bytes of diversification data"):
        vault.factory_set("batch")
    vault.forget((handle,))


def test_a_diversified_set_of_long_keys_is_the_same_in_every_vault(vault: KeptVault) -> None:
    for size in (24, 32):
        master = Secret(bytes(range(size)))
        vault.add_factory_set(f"batch {size}", (master,), method=Method.KDF3)
        values = tuple(key.reveal() for key in diversified(Method.KDF3, master, KDD))
        assert vault.proves(vault.factory_set(f"batch {size}", KDD), HOST, AESChip(values).greet())
