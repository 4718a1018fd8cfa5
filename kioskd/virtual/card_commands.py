"""What the virtual card does with each command once it is in the clear: memory in, memory and answer out.

Pure. A command that fails gives the memory back as it was, so each is atomic by its form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kioskd.errors import Malformed
from kioskd.gp.aes import AESKey
from kioskd.gp.apdu import INS, SW, CommandAPDU, ResponseAPDU
from kioskd.gp.des import DES_KEY_BYTES, DESKey, kcv_des
from kioskd.gp.executive import STATE_TAG
from kioskd.gp.isd import AES_TYPE, DES_TYPE, SCP02, SCP03, PutKeyData, Receipt, key_references
from kioskd.gp.keys import BLOCK_BYTES, kcv_aes, kcv_aes_zero
from kioskd.gp.life_cycle import LifeCycle
from kioskd.gp.tlv import TLV, parse_one
from kioskd.secret import Secret
from kioskd.virtual.card_executive import sealed, state_of
from kioskd.virtual.card_memory import FACTORY_KVN, CardMemory, StoredSet
from kioskd.virtual.card_options import CardOptions

SEQUENCE_BYTES, SCP02_SEQUENCE_BYTES = 3, 2
KEYS_IN_A_SET = 3
LAST_KVN = 0x7F

_ISD = 0x80
_SUBSETS_WITHOUT_MEMBERS = (0x40, 0x20, 0x10, 0x60)  # applications, load files, modules: this card has none
_FIRST_IN_TLV = 0x02
_MULTIPLE_KEYS_FROM_1 = 0x81


@dataclass(frozen=True, slots=True)
class Situation:
    """What a command finds: the card, and the secure channel's key set."""

    memory: CardMemory
    options: CardOptions
    kvn: int = 0
    open_key: Callable[[bytes], bytes] | None = None  # decrypts what PUT KEY carries
    scp: int = SCP03
    unlocked: bool = False  # the executive, in this session

    @property
    def shut(self) -> bool:
        """Whether key commands are refused: the card is locked, or its executive is."""
        return self.memory.life_cycle is LifeCycle.CARD_LOCKED or (self.memory.sealed and not self.unlocked)


Result = tuple[CardMemory, ResponseAPDU]


def get_data(now: Situation, command: CommandAPDU) -> Result:
    """GET DATA (11.3): the whole data object for CLA 80 and 84, its value alone for CLA 00."""
    options, memory = now.options, now.memory
    readings: dict[int, bytes] = {
        0x42: options.iin,
        0x45: options.image_number,
        0x66: _recognition(options),
        0xCF: options.diversification,
        0xE0: b"" if options.empty_keys else parse_one(memory.key_information().encode(), 0xE0).value,
    }
    default = memory.at(0)
    if default is not None and default.kind == DES_TYPE:
        readings[0xC1] = default.sequence.to_bytes(SCP02_SEQUENCE_BYTES)
    elif default is not None and options.pseudo_random:
        readings[0xC1] = default.sequence.to_bytes(SEQUENCE_BYTES)
    if options.executive:
        readings[STATE_TAG] = bytes((state_of(memory, unlocked=now.unlocked),))
    if options.cplc:
        readings[0x9F7F] = options.cplc_data()
    tag = command.p1 << 8 | command.p2
    if options.contactless and tag == 0x9F7F:
        return memory, status(SW.CONDITIONS_NOT_SATISFIED)
    if tag not in readings:
        return memory, status(SW.REFERENCED_DATA_NOT_FOUND)
    value = readings[tag]
    return memory, ResponseAPDU(TLV(tag, value).encode() if command.cla & 0x80 else value, SW.OK)


def delete_key(now: Situation, command: CommandAPDU) -> Result:
    """DELETE of all keys of one version number (11.2); a single key of a set cannot go: the set would be incomplete."""
    memory = now.memory
    if not now.options.deletes:
        return memory, status(SW.INS_NOT_SUPPORTED)
    if now.shut:
        return memory, status(SW.CONDITIONS_NOT_SATISFIED)
    if command.p1 != 0 or command.p2 not in (0x00, 0x80):
        return memory, status(SW.INCORRECT_P1P2)
    try:
        kid, kvn = key_references(command.data)
    except Malformed:
        return memory, status(SW.WRONG_DATA)
    if kvn is None:
        return memory, status(SW.WRONG_DATA)
    if kvn == 0 or kid is not None or not memory.taken(kvn):
        return memory, status(SW.REFERENCED_DATA_NOT_FOUND)
    own = kvn == now.kvn and now.options.own_set_stays
    last = memory.at(kvn) is not None and len(memory.sets) == 1
    if own or last:
        return memory, status(SW.CONDITIONS_NOT_SATISFIED)
    return memory.without(kvn), ResponseAPDU(b"\x00", SW.OK)


def put_key(now: Situation, command: CommandAPDU) -> Result:
    """PUT KEY of a whole set (11.8), in both layouts of an AES key; P1 names the set that it replaces, or 00."""
    memory = now.memory
    if now.shut:
        return memory, status(SW.CONDITIONS_NOT_SATISFIED)
    if command.p2 != _MULTIPLE_KEYS_FROM_1 or not (command.p1 <= LAST_KVN or command.p1 == FACTORY_KVN):
        return memory, status(SW.INCORRECT_P1P2)  # bit 8 of P1 would announce more PUT KEYs
    try:
        data = PutKeyData.parse(command.data)
    except Malformed:
        return memory, status(SW.WRONG_DATA)
    refused = _unfit(now, command.p1, data)
    if refused is not None:
        return memory, status(refused)
    values = _decrypted(now, data)
    if values is None:
        return memory, status(SW.INVALID_KCV)
    enc, mac, dek, *unlock = values
    kind, extra = data.fields[0].type, b"".join(unlock)
    new = StoredSet(data.kvn, enc, mac, dek, tries=now.options.tries, unlock=extra, kind=kind)
    memory = memory.having(new, instead_of=command.p1 or None)
    if now.options.factory_drops and command.p1 == 0:
        memory = memory.without(now.options.factory_kvn)
    receipt = Receipt(new.kvn, tuple(_check_value(now.options, kind, value) for value in values))
    return memory, ResponseAPDU(receipt.encode(), SW.OK)


def set_status(now: Situation, command: CommandAPDU) -> Result:
    """SET STATUS of the card (11.10); the present state is refused as well."""
    memory = now.memory
    if command.p1 != _ISD:
        return memory, status(_no_member(command.p1))
    try:
        wanted = LifeCycle(command.p2)
    except ValueError:
        return memory, status(SW.WRONG_DATA)
    terminate = wanted is LifeCycle.TERMINATED
    lock = not terminate and LifeCycle.CARD_LOCKED in (wanted, memory.life_cycle)
    if wanted not in _TRANSITIONS[memory.life_cycle] or not now.options.privileged(lock=lock, terminate=terminate):
        return memory, status(SW.CONDITIONS_NOT_SATISFIED)
    return replace(memory, life_cycle=wanted), status(SW.OK)


def get_status(now: Situation, command: CommandAPDU) -> Result:
    """GET STATUS of the security domain (11.4), in TLV form, which is all in one answer."""
    memory = now.memory
    if command.p1 != _ISD:
        return memory, status(_no_member(command.p1))
    if command.p2 != _FIRST_IN_TLV:
        return memory, status(SW.INCORRECT_P1P2)
    wanted = command.data[2:]
    if command.data[:1] != b"\x4f" or command.data[1:2] != bytes((len(wanted),)):
        return memory, status(SW.WRONG_DATA)
    if not now.options.aid.startswith(wanted):
        return memory, status(SW.REFERENCED_DATA_NOT_FOUND)
    parts = (TLV(0x4F, now.options.aid), TLV(0x9F70, bytes((memory.life_cycle,))), TLV(0xC5, now.options.privileges))
    return memory, ResponseAPDU(TLV(0xE3, b"".join(part.encode() for part in parts)).encode(), SW.OK)


def seal(now: Situation, command: CommandAPDU) -> Result:
    """SEAL, of a card that has an executive."""
    if not now.options.executive:
        return now.memory, status(SW.INS_NOT_SUPPORTED)
    memory, sw = sealed(now.memory, command)
    return memory, status(sw)


COMMANDS: Mapping[int, Callable[[Situation, CommandAPDU], Result]] = {
    INS.GET_DATA: get_data,
    INS.DELETE: delete_key,
    INS.PUT_KEY: put_key,
    INS.SET_STATUS: set_status,
    INS.GET_STATUS: get_status,
    INS.SEAL: seal,
}

_TRANSITIONS: Mapping[LifeCycle, tuple[LifeCycle, ...]] = {
    LifeCycle.OP_READY: (LifeCycle.INITIALIZED, LifeCycle.TERMINATED),
    LifeCycle.INITIALIZED: (LifeCycle.SECURED, LifeCycle.TERMINATED),
    LifeCycle.SECURED: (LifeCycle.CARD_LOCKED, LifeCycle.TERMINATED),
    LifeCycle.CARD_LOCKED: (LifeCycle.SECURED, LifeCycle.TERMINATED),
    LifeCycle.TERMINATED: (),
}


def status(sw: SW) -> ResponseAPDU:
    """A bare status word."""
    return ResponseAPDU(b"", sw)


def _no_member(subset: int) -> SW:
    return SW.REFERENCED_DATA_NOT_FOUND if subset in _SUBSETS_WITHOUT_MEMBERS else SW.INCORRECT_P1P2


def _unfit(now: Situation, replaces: int, data: PutKeyData) -> SW | None:
    """Why this PUT KEY cannot be done, or None."""
    memory = now.memory
    most = KEYS_IN_A_SET + now.options.executive
    if not 0x01 <= data.kvn <= LAST_KVN or not KEYS_IN_A_SET <= len(data.fields) <= most:
        return SW.WRONG_DATA
    kind = data.fields[0].type
    if kind not in (AES_TYPE, DES_TYPE) or any(one.type != kind for one in data.fields):
        return SW.ALGORITHM_NOT_SUPPORTED
    if not now.options.takes(kind, now.scp):
        return SW.WRONG_DATA if now.options.scp == SCP02 else SW.ALGORITHM_NOT_SUPPORTED
    if kind == AES_TYPE and any(one.with_length not in now.options.layouts for one in data.fields):
        return SW.WRONG_DATA
    if not _one_size(data, now.options.key_bytes if kind == AES_TYPE else (DES_KEY_BYTES,)):
        return SW.WRONG_DATA
    old = memory.at(replaces) if replaces else None
    if replaces and old is None:
        return SW.REFERENCED_DATA_NOT_FOUND
    if old is not None and (old.bits, old.kind) != (8 * data.fields[0].length, kind):
        return SW.WRONG_DATA  # a key keeps its size when it is replaced (11.8)
    if replaces and data.kvn != replaces and not now.options.renumbers:
        return SW.CONDITIONS_NOT_SATISFIED
    if data.kvn != replaces and memory.taken(data.kvn):
        return SW.WRONG_DATA
    used = sum(now.options.factory_fills or one.kvn != now.options.factory_kvn for one in memory.sets)
    return SW.NOT_ENOUGH_MEMORY if not replaces and used >= now.options.slots else None


def _one_size(data: PutKeyData, accepted: tuple[int, ...]) -> bool:
    """Whether the keys are of one length that the card takes, each filled to whole blocks."""
    length = data.fields[0].length
    whole = -(-length // BLOCK_BYTES) * BLOCK_BYTES
    return length in accepted and all((one.length, len(one.ciphertext)) == (length, whole) for one in data.fields)


def _decrypted(now: Situation, data: PutKeyData) -> tuple[bytes, ...] | None:
    """The clear keys, or None if a check value is wrong."""
    assert now.open_key is not None
    values = tuple(now.open_key(one.ciphertext)[: one.length] for one in data.fields)
    for value, one in zip(values, data.fields, strict=True):
        if one.kcv and _check_value(now.options, one.type, value) != one.kcv:
            return None
    return values


def _check_value(options: CardOptions, kind: int, value: bytes) -> bytes:
    if kind == DES_TYPE:
        return kcv_des(DESKey(Secret(value)))
    return (kcv_aes_zero if options.zero_kcv else kcv_aes)(AESKey(Secret(value)))


def _recognition(options: CardOptions) -> bytes:
    """The value of 66: card recognition data for GlobalPlatform 2.3.1 and the secure channels spoken (H.2)."""
    card_type = "06072A864886FC6B01"
    version = "600C060A2A864886FC6B02020301"
    scheme = "630906072A864886FC6B03"
    spoken = [(options.scp, options.scp_i), *([(SCP03, options.aes_i)] if options.also_aes else [])]
    channel = "".join(f"640B06092A864886FC6B04{scp:02X}{i:02X}" for scp, i in spoken)
    return TLV(0x73, bytes.fromhex(card_type + version + scheme + channel)).encode()
