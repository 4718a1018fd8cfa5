"""One exclusive connection by pyscard, for the tests that are the card's host themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from smartcard import scard

CARD_MS = 5000


def refuse(sentence: str) -> NoReturn:
    """Ends the whole run: nothing is done to a card that may not be tested."""
    pytest.exit(sentence, returncode=2)


@dataclass(frozen=True, slots=True)
class PlainReader:
    """A connected card."""

    name: str
    handle: Any
    protocol: int

    def transmit(self, command: bytes) -> bytes:
        """The card's raw answer."""
        result, answer = scard.SCardTransmit(self.handle, self.protocol, list(command))
        assert result == 0, f"SCardTransmit: {result & 0xFFFFFFFF:08X}"
        return bytes(answer)

    def reset(self) -> None:
        """A cold reset: the card's session is gone."""
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        result, _ = scard.SCardReconnect(self.handle, scard.SCARD_SHARE_EXCLUSIVE, protocols, scard.SCARD_UNPOWER_CARD)
        assert result == 0, f"SCardReconnect: {result & 0xFFFFFFFF:08X}"


@contextmanager
def reader_named(name: str) -> Iterator[PlainReader]:
    """The card in the first reader whose name contains `name`; waits a little for one to be put in."""
    result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    if result != 0:
        refuse("no PC/SC daemon answers: start pcscd")
    _, names = scard.SCardListReaders(context, [])
    found = next((one for one in names or () if name in one), None)
    if found is None:
        refuse(f"no reader's name contains {name!r}; there are: {', '.join(names or ()) or 'none'}")
    scard.SCardGetStatusChange(context, CARD_MS, [(found, scard.SCARD_STATE_EMPTY)])
    protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    result, handle, protocol = scard.SCardConnect(context, found, scard.SCARD_SHARE_EXCLUSIVE, protocols)
    if result != 0:
        scard.SCardReleaseContext(context)
        refuse(f"{found}: no card answers ({result & 0xFFFFFFFF:08X})")
    try:
        yield PlainReader(found, handle, protocol)
    finally:
        scard.SCardDisconnect(handle, scard.SCARD_UNPOWER_CARD)
        scard.SCardReleaseContext(context)
