"""What kind of virtual card it is: its identity and the habits in which real cards differ."""

from dataclasses import dataclass

from kioskd.gp.apdu import MAX_LE
from kioskd.gp.isd import (
    AES_TYPE,
    DES_TYPE,
    ISD_AID,
    KDD_BYTES,
    PSEUDO_RANDOM,
    RESPONSE_MAC,
    S8_BYTES,
    S16,
    S16_BYTES,
    SCP02,
    SCP03,
)
from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.registry import SecurityDomain
from kioskd.gp.scp03 import R_ENCRYPTION, R_MAC

AES_BYTES = (16, 24, 32)
_MIGRATED_I = 0x70

_SPOKEN_I = (0x00, 0x10, 0x20, 0x30, 0x60, 0x70)
_SCP02_I = (0x15, 0x35, 0x55, 0x75)
_RESPONSE_ENCRYPTION = 0x40  # the bit of i beside that of the response MAC


@dataclass(frozen=True, slots=True)
class CardOptions:
    """What kind of card this is; it is made with these and keeps them in its file."""

    serial: bytes = bytes.fromhex("00C0FFEE")
    slots: int = 2  # beside the factory set
    scp: int = SCP03  # of the factory set; 02 makes it a 3DES set
    also_aes: bool = False  # a card of SCP02 that takes AES sets as well, and speaks SCP03 with them
    aes_over_scp02: bool = True  # `also_aes`: in a channel of SCP02, too; False: it says 6A80 there
    factory_kvn: int = 0xFF
    scp_i: int = 0x70  # 01: S16; 10: pseudo-random challenge; 20: response MAC; 40: response encryption
    factory_key_bytes: int = 16
    key_bytes: tuple[int, ...] = AES_BYTES  # what PUT KEY takes
    factory_drops: bool = False  # the first PUT KEY replaces the factory set
    ff_refused: bool = False  # INITIALIZE UPDATE of FF is answered 6A86: that set is only reached by 00
    own_set_stays: bool = False  # DELETE of the session's own set is refused
    factory_fills: bool = False  # the factory set takes one of the slots
    chains_errors: bool = False  # SCP02: the chain of response MACs goes through error words, which carry no MAC, too
    executive: bool = False  # it has an executive: SEAL, UNLOCK, RELOCK, and a fourth key in a set
    t0: bool = False  # every answer with data comes in parts: 61xx, then GET RESPONSE
    part: int = MAX_LE  # so many bytes of a longer answer come at once
    refuses_le: int = 0  # the status word for a command with data and Le, such as 6E00 on a reader of T=0; 0: none
    exact_le: bool = False  # a plain read with another Le than its answer's length is answered 6Cxx
    empty_keys: bool = False  # GET DATA E0 gives an empty template
    deletes: bool = True  # it has DELETE of keys
    layouts: tuple[bool, ...] = (True, False)  # of PUT KEY: with the clear length, without it
    zero_kcv: bool = False  # the check value of an AES key is over zeros
    renumbers: bool = True  # PUT KEY may give the new keys another key version number than those that they replace
    others: tuple[KeyEntry, ...] = ()  # keys that are not ours: tokens, DAP, SCP80
    domains: tuple[SecurityDomain, ...] = ()  # security domains of others
    lists: bool = True  # GET STATUS tells them; else 6A86
    page: int = 0  # so many in one answer, then 6310; 0: all in one
    bare_more: bool = False  # 6310 comes without a response MAC
    aid: bytes = ISD_AID
    cplc: bool = True
    contactless: bool = False  # in the field of such a reader the CPLC is refused with 6985
    globalplatform: bool = True  # False: some other card, on which SELECT finds nothing
    life_cycle: LifeCycle = LifeCycle.SECURED  # of a new card
    privileges: bytes = bytes.fromhex("9EFE80")  # of the ISD; 82FC80 has neither Card Lock nor Final Application
    tries: int = 10  # wrong EXTERNAL AUTHENTICATEs in a row that block a key set
    greeting_burns: bool = False  # each INITIALIZE UPDATE spends a try, until an EXTERNAL AUTHENTICATE succeeds
    iin: bytes = bytes.fromhex("0123456789")
    cin: bytes = b""  # empty: made from the serial number
    kdd: bytes = b""  # 10 bytes; empty: made from the serial number

    def __post_init__(self) -> None:
        if len(self.serial) != 4 or len(self.kdd) not in (0, KDD_BYTES) or not 5 <= len(self.aid) <= 16:
            raise ValueError("a card has a serial of 4 bytes, diversification data of 10 and an AID of 5 to 16")
        if not {self.factory_key_bytes, *self.key_bytes} <= set(AES_BYTES):
            raise ValueError("an AES key has 16, 24 or 32 bytes")
        if self.scp not in (SCP02, SCP03):
            raise ValueError(f"scp: {self.scp}: a card speaks secure channel protocol 2 or 3")
        if self.scp == SCP02 and self.scp_i not in _SCP02_I:
            raise ValueError(f"i={self.scp_i:02X}: a card of SCP02 has i 15, 35, 55 or 75")
        if self.scp == SCP03 and self.scp_i & ~S16 not in _SPOKEN_I:
            raise ValueError(f"i={self.scp_i:02X}: a card has i 00, 10, 20, 30, 60 or 70, and 01 more for S16")
        if not 1 <= self.part <= MAX_LE:
            raise ValueError(f"part: {self.part} bytes, from 1 to {MAX_LE}")
        if len(self.privileges) != 3 or not self.tries >= 1 or not self.slots >= 1:
            raise ValueError("a card has 3 bytes of privileges, at least one try and at least one slot")

    def privileged(self, *, lock: bool = False, terminate: bool = False, final: bool = False) -> bool:
        """Whether the ISD has these privileges (GPC 2.3.1, table 11-7)."""
        first, second = self.privileges[0], self.privileges[1]
        return all((not lock or first & 0x10, not terminate or first & 0x08, not final or second & 0x02))

    def cplc_data(self) -> bytes:
        """42 bytes with a fabricator, a type, a batch and this card's serial."""
        head = bytes.fromhex("4790D6004700000000003244") + self.serial + bytes.fromhex("8448")
        return head + bytes(42 - len(head))

    @property
    def image_number(self) -> bytes:
        """The card image number (45)."""
        return self.cin or bytes(4) + self.serial

    @property
    def diversification(self) -> bytes:
        """The key diversification data (CF), 10 bytes."""
        return self.kdd or bytes(KDD_BYTES - len(self.serial)) + self.serial

    @property
    def pseudo_random(self) -> bool:
        """Whether i says that the card challenge of SCP03 is computed and its sequence counter told."""
        return bool(self.aes_i & PSEUDO_RANDOM)

    @property
    def aes_i(self) -> int:
        """The i of SCP03, also on a card whose factory set speaks SCP02."""
        return self.scp_i if self.scp == SCP03 else _MIGRATED_I

    @property
    def challenge_bytes(self) -> int:
        """The length of challenges, cryptograms and MACs, as i says: 8, or 16 for S16."""
        return S16_BYTES if self.aes_i & S16 else S8_BYTES

    def speaks(self, level: int) -> bool:
        """Whether i promises what a security level of SCP03 asks of the responses."""
        wanted = (RESPONSE_MAC if level & R_MAC else 0) | (_RESPONSE_ENCRYPTION if level & R_ENCRYPTION else 0)
        return wanted & ~self.aes_i == 0

    def takes(self, kind: int, scp: int) -> bool:
        """Whether PUT KEY takes keys of that type in a channel of that protocol."""
        if kind == AES_TYPE:
            return scp == SCP03 or (self.also_aes and self.aes_over_scp02)
        return kind == DES_TYPE and self.scp == SCP02 and scp == SCP02
