"""One command and its whole answer, as cards and readers of T=0 and T=1 really give it.

61xx         the rest is fetched by GET RESPONSE, whose class is always 00; a response MAC is over the whole
6Cxx         the same bytes again with that Le, once; Le is no part of a command's MAC
6E00, 6700   a reader of T=0 has passed Le on to a card that does not want it: a command that changes nothing is
             sent again without it, once. Where that was it, every later command with data goes without Le from the
             start: what may change the card is never sent twice
"""

from dataclasses import replace

from kioskd.gp.apdu import INS, MAX_ANSWER_BYTES, MAX_LE, SW, CommandAPDU
from kioskd.rekey.relay_asks import Conversation, Transmit

_WRONG_LE, _MORE = 0x6C, 0x61
MAX_PARTS = 8
"""GET RESPONSEs for one answer."""
SW_BYTES = 2
_REFUSALS = (SW.CLA_NOT_SUPPORTED.to_bytes(2), SW.WRONG_LENGTH.to_bytes(2))
_READS = frozenset({INS.SELECT, INS.GET_DATA, INS.INITIALIZE_UPDATE})
_SECURE_MESSAGING = 0x04


def exchange(command: bytes, bare: bool = False) -> Conversation[tuple[bytes | None, bool]]:
    """The whole answer, or None if the card was torn away; and whether commands with data go without Le from now on.

    An answer in more than 8 parts, or of more than 1024 bytes, is given up: its last status word, 61xx, is all of it.
    """
    raw = yield from Transmit(_without_le(command) if bare else command)
    if raw in _REFUSALS and not bare and _is_plain_read(command):
        again = yield from Transmit(_dropped(command))
        if again not in _REFUSALS:
            raw, bare = again, len(command) > _HEADER_AND_LE
    if raw is not None and len(raw) == SW_BYTES and raw[0] == _WRONG_LE:
        raw = yield from Transmit(replace(CommandAPDU.decode(command), le=raw[1] or MAX_LE).encode())
    return (yield from _whole(raw)), bare


_HEADER_AND_LE = 5


def _whole(raw: bytes | None) -> Conversation[bytes | None]:
    """The answer that begins so."""
    whole, parts = b"", 0
    while raw is not None and len(raw) >= SW_BYTES and raw[-2] == _MORE:
        whole += raw[:-2]
        if parts == MAX_PARTS or len(whole) > MAX_ANSWER_BYTES:
            return raw[-2:]
        parts += 1
        raw = yield from Transmit(CommandAPDU(0x00, INS.GET_RESPONSE, 0, 0, le=raw[-1] or MAX_LE).encode())
    if raw is None or len(whole) + len(raw) <= MAX_ANSWER_BYTES + SW_BYTES:
        return None if raw is None else whole + raw
    return raw[-2:]


def _is_plain_read(command: bytes) -> bool:
    """Whether it is in the clear, changes nothing, and says a length for its answer."""
    plain = len(command) > 1 and not command[0] & _SECURE_MESSAGING and command[1] in _READS
    return plain and _dropped(command) != command


def _without_le(command: bytes) -> bytes:
    """The command, if it has data without its Le."""
    return _dropped(command) if len(command) > _HEADER_AND_LE else command


def _dropped(command: bytes) -> bytes:
    return replace(CommandAPDU.decode(command), le=None).encode()
