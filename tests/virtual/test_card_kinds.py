"""The kinds of card that the options make, and a card whose memory fails."""

import shutil
from pathlib import Path

import pytest

from kioskd.gp.apdu import INS, SW, CommandAPDU
from kioskd.gp.card_data import SecureChannel, secure_channels
from kioskd.gp.cplc import NoCardId, canonical_id
from kioskd.gp.isd import delete_key, get_data, get_status_isd, select, set_status
from kioskd.gp.keys import KVN
from kioskd.gp.life_cycle import LifeCycle
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import CardFileDamaged
from kioskd.virtual.card_options import CardOptions
from tests.virtual.host import FACTORY, FACTORY_KVN, KRK, KRK_KVN, OLD, OLD_KVN, Host, bent, hello, issue, sw

SELECT_ISD = select(CardOptions().aid).encode()
SELECT_OTHER = select(bytes.fromhex("A000000003000000")).encode()


def readings(card: VirtualCard) -> dict[int, bytes]:
    """What a terminal reads to tell cards apart."""
    answers = {tag: card.transmit(get_data(tag).encode()) for tag in (0x9F7F, 0x42, 0x45, 0xCF)}
    return {tag: answer[:-2] for tag, answer in answers.items() if sw(answer) == SW.OK}


# --- other cards ------------------------------------------------------------------------------------------------------


def test_a_card_that_is_not_globalplatform_knows_neither_the_security_domain_nor_its_commands() -> None:
    card = VirtualCard(options=CardOptions(globalplatform=False))
    assert sw(card.transmit(SELECT_ISD)) == SW.NOT_FOUND
    for command in (get_data(0xE0).encode(), bytes.fromhex("8050000008000000000000000000"), b"\x80\xf2\x80\x02"):
        assert sw(card.transmit(command)) == SW.INS_NOT_SUPPORTED
    assert sw(card.transmit(b"\x00")) == SW.WRONG_LENGTH


def test_a_card_without_cplc_is_known_by_its_issuer_and_image_number() -> None:
    card = VirtualCard(options=CardOptions(cplc=False))
    assert sw(card.transmit(get_data(0x9F7F).encode())) == SW.REFERENCED_DATA_NOT_FOUND
    assert canonical_id(readings(card)).kind == "iin-cin"


@pytest.mark.parametrize("blank", [b"\x00", b"\xff"])
def test_a_card_may_have_nothing_that_tells_it_apart(blank: bytes) -> None:
    options = CardOptions(serial=blank * 4, iin=blank * 5, cin=blank * 8, kdd=blank * 10)
    with pytest.raises(NoCardId):
        canonical_id(readings(VirtualCard(options=options)))


@pytest.mark.parametrize("i", [0x00, 0x10, 0x20, 0x30, 0x60, 0x70])
def test_card_data_and_greeting_tell_the_same_i(i: int) -> None:
    card = VirtualCard(options=CardOptions(scp_i=i))
    assert secure_channels(card.transmit(get_data(0x66).encode())[:-2]) == (SecureChannel(3, bytes((i,))),)
    greeting = hello(card.transmit, FACTORY_KVN)[:-2]
    assert (greeting[12], len(greeting)) == (i, 32 if i & 0x10 else 29)
    assert (sw(card.transmit(get_data(0xC1).encode())) == SW.OK) is bool(i & 0x10)
    assert Host.open(card.transmit, FACTORY_KVN, FACTORY, 0x03).key_information().kvns == {FACTORY_KVN}


@pytest.mark.parametrize(("i", "same"), [(0x70, True), (0x60, False)])
def test_only_a_pseudo_random_challenge_can_be_foretold(i: int, same: bool) -> None:
    one, other = (VirtualCard(options=CardOptions(scp_i=i)) for _ in range(2))
    assert (hello(one.transmit, FACTORY_KVN) == hello(other.transmit, FACTORY_KVN)) is same


@pytest.mark.parametrize("i", [0x41, 0x40, 0x50, 0x80, 0x1FF])
def test_an_i_that_this_card_cannot_speak_makes_no_card(i: int) -> None:
    with pytest.raises(ValueError, match="i="):
        CardOptions(scp_i=i)


# --- life cycle -------------------------------------------------------------------------------------------------------


def test_a_card_can_come_locked_and_then_finds_no_other_application() -> None:
    card = VirtualCard(options=CardOptions(life_cycle=LifeCycle.CARD_LOCKED))
    assert sw(card.transmit(SELECT_ISD)) == SW.CARD_LOCKED_WARNING
    assert sw(card.transmit(SELECT_OTHER)) == SW.FUNCTION_NOT_SUPPORTED
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    assert host.put(OLD_KVN, OLD).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(set_status(LifeCycle.SECURED)).ok
    assert host.put(OLD_KVN, OLD).ok


def test_the_early_life_cycle_goes_step_by_step_and_never_back() -> None:
    card = VirtualCard(options=CardOptions(life_cycle=LifeCycle.OP_READY))
    host = Host.open(card.transmit, FACTORY_KVN, FACTORY)
    for refused in (LifeCycle.SECURED, LifeCycle.CARD_LOCKED):
        assert host.send(set_status(refused)).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(set_status(LifeCycle.INITIALIZED)).ok
    assert host.send(set_status(LifeCycle.CARD_LOCKED)).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(set_status(LifeCycle.SECURED)).ok
    for refused in (LifeCycle.INITIALIZED, LifeCycle.OP_READY):
        assert host.send(set_status(refused)).sw == SW.CONDITIONS_NOT_SATISFIED
    assert card.memory.life_cycle is LifeCycle.SECURED


@pytest.mark.parametrize("state", [LifeCycle.OP_READY, LifeCycle.INITIALIZED, LifeCycle.CARD_LOCKED])
def test_a_card_can_be_terminated_at_any_time(state: LifeCycle) -> None:
    card = VirtualCard(options=CardOptions(life_cycle=state))
    assert Host.open(card.transmit, FACTORY_KVN, FACTORY).send(set_status(LifeCycle.TERMINATED)).ok
    assert sw(card.transmit(get_data(0xE0).encode())) == SW.OK
    assert sw(card.transmit(SELECT_ISD)) == SW.CONDITIONS_NOT_SATISFIED


def test_a_security_domain_without_the_privilege_cannot_lock_the_card() -> None:
    options = CardOptions(privileges=bytes.fromhex("82FC80"))
    host = Host.open(VirtualCard(options=options).transmit, FACTORY_KVN, FACTORY)
    for state in (LifeCycle.CARD_LOCKED, LifeCycle.TERMINATED):
        assert host.send(set_status(state)).sw == SW.CONDITIONS_NOT_SATISFIED
    assert host.send(get_status_isd()).data.endswith(bytes.fromhex("C50382FC80"))


def test_a_locked_card_is_selectable_only_as_the_final_application() -> None:
    options = CardOptions(privileges=bytes.fromhex("82FC80"), life_cycle=LifeCycle.CARD_LOCKED)
    assert sw(VirtualCard(options=options).transmit(SELECT_ISD)) == SW.FUNCTION_NOT_SUPPORTED


# --- a memory that fails ----------------------------------------------------------------------------------------------


@pytest.fixture
def fragile(tmp_path: Path) -> VirtualCard:
    """An issued card whose memory fails once its folder is gone."""
    folder = tmp_path / "card"
    folder.mkdir()
    card = VirtualCard(folder / "card.json")
    issue(card.transmit)
    return card


def break_memory(card: VirtualCard) -> None:
    """From now on nothing can be written."""
    assert card.path is not None
    shutil.rmtree(card.path.parent)


def test_a_try_is_spent_before_anything_is_compared(fragile: VirtualCard) -> None:
    """A card that cannot write its tries down compares nothing, so a cut at that moment wins no try."""
    host, authenticate = Host.greet(fragile.transmit, KRK_KVN, KRK)
    break_memory(fragile)
    assert fragile.transmit(authenticate) == b"\x65\x81"
    assert host.send(get_data(0xE0)).sw == SW.SECURITY_STATUS_NOT_SATISFIED


def test_right_and_wrong_look_alike_where_no_try_can_be_spent(fragile: VirtualCard) -> None:
    _, authenticate = Host.greet(fragile.transmit, KRK_KVN, KRK)
    break_memory(fragile)
    assert fragile.transmit(bent(authenticate, 5)) == b"\x65\x81"


@pytest.mark.parametrize(
    "command",
    [
        delete_key(KVN(OLD_KVN)),
        set_status(LifeCycle.CARD_LOCKED),
        CommandAPDU(0x80, INS.SET_STATUS, 0x80, LifeCycle.TERMINATED),
    ],
    ids=repr,
)
def test_a_command_whose_change_cannot_be_kept_changes_nothing(fragile: VirtualCard, command: CommandAPDU) -> None:
    host = Host.open(fragile.transmit, KRK_KVN, KRK)
    before = fragile.memory
    break_memory(fragile)
    assert host.send(command).sw == SW.MEMORY_FAILURE
    assert fragile.memory == before
    assert host.key_information() == before.key_information()
    assert fragile.path is not None
    fragile.path.parent.mkdir()
    assert host.send(command).ok
    assert VirtualCard(fragile.path).memory == fragile.memory != before


def test_a_greeting_whose_counter_cannot_be_kept_is_none(fragile: VirtualCard) -> None:
    break_memory(fragile)
    assert hello(fragile.transmit, KRK_KVN) == b"\x65\x81"
    assert sw(fragile.transmit(bytes.fromhex("8482330010") + bytes(16))) == SW.CONDITIONS_NOT_SATISFIED


# --- a damaged file ---------------------------------------------------------------------------------------------------


def damaged(name: str, whole: bytes) -> bytes:
    """A card's file with one kind of damage."""
    return {
        "empty": b"",
        "cut": whole[:-20],
        "not text": b"\xff\xfe" + whole,
        "nested for ever": b"[" * 100_000,
        "another's JSON": b'{"port": 1}',
        "a key too short": whole.replace(b"65" * 16, b"65" * 15),
        "no key set": whole[: whole.index(b'"sets": [') + 9] + b'], "life_cycle": 15, "others": []}}',
        "a key version out of range": whole.replace(b'"kvn": 48', b'"kvn": 300'),
        "two sets at one key version": whole.replace(b'"kvn": 48', b'"kvn": 62'),
        "a counter out of range": whole.replace(b'"sequence": 0', b'"sequence": -1', 1),
        "no such life cycle": whole.replace(b'"life_cycle": 15, "others"', b'"life_cycle": 16, "others"'),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "empty",
        "cut",
        "not text",
        "nested for ever",
        "another's JSON",
        "a key too short",
        "no key set",
        "a key version out of range",
        "two sets at one key version",
        "a counter out of range",
        "no such life cycle",
    ],
)
def test_a_damaged_file_is_one_clear_sentence_and_is_left_alone(issued: VirtualCard, name: str) -> None:
    assert issued.path is not None
    whole = issued.path.read_bytes()
    bad = damaged(name, whole)
    assert bad != whole
    issued.path.write_bytes(bad)
    with pytest.raises(CardFileDamaged) as caught:
        VirtualCard(issued.path)
    said = str(caught.value)
    assert said.startswith(f"{issued.path}: the card's file ")
    assert "\n" not in said
    assert len(said) < 300
    assert (b"65" * 4).decode() not in said  # no key in a sentence
    assert issued.path.read_bytes() == bad


def test_a_folder_in_the_files_place_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(CardFileDamaged, match="cannot be read"):
        VirtualCard(tmp_path)
