"""GET STATUS of what is on a card besides its issuer's domain: security domains of others (GPC 2.3.1, 11.4).

80 F2 40 02 | 4F 00          the first applications and supplementary security domains, in TLV form
80 F2 40 03 | 4F 00          the next ones, as long as the card answers 6310
E3 { 4F AID | 9F70 life cycle | C5 privileges | [C4 load file] [CE version] [CC domain that it belongs to] }
"""

from dataclasses import dataclass

from kioskd.errors import Malformed
from kioskd.gp.apdu import INS, MAX_LE, CommandAPDU
from kioskd.gp.tlv import TLV, find, parse

APPLICATIONS = 0x40
FIRST_IN_TLV, NEXT_IN_TLV = 0x02, 0x03
MAX_ENTRIES = 64
ANY_AID = bytes.fromhex("4F00")

_ENTRY, _AID, _LIFE_CYCLE, _PRIVILEGES, _OWNER = 0xE3, 0x4F, 0x9F70, 0xC5, 0xCC
_SECURITY_DOMAIN = 0x80
_AID_BYTES = range(5, 17)
_STATES = {0x03: "INSTALLED", 0x07: "SELECTABLE", 0x0F: "PERSONALIZED"}
_LOCKED = 0x80
_WORDS = (
    (0, 0x40, "DAP verification"),
    (0, 0x20, "delegated management"),
    (0, 0x10, "card lock"),
    (0, 0x08, "card terminate"),
    (1, 0x80, "trusted path"),
    (1, 0x40, "authorized management"),
    (1, 0x10, "global delete"),
    (1, 0x08, "global lock"),
)


@dataclass(frozen=True, slots=True)
class SecurityDomain:
    """One supplementary security domain, as the card's registry has it."""

    aid: bytes  # 5 to 16 bytes
    life_cycle: int
    privileges: bytes  # 1 or 3 bytes (table 11-7)
    owner: bytes = b""  # the AID of the domain that it belongs to, where the card says it

    @property
    def state(self) -> str:
        """Its life cycle state in a word (table 11-5)."""
        if self.life_cycle & _LOCKED:
            return "LOCKED"
        return _STATES.get(self.life_cycle, f"{self.life_cycle:02X}")

    @property
    def powers(self) -> tuple[str, ...]:
        """What it may do to others on the card, in words."""
        return tuple(words for at, bit, words in _WORDS if self.privileges[at : at + 1] and self.privileges[at] & bit)

    def encode(self) -> bytes:
        """Its entry in an answer."""
        parts = [(_AID, self.aid), (_LIFE_CYCLE, bytes((self.life_cycle,))), (_PRIVILEGES, self.privileges)]
        parts += [(_OWNER, self.owner)] if self.owner else []
        return TLV(_ENTRY, b"".join(TLV(tag, value).encode() for tag, value in parts)).encode()


def get_status(*, more: bool = False) -> CommandAPDU:
    """GET STATUS of all applications and supplementary security domains, from the beginning or going on."""
    return CommandAPDU(0x80, INS.GET_STATUS, APPLICATIONS, NEXT_IN_TLV if more else FIRST_IN_TLV, ANY_AID, MAX_LE)


def read_domains(data: bytes) -> tuple[SecurityDomain, ...]:
    """The security domains among the entries of one answer; `Malformed` for anything else or more than 64 entries."""
    entries = parse(data)
    if len(entries) > MAX_ENTRIES:
        raise Malformed(f"GET STATUS: {len(entries)} entries, at most {MAX_ENTRIES}")
    found = (_entry(one) for one in entries)
    return tuple(one for one in found if one.privileges[:1] and one.privileges[0] & _SECURITY_DOMAIN)


def _entry(entry: TLV) -> SecurityDomain:
    if entry.tag != _ENTRY:
        raise Malformed(f"GET STATUS: {entry!r} is not an entry")
    parts = entry.children()
    aid, life, rights, owner = (find(parts, tag) for tag in (_AID, _LIFE_CYCLE, _PRIVILEGES, _OWNER))
    if aid is None or life is None or len(aid.value) not in _AID_BYTES or len(life.value) not in (1, 2):
        raise Malformed("GET STATUS: an entry without a name or a life cycle state")
    if owner is not None and len(owner.value) not in _AID_BYTES:
        raise Malformed("GET STATUS: an entry whose owner's name has not 5 to 16 bytes")
    privileges = rights.value if rights is not None else b""
    if len(privileges) > 3:
        raise Malformed(f"GET STATUS: {len(privileges)} bytes of privileges, at most 3")
    return SecurityDomain(aid.value, life.value[0], privileges, owner.value if owner is not None else b"")
