"""vpcd sends length and body apart, with Nagle: unless the card acknowledges the length at once, each command waits."""

from pathlib import Path

import pytest
from smartcard import scard

from kioskd.gp.isd import get_data
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.pcscd import PrivatePcscd
from kioskd.virtual.vpcd import CardInReader

pytestmark = [pytest.mark.pcscd, pytest.mark.slow]

COMMANDS = 100


def delayed_acknowledgements(pid: int) -> int:
    """How many acknowledgements the network namespace of a process has held back so far."""
    lines = Path(f"/proc/{pid}/net/netstat").read_text().splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(numbers[names.index("DelayedACKs")])


def test_the_card_holds_back_no_acknowledgement_while_it_is_spoken_to(private_pcscd: PrivatePcscd) -> None:
    """Counted by the kernel, not timed: the namespace has no other traffic than vpcd's and its card's."""
    hand = CardInReader(VirtualCard(), private_pcscd.connect_card)
    hand.insert()
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    name = private_pcscd.readers[0].name
    while scard.SCardGetStatusChange(context, 1000, [(name, scard.SCARD_STATE_EMPTY)])[0] != scard.SCARD_S_SUCCESS:
        pass
    result, handle, protocol = scard.SCardConnect(
        context, name, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    )
    assert result == scard.SCARD_S_SUCCESS
    before = delayed_acknowledgements(private_pcscd.pid)
    for _ in range(COMMANDS):
        result, answer = scard.SCardTransmit(handle, protocol, list(get_data(0xE0).encode()))
        assert (result, answer[-2:]) == (scard.SCARD_S_SUCCESS, [0x90, 0x00])
    held_back = delayed_acknowledgements(private_pcscd.pid) - before
    scard.SCardDisconnect(handle, scard.SCARD_UNPOWER_CARD)
    scard.SCardReleaseContext(context)
    hand.pull()
    assert held_back < COMMANDS / 10
