"""What a card remembers and forgets: files, resets, counters, and power that fails in the midst of a command."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kioskd.errors import Malformed
from kioskd.gp.apdu import INS, SW, ResponseAPDU
from kioskd.gp.isd import delete_key, get_data
from kioskd.gp.keys import KVN
from kioskd.virtual.card import Tear, Torn, VirtualCard
from kioskd.virtual.card_memory import SEQUENCE_MAX, CardMemory
from kioskd.virtual.card_options import CardOptions
from tests.virtual.host import (
    CHALLENGE,
    FACTORY,
    FACTORY_KVN,
    KRK,
    KRK_KVN,
    NEW,
    NEW_KVN,
    OLD,
    OLD_KVN,
    Host,
    bent,
    hello,
    issue,
    sw,
)


def edited(card: VirtualCard, tries: int = 10, sequence: int = 0) -> None:
    """Sets the KRK's counters."""
    stored = card.memory.at(KRK_KVN)
    assert stored is not None
    card._keep(card.memory.having(replace(stored, tries=tries, sequence=sequence)))


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_card_is_the_same_after_it_was_opened_again(issued: VirtualCard) -> None:
    assert issued.path is not None
    again = VirtualCard(issued.path)
    assert again.memory == issued.memory
    assert again.key_values() == (*OLD, *KRK)
    assert Host.open(again.transmit, KRK_KVN, KRK).key_information().kvns == {OLD_KVN, KRK_KVN}


def test_a_card_keeps_its_identity_whatever_its_next_holder_calls_it(tmp_path: Path) -> None:
    first = VirtualCard(tmp_path / "card.json", CardOptions(serial=b"1234", slots=3))
    again = VirtualCard(tmp_path / "card.json", CardOptions(serial=b"5678"))
    assert again.options == first.options
    cplc = get_data(0x9F7F).encode()
    assert again.transmit(cplc) == first.transmit(cplc)
    assert b"1234" in again.transmit(cplc)


def test_two_cards_differ_in_all_their_identities() -> None:
    one, other = (VirtualCard(options=CardOptions(serial=serial)) for serial in (b"1234", b"5678"))
    for tag in (0x9F7F, 0x45, 0xCF):
        assert one.transmit(get_data(tag).encode()) != other.transmit(get_data(tag).encode())
    assert hello(one.transmit, 0)[:10] != hello(other.transmit, 0)[:10]


def test_each_change_is_in_the_file_before_its_answer_leaves(issued: VirtualCard) -> None:
    assert issued.path is not None
    seen: list[CardMemory] = []

    def transmit(command: bytes) -> bytes:
        answer = issued.transmit(command)
        assert issued.path is not None
        seen.append(VirtualCard(issued.path).memory)
        assert seen[-1] == issued.memory
        return answer

    host = Host.open(transmit, KRK_KVN, KRK)
    assert host.send(delete_key(KVN(OLD_KVN))).ok
    assert host.put(NEW_KVN, NEW).ok
    assert [{one.kvn for one in memory.sets} - {KRK_KVN} for memory in seen] == [{OLD_KVN}, {OLD_KVN}, set(), {NEW_KVN}]


def test_a_half_written_file_beside_the_cards_changes_nothing(issued: VirtualCard) -> None:
    assert issued.path is not None
    issued.path.with_name(".card.json.new").write_text('{"options": {')
    assert VirtualCard(issued.path).memory == issued.memory


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"options": {}, "memory": {"sets": [{"kvn": "x"}]}}'])
def test_a_file_that_is_no_card_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises((Malformed, json.JSONDecodeError)):
        VirtualCard(path)
    assert path.read_text() == text


def test_nobody_else_can_read_the_file(issued: VirtualCard) -> None:
    assert issued.path is not None
    assert issued.path.stat().st_mode & 0o077 == 0


def test_a_durable_card_is_the_same_card(tmp_path: Path) -> None:
    card = VirtualCard(tmp_path / "card.json", durable=True)
    issue(card.transmit)
    assert VirtualCard(tmp_path / "card.json").memory == card.memory


# --- reset ----------------------------------------------------------------------------------------------------------


def test_a_reset_clears_the_session_and_nothing_else(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    before = issued.memory
    issued.reset()
    assert host.send(get_data(0xE0)).sw == SW.SECURITY_STATUS_NOT_SATISFIED
    assert issued.memory == before


@pytest.mark.parametrize("select", [True, False])
def test_a_greeting_must_be_followed_up_before_the_next_reset_or_selection(issued: VirtualCard, select: bool) -> None:
    _, authenticate = Host.greet(issued.transmit, KRK_KVN, KRK)
    if select:
        assert sw(issued.transmit(bytes.fromhex("00A4040008A000000151000000"))) == SW.OK
    else:
        issued.reset()
    assert sw(issued.transmit(authenticate)) == SW.CONDITIONS_NOT_SATISFIED
    assert [one.tries for one in issued.memory.sets] == [10, 10]


def test_a_greeting_ends_the_session_before_it(issued: VirtualCard) -> None:
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert sw(hello(issued.transmit, OLD_KVN)) == SW.OK
    assert host.send(get_data(0xE0)).sw == SW.SECURITY_STATUS_NOT_SATISFIED


def test_an_authentication_counts_for_one_greeting_only(issued: VirtualCard) -> None:
    _, authenticate = Host.greet(issued.transmit, KRK_KVN, KRK)
    assert sw(issued.transmit(authenticate)) == SW.OK
    assert sw(issued.transmit(authenticate)) == SW.CONDITIONS_NOT_SATISFIED
    hello(issued.transmit, KRK_KVN)
    assert sw(issued.transmit(authenticate)) == SW.AUTHENTICATION_FAILED


def test_a_wrong_authentication_ends_its_greeting(issued: VirtualCard) -> None:
    _, authenticate = Host.greet(issued.transmit, KRK_KVN, KRK)
    assert sw(issued.transmit(bent(authenticate, 5))) == SW.AUTHENTICATION_FAILED
    assert sw(issued.transmit(authenticate)) == SW.CONDITIONS_NOT_SATISFIED


# --- tries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [5, 12, 13, 20], ids=["cryptogram", "its end", "MAC", "its end"])
def test_wrong_authentications_block_the_set_and_no_other(issued: VirtualCard, at: int) -> None:
    for left in range(9, -1, -1):
        _, authenticate = Host.greet(issued.transmit, KRK_KVN, KRK)
        assert sw(issued.transmit(bent(authenticate, at))) == SW.AUTHENTICATION_FAILED
        assert [one.tries for one in issued.memory.sets if one.kvn == KRK_KVN] == [left]
    assert sw(hello(issued.transmit, KRK_KVN)) == SW.AUTHENTICATION_BLOCKED
    assert issued.path is not None
    assert sw(hello(VirtualCard(issued.path).transmit, KRK_KVN)) == SW.AUTHENTICATION_BLOCKED
    host = Host.open(issued.transmit, OLD_KVN, OLD)
    assert host.put(NEW_KVN, NEW, replaces=KRK_KVN).ok


def test_a_right_authentication_gives_all_tries_back(issued: VirtualCard) -> None:
    edited(issued, tries=1)
    Host.open(issued.transmit, KRK_KVN, KRK)
    assert [one.tries for one in issued.memory.sets] == [10, 10]


def test_a_replaced_set_has_all_its_tries(issued: VirtualCard) -> None:
    edited(issued, tries=0)
    assert Host.open(issued.transmit, OLD_KVN, OLD).put(KRK_KVN, NEW, replaces=KRK_KVN).ok
    assert Host.open(issued.transmit, KRK_KVN, NEW).key_information().kvns == {OLD_KVN, KRK_KVN}


def test_a_card_may_allow_fewer_tries() -> None:
    card = VirtualCard(options=CardOptions(tries=1))
    _, authenticate = Host.greet(card.transmit, FACTORY_KVN, FACTORY)
    assert sw(card.transmit(bent(authenticate, 5))) == SW.AUTHENTICATION_FAILED
    assert sw(hello(card.transmit, FACTORY_KVN)) == SW.AUTHENTICATION_BLOCKED


# --- the sequence counter -------------------------------------------------------------------------------------------


def test_the_counter_moves_at_every_greeting_and_starts_anew_with_the_set(issued: VirtualCard) -> None:
    def told() -> int:
        return int.from_bytes(ResponseAPDU.decode(hello(issued.transmit, OLD_KVN)).data[-3:])

    first = told()
    assert (told(), told()) == (first + 1, first + 2)
    assert Host.open(issued.transmit, KRK_KVN, KRK).put(OLD_KVN, OLD, replaces=OLD_KVN).ok
    assert told() == 1


def test_the_counter_is_told_by_c1(card: VirtualCard) -> None:
    assert card.transmit(get_data(0xC1).encode()).hex() == "c1030000009000"
    hello(card.transmit, FACTORY_KVN)
    assert card.transmit(get_data(0xC1).encode()).hex() == "c1030000019000"


def test_a_spent_counter_refuses_greetings_and_stays(issued: VirtualCard) -> None:
    edited(issued, sequence=SEQUENCE_MAX - 1)
    assert sw(hello(issued.transmit, KRK_KVN)) == SW.OK
    assert sw(hello(issued.transmit, KRK_KVN)) == SW.CONDITIONS_NOT_SATISFIED
    assert [one.sequence for one in issued.memory.sets if one.kvn == KRK_KVN] == [SEQUENCE_MAX]


def test_equal_greetings_get_different_challenges(issued: VirtualCard) -> None:
    assert len({hello(issued.transmit, KRK_KVN)[13:21] for _ in range(5)}) == 5
    assert CHALLENGE not in hello(issued.transmit, KRK_KVN)


# --- tears ----------------------------------------------------------------------------------------------------------


def replace_master(card: VirtualCard) -> None:
    """SELECT, two commands to authenticate, DELETE, PUT KEY, GET DATA, INITIALIZE UPDATE."""
    card.transmit(bytes.fromhex("00A4040000"))
    host, authenticate = Host.greet(card.transmit, KRK_KVN, KRK)
    assert sw(card.transmit(authenticate)) == SW.OK
    host.send(delete_key(KVN(OLD_KVN)))
    host.put(NEW_KVN, NEW)
    host.key_information()
    hello(card.transmit, NEW_KVN)


BEFORE = ({OLD_KVN}, {OLD_KVN}, {OLD_KVN}, {OLD_KVN}, set[int](), {NEW_KVN}, {NEW_KVN}, {NEW_KVN})
"""What the card holds beside the KRK before each command of a replacement, and at its end."""


@pytest.mark.parametrize("when", list(Tear))
@pytest.mark.parametrize("at", range(7))
def test_a_tear_leaves_the_card_before_or_after_the_command_and_it_can_go_on(
    issued: VirtualCard, when: Tear, at: int
) -> None:
    issued.tear(when, skip=at)
    with pytest.raises(Torn):
        replace_master(issued)
    assert issued.kvns == BEFORE[at + (when is Tear.AFTER)] | {KRK_KVN}
    assert issued.path is not None
    again = VirtualCard(issued.path)
    assert again.memory == issued.memory
    host = Host.open(again.transmit, KRK_KVN, KRK)
    for kvn in again.kvns - {KRK_KVN}:
        assert host.send(delete_key(KVN(kvn))).ok
    assert host.put(NEW_KVN, NEW).ok
    assert Host.open(again.transmit, NEW_KVN, NEW).key_information().kvns == {NEW_KVN, KRK_KVN}


@pytest.mark.parametrize(("when", "kvns"), [(Tear.BEFORE, {KRK_KVN}), (Tear.AFTER, {KRK_KVN, NEW_KVN})])
def test_a_tear_can_wait_for_one_instruction(issued: VirtualCard, when: Tear, kvns: set[int]) -> None:
    issued.tear(when, INS.PUT_KEY)
    host = Host.open(issued.transmit, KRK_KVN, KRK)
    assert host.send(delete_key(KVN(OLD_KVN))).ok
    with pytest.raises(Torn):
        host.put(NEW_KVN, NEW)
    assert issued.kvns == kvns
    assert host.send(get_data(0xE0)).sw == SW.SECURITY_STATUS_NOT_SATISFIED


@pytest.mark.parametrize("when", list(Tear))
def test_a_card_is_torn_once(issued: VirtualCard, when: Tear) -> None:
    issued.tear(when)
    with pytest.raises(Torn):
        issued.transmit(get_data(0xE0).encode())
    assert sw(issued.transmit(get_data(0xE0).encode())) == SW.OK


def test_a_tear_after_a_wrong_authentication_has_burnt_the_try(issued: VirtualCard) -> None:
    _, authenticate = Host.greet(issued.transmit, KRK_KVN, KRK)
    issued.tear(Tear.AFTER)
    with pytest.raises(Torn):
        issued.transmit(bent(authenticate, 5))
    assert [one.tries for one in issued.memory.sets if one.kvn == KRK_KVN] == [9]
