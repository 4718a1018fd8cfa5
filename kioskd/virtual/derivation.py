"""The derivations of scheme 1, as every vault must compute them; tests/vectors/derivation.json holds figures.

    T_j   = AES-CMAC(KRKDB, j | info(x)), j = 1, 2, one byte
    KRK_x = AES-ECB encryption under RND of T_1, or of T_1 | T_2 for keys longer than 16 bytes
    MK_x  = AES-ECB encryption under MKDB of the first 16 bytes, or all 32, of SHA-256(info(x))

A 24-byte key is the leading part of the 32 bytes. Every T_j and key is a secret.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from kioskd.errors import VaultError
from kioskd.gp.aes import AESKey
from kioskd.gp.des import DES_KEY_BYTES
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import FactoryKeys
from kioskd.gp.isd import KDD_BYTES, SCP02
from kioskd.gp.keys import UNLOCK, KeyRole, KeySet
from kioskd.rekey.labels import AES, DES, KeyLabel, check_label
from kioskd.secret import Secret

RND_BYTES = 32
AES_BYTES = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class KeyValues:
    """The values of one AES key set, all of one length; `unlock` is the fourth member that some KRK sets have."""

    enc: Secret
    mac: Secret
    dek: Secret
    unlock: Secret | None = None
    algorithm: str = field(default="", kw_only=True)  # empty: a factory set, which is what its card makes of it

    def __post_init__(self) -> None:
        if len(self.enc) not in AES_BYTES or not len(self.enc) == len(self.mac) == len(self.dek):
            raise ValueError("a key set has three AES keys of one length: 16, 24 or 32 bytes")

    def __iter__(self) -> Iterator[Secret]:
        return iter((self.enc, self.mac, self.dek))

    @property
    def des(self) -> bool:
        """Whether it is a 3DES set."""
        return self.algorithm == DES

    def speaks(self, scp: int) -> bool:
        """Whether it can open a secure channel of that protocol."""
        if scp == SCP02:
            return self.algorithm in ("", DES) and len(self.enc) == DES_KEY_BYTES
        return self.algorithm in ("", AES)

    @property
    def members(self) -> tuple[Secret, ...]:
        """Every key of the set, in the order of their key identifiers."""
        return (*self, *((self.unlock,) if self.unlock is not None else ()))

    @property
    def bits(self) -> int:
        """The length of each key."""
        return 8 * len(self.enc)

    @property
    def keys(self) -> KeySet:
        """The set, ready for use."""
        return KeySet(AESKey(self.enc), AESKey(self.mac), AESKey(self.dek))


def krk_values(krkdb: Secret, rnd: Secret, label: KeyLabel) -> KeyValues:
    """The replacement key set of a card's RND."""
    check_label(label, "KRK")
    if len(rnd) != RND_BYTES:
        raise VaultError(f"RND has {RND_BYTES} bytes, not {len(rnd)}")
    members = (*KeyRole, *((UNLOCK,) if label.unlock else ()))
    block, wrapping = AESKey(krkdb), AESKey(rnd)
    keys = (_krk(block, wrapping, label, member) for member in members)
    return KeyValues(*keys, algorithm=label.algorithm)


def master_values(mkdb: Secret, label: KeyLabel) -> KeyValues:
    """The master key set of a card."""
    check_label(label, "MK")
    block = AESKey(mkdb)
    return KeyValues(*(_master(block, label, role) for role in KeyRole), algorithm=label.algorithm)


def factory_values(factory: FactoryKeys, kdd: bytes) -> KeyValues:
    """A factory key set, for the card with that diversification data; `VaultError` for data that is none."""
    if factory.method is None:
        return KeyValues(*factory.keys, algorithm=_algorithm(factory.of_des))
    if len(kdd) != KDD_BYTES:
        raise VaultError(f"a diversified factory set needs a card's {KDD_BYTES} bytes of diversification data")
    (master,) = factory.keys
    return KeyValues(*diversified(factory.method, master, kdd), algorithm=_algorithm(factory.of_des))


def _algorithm(des: bool | None) -> str:
    return "" if des is None else DES if des else AES


def _krk(krkdb: AESKey, rnd: AESKey, label: KeyLabel, member: str) -> Secret:
    info = label.info(member)
    return _encrypted(rnd, Secret(b"".join(krkdb.cmac(bytes((j,)) + info) for j in (1, 2))), label.bits)


def _master(mkdb: AESKey, label: KeyLabel, role: KeyRole) -> Secret:
    return _encrypted(mkdb, Secret(sha256(label.info(role.value)).digest()), label.bits)


def _encrypted(key: AESKey, data: Secret, bits: int) -> Secret:
    blocks = data.reveal()[: 16 if bits == 128 else 32]
    return Secret(key.encrypt_block(blocks)[: bits // 8])
