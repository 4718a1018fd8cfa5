"""A host that others wrote drives the virtual card through the real PC/SC daemon, and ours agrees with it afterwards.

docs/witness.md says what that proves, and what it cannot.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from smartcard import System, scard
from ykman.pcsc import ScardSmartCardConnection
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, ScpKid, StaticKeys
from yubikit.securitydomain import SecurityDomainSession

from kioskd.gp.aes import derive_session_keys
from kioskd.gp.apdu import INS, SW, ResponseAPDU
from kioskd.gp.card_data import SecureChannel, secure_channels
from kioskd.gp.isd import InitializeUpdateAnswer
from kioskd.gp.scp03 import HostChannel, card_cryptogram
from kioskd.gp.tlv import TLV
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_options import CardOptions
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader
from tests.virtual.host import CHALLENGE, FACTORY, FACTORY_KVN, Host, Transmit, hello, key_set, sw

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

Values = tuple[bytes, bytes, bytes]

# No two keys alike, in a set and between sets: a host or card that takes one for another is found out.
FIRST: Values = (bytes(range(0x10, 0x20)), bytes(range(0x50, 0x60)), bytes(range(0x90, 0xA0)))
SECOND: Values = (bytes(range(0x20, 0x30)), bytes(range(0x60, 0x70)), bytes(range(0xA0, 0xB0)))
THIRD: Values = (bytes(range(0x30, 0x40)), bytes(range(0x70, 0x80)), bytes(range(0xB0, 0xC0)))
FIRST_KVN, SECOND_KVN, THIRD_KVN = 0x30, 0x31, 0x32
AES_128 = {0x88: 16}
INSERTED_MS = 5000
ROLES = ("ENC", "MAC", "DEK")


class Desk:
    """One reader on the real daemon with one card in it, and the ways to talk to the card."""

    def __init__(self, pcscd: PrivatePcscd, card: VirtualCard) -> None:
        self.reader = pcscd.readers[0].name
        self.card = card
        self.hand = CardInReader(card, pcscd.connect_card)
        self.sent: list[bytes] = []
        self.hand.before_answer = self.sent.append

    def insert(self) -> None:
        """Puts the card in and waits until the daemon has noticed."""
        self.hand.insert()
        _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
        empty = [(self.reader, scard.SCARD_STATE_EMPTY)]
        result, ((_, state, _),) = scard.SCardGetStatusChange(context, INSERTED_MS, empty)
        scard.SCardReleaseContext(context)
        assert result == 0
        assert state & scard.SCARD_STATE_PRESENT

    def connection(self) -> SmartCardConnection:
        """A connection that we make by pyscard, in yubikit's wrapping; its own device opener would seek its own."""
        plain = next(one for one in System.readers() if one.name == self.reader).createConnection()
        wrapped: SmartCardConnection = ScardSmartCardConnection(plain)  # type: ignore[no-untyped-call]
        return wrapped

    @contextmanager
    def yubikit(self) -> Iterator[SecurityDomainSession]:
        """The other host, with the security domain selected."""
        with self.connection() as connection:
            yield SecurityDomainSession(connection)

    @contextmanager
    def ours(self) -> Iterator[Transmit]:
        """The same way to the card for our own host."""
        with self.connection() as connection:

            def transmit(command: bytes) -> bytes:
                data, status = connection.send_and_receive(command)
                answer: bytes = data + status.to_bytes(2)
                return answer

            yield transmit

    def headers(self, ins: int) -> set[str]:
        """CLA INS P1 P2 of every command with that instruction that reached the card."""
        return {one[:4].hex().upper() for one in self.sent if one[1] == ins}


@pytest.fixture
def desk(private_pcscd: PrivatePcscd, tmp_path: Path) -> Iterator[Desk]:
    """A desk with a factory card, its memory in a file."""
    made = Desk(private_pcscd, VirtualCard(tmp_path / "card.json"))
    made.insert()
    yield made
    made.hand.pull()


def scp03(kvn: int, values: tuple[bytes, ...]) -> Scp03KeyParams:
    """A key set as yubikit names it."""
    return Scp03KeyParams(KeyRef(ScpKid.SCP03, kvn), StaticKeys(*values))


def put(session: SecurityDomainSession, kvn: int, values: Values, replaces: int = 0) -> None:
    """PUT KEY by yubikit, which also compares the card's check values."""
    session.put_key(KeyRef(ScpKid.SCP03, kvn), StaticKeys(*values), replaces)


def of_sets(*kvns: int) -> dict[KeyRef, dict[int, int]]:
    """The key information of these sets as yubikit reads it."""
    return {KeyRef(kid, kvn): AES_128 for kvn in kvns for kid in (1, 2, 3)}


def seen_by_ours(transmit: Transmit, kvn: int, values: Values) -> dict[KeyRef, dict[int, int]]:
    """The key information as our host reads it in a channel that it opened with these keys."""
    information = Host.open(transmit, kvn, values).key_information()
    return {KeyRef(one.kid, one.kvn): dict(one.components) for one in information.entries}


def opens(transmit: Transmit, kvn: int, values: tuple[bytes, ...]) -> tuple[bool, int]:
    """Whether the card proves these keys to our host, and the card's word on our host's proof, sent anyhow."""
    answer = InitializeUpdateAnswer.parse(ResponseAPDU.decode(hello(transmit, kvn)).data)
    keys = derive_session_keys(key_set(values), CHALLENGE, answer.card_challenge)
    proven = card_cryptogram(keys.mac, CHALLENGE, answer.card_challenge) == answer.card_cryptogram
    command, _ = HostChannel.begin(keys, 0x33).external_authenticate(CHALLENGE, answer.card_challenge)
    return proven, sw(transmit(command.encode()))


def one_wrong(values: Values, role: str) -> tuple[bytes, ...]:
    """The set with one key of another."""
    return tuple(SECOND[at] if ROLES[at] == role else values[at] for at in range(3))


def overheard(session: SecurityDomainSession, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    """INS and data of every command that yubikit is about to dress; the list grows."""
    heard: list[tuple[int, bytes]] = []
    send = session.protocol.send_apdu

    def hear(cla: int, ins: int, p1: int, p2: int, data: bytes = b"", le: int = 0) -> bytes:
        heard.append((ins, data))
        return send(cla, ins, p1, p2, data, le)

    monkeypatch.setattr(session.protocol, "send_apdu", hear)
    return heard


def test_another_host_replaces_the_key_sets_of_a_card_and_our_host_agrees(desk: Desk) -> None:
    with desk.yubikit() as session:
        assert session.get_key_information() == of_sets(FACTORY_KVN)
        session.authenticate(scp03(FACTORY_KVN, FACTORY))
        assert session.get_key_information() == of_sets(FACTORY_KVN)
        put(session, FIRST_KVN, FIRST)
        # The first set's own DEK carries the second.
        session.authenticate(scp03(FIRST_KVN, FIRST))
        put(session, SECOND_KVN, SECOND)
        assert session.get_key_information() == of_sets(FACTORY_KVN, FIRST_KVN, SECOND_KVN)
        session.authenticate(scp03(SECOND_KVN, SECOND))
        session.delete_key(kvn=FIRST_KVN)
        session.delete_key(kvn=FACTORY_KVN)
        left = session.get_key_information()
        with pytest.raises(ValueError, match="Incorrect SCP parameters"):
            session.authenticate(scp03(FIRST_KVN, FIRST))

    # Our host meets what the other left behind, after the card has lost its power.
    desk.hand.pull()
    desk.insert()
    with desk.ours() as transmit:
        assert seen_by_ours(transmit, SECOND_KVN, SECOND) == left == of_sets(SECOND_KVN)
        assert opens(transmit, SECOND_KVN, SECOND) == (True, SW.OK)
        for gone in (FIRST_KVN, FACTORY_KVN):
            assert sw(hello(transmit, gone)) == SW.REFERENCED_DATA_NOT_FOUND
        for old in (FIRST, FACTORY):
            assert opens(transmit, SECOND_KVN, old) == (False, SW.AUTHENTICATION_FAILED)


def test_the_other_host_speaks_as_the_page_of_what_it_witnesses_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with desk.yubikit() as session:
        heard = overheard(session, monkeypatch)
        session.authenticate(scp03(FACTORY_KVN, FACTORY))
        session.get_key_information()
        put(session, FIRST_KVN, FIRST)
        session.delete_key(kvn=FIRST_KVN)
    assert desk.headers(INS.EXTERNAL_AUTHENTICATE) == {"84823300"}
    assert desk.headers(INS.GET_DATA) == {"04CA00E0"}
    assert desk.headers(INS.PUT_KEY) == {"84D80081"}
    assert desk.headers(INS.DELETE) == {"84E40000"}
    plain = {ins: data for ins, data in heard if ins in (INS.PUT_KEY, INS.DELETE)}
    assert plain[INS.DELETE] == bytes((0xD2, 0x01, FIRST_KVN))
    kvn, blocks = plain[INS.PUT_KEY][:1], plain[INS.PUT_KEY][1:]
    assert kvn == bytes((FIRST_KVN,))
    # Type, length without a byte for the clear length, ciphertext, three bytes of check value.
    assert [blocks[at : at + 2].hex() for at in range(0, len(blocks), 22)] == ["8810"] * 3
    assert [blocks[at + 18] for at in range(0, len(blocks), 22)] == [3] * 3


def test_a_set_put_by_our_host_opens_for_the_other_which_replaces_it_in_place(desk: Desk) -> None:
    with desk.ours() as transmit:
        assert Host.open(transmit, FACTORY_KVN, FACTORY).put(FIRST_KVN, FIRST).ok
    with desk.yubikit() as session:
        session.authenticate(scp03(FIRST_KVN, FIRST))
        put(session, THIRD_KVN, THIRD, replaces=FIRST_KVN)
        # The session's keys are its own: the channel outlives the set that opened it.
        assert session.get_key_information() == of_sets(FACTORY_KVN, THIRD_KVN)
        session.authenticate(scp03(THIRD_KVN, THIRD))
        put(session, THIRD_KVN, SECOND, replaces=THIRD_KVN)
    with desk.ours() as transmit:
        assert seen_by_ours(transmit, THIRD_KVN, SECOND) == of_sets(FACTORY_KVN, THIRD_KVN)
        assert opens(transmit, THIRD_KVN, THIRD) == (False, SW.AUTHENTICATION_FAILED)
        assert sw(hello(transmit, FIRST_KVN)) == SW.REFERENCED_DATA_NOT_FOUND


@pytest.mark.parametrize("role", ROLES)
def test_a_single_wrong_key_of_three_stops_the_other_host_before_it_changes_the_card(desk: Desk, role: str) -> None:
    with desk.yubikit() as session:
        session.authenticate(scp03(FACTORY_KVN, FACTORY))
        put(session, FIRST_KVN, FIRST)
        before = desk.card.memory.key_information()
        wrong = scp03(FIRST_KVN, one_wrong(FIRST, role))
        if role == "MAC":
            with pytest.raises(ValueError, match="Incorrect SCP parameters"):
                session.authenticate(wrong)
        else:
            # ENC and DEK have no part in the cryptograms: only what is sent under them tells.
            session.authenticate(wrong)
            with pytest.raises(ApduError) as refused:
                put(session, SECOND_KVN, SECOND)
            assert refused.value.sw == SW.INVALID_KCV or role == "ENC"
    assert desk.card.memory.key_information() == before


def test_the_last_set_stays_whatever_the_other_host_asks_for(desk: Desk) -> None:
    with desk.yubikit() as session:
        session.authenticate(scp03(FACTORY_KVN, FACTORY))
        with pytest.raises(ApduError) as kept:
            session.delete_key(kvn=FACTORY_KVN)
        assert kept.value.sw == SW.CONDITIONS_NOT_SATISFIED
        # P2 01 is its vendor's own word for "even the last one"; the specification has no such bit.
        with pytest.raises(ApduError) as unknown:
            session.delete_key(kvn=FACTORY_KVN, delete_last=True)
        assert unknown.value.sw == SW.INCORRECT_P1P2
        assert session.get_key_information() == of_sets(FACTORY_KVN)


@pytest.mark.parametrize("scp_i", [0x60, 0x70], ids=["i=60", "i=70"])
def test_the_other_host_opens_cards_that_tell_their_sequence_counter_and_cards_that_do_not(
    private_pcscd: PrivatePcscd, scp_i: int
) -> None:
    desk = Desk(private_pcscd, VirtualCard(options=CardOptions(scp_i=scp_i)))
    desk.insert()
    with desk.yubikit() as session:
        session.authenticate(scp03(0x00, FACTORY))  # 00: whatever set the card takes first
        recognition = session.get_card_recognition_data()
    desk.hand.pull()
    whole = TLV(0x66, TLV(0x73, recognition).encode()).encode()
    assert secure_channels(whole) == (SecureChannel(0x03, bytes((scp_i,))),)
