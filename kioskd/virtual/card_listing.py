"""The virtual card's registry of other security domains: GET STATUS with P1 = 40, page by page (GPC 2.3.1, 11.4)."""

from kioskd.gp.apdu import SW, CommandAPDU, ResponseAPDU
from kioskd.gp.registry import ANY_AID, FIRST_IN_TLV, NEXT_IN_TLV
from kioskd.virtual.card_options import CardOptions


def list_domains(options: CardOptions, command: CommandAPDU, told: int) -> tuple[ResponseAPDU, int]:
    """One answer, and how many domains have been told by then; `told`: how many were before."""
    if not options.lists or command.p2 not in (FIRST_IN_TLV, NEXT_IN_TLV):
        return ResponseAPDU(b"", SW.INCORRECT_P1P2), 0
    if command.data != ANY_AID:
        return ResponseAPDU(b"", SW.WRONG_DATA), 0
    if command.p2 == NEXT_IN_TLV and not told:
        return ResponseAPDU(b"", SW.CONDITIONS_NOT_SATISFIED), 0
    start = told if command.p2 == NEXT_IN_TLV else 0
    if not options.domains:
        return ResponseAPDU(b"", SW.REFERENCED_DATA_NOT_FOUND), 0
    end = start + options.page if options.page else len(options.domains)
    data = b"".join(one.encode() for one in options.domains[start:end])
    more = end < len(options.domains)
    return ResponseAPDU(data, SW.MORE_DATA if more else SW.OK), end if more else 0
