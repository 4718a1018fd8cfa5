"""Card key sets made in a token: a KRK of RND, a master set of its block, a factory set of its master. None is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.des_keys import TokenDESKey, TokenDESSet, des_child, encrypted_key
from kioskd.edges.pkcs11.keys import TokenKey, subkey, xor
from kioskd.gp.des import DES_KEY_BYTES
from kioskd.gp.factory_keys import Method, diversification_data
from kioskd.gp.keys import BLOCK_BYTES, UNLOCK, KeyRole, KeySet
from kioskd.rekey.labels import DES, KeyLabel


@dataclass(frozen=True, slots=True)
class TokenSet:
    """The members of a key set; those of the factory stay in the token."""

    enc: TokenKey
    mac: TokenKey
    dek: TokenKey
    bits: int
    lasting: bool = False
    unlock: TokenKey | None = None  # the fourth member of a KRK's set on cards with an executive
    wide: tuple[Any, ...] = ()  # for 192 bits, keys of 256 that begin alike: a wrap takes whole blocks

    def __iter__(self) -> Iterator[TokenKey]:
        return iter((self.enc, self.mac, self.dek))

    @property
    def keys(self) -> KeySet:
        """The set, ready for use."""
        return KeySet(self.enc, self.mac, self.dek)

    def destroy(self) -> None:
        """Ends the session objects."""
        if not self.lasting:
            for one in (*(key.handle for key in self.members), *self.wide):
                one.destroy()

    @property
    def members(self) -> tuple[TokenKey, ...]:
        """Every key of the set, in the order of their key identifiers."""
        return (*self, *((self.unlock,) if self.unlock is not None else ()))

    @property
    def wrappable(self) -> tuple[Any, ...]:
        """The objects that PUT KEY wraps."""
        return self.wide or tuple(key.handle for key in self.members)


AnySet = TokenSet | TokenDESSet


def krk_of(krkdb: Any, rnd: Any, label: KeyLabel) -> AnySet:
    """T_j leave the token, as the schemes have it: secrets that alone open nothing. 128 bits need T_1 alone."""

    def member(role: str, bits: int) -> Any:
        info, block = label.info(role), TokenKey(krkdb)
        data = b"".join(block.cmac(bytes((j,)) + info) for j in ((1,) if bits == 128 else (1, 2)))
        return derived(rnd, data, bits, label.algorithm)

    return members_of(label, member, (*KeyRole, UNLOCK) if label.unlock else tuple(KeyRole))


def master_of(mkdb: Any, label: KeyLabel) -> AnySet:
    """A master set of its generation's block."""

    def member(role: str, bits: int) -> Any:
        return derived(mkdb, sha256(label.info(role)).digest(), bits, label.algorithm)

    return members_of(label, member)


def members_of(label: KeyLabel, make: Callable[[str, int], Any], roles: tuple[str, ...] = tuple(KeyRole)) -> AnySet:
    """A whole set, or an error and no object left behind."""
    made: list[Any] = []
    sizes = (label.bits, 256) if label.bits % 128 else (label.bits,)
    try:
        for size in sizes:
            for role in roles:
                made.append(make(role, size))
    except BaseException:
        for one in made:
            one.destroy()
        raise
    if label.algorithm == DES:
        enc_des, mac_des, dek_des, *unlock_des = (TokenDESKey(one) for one in made)
        return TokenDESSet(enc_des, mac_des, dek_des, unlock=unlock_des[0] if unlock_des else None)
    enc, mac, dek, *unlock = (TokenKey(one) for one in made[: len(roles)])
    return TokenSet(enc, mac, dek, label.bits, unlock=unlock[0] if unlock else None, wide=tuple(made[len(roles) :]))


def derived(key: Any, data: bytes, bits: int, algorithm: str) -> Any:
    """AES-ECB encryption of the data as a new key: its leading bytes."""
    if algorithm == DES:
        return des_child(key, Mechanism.AES_ECB_ENCRYPT_DATA, data[:16], templates.des_card_key())
    return key.derive_key(
        KeyType.AES,
        bits,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=data[: 16 if bits == 128 else 32],
        template=templates.card_key(),
    )


def factory_set_of(keys: list[Any], *, lasting: bool) -> AnySet:
    """A factory set of its three keys, which are all of 3DES, or all of AES."""
    if keys[0].key_type is KeyType.DES2:
        enc_des, mac_des, dek_des = (TokenDESKey(one) for one in keys)
        return TokenDESSet(enc_des, mac_des, dek_des, lasting=lasting)
    enc, mac, dek = (TokenKey(one) for one in keys)
    return TokenSet(enc, mac, dek, enc.handle.key_length, lasting=lasting)


def diversified_set(master: Any, method: Method, kdd: bytes) -> AnySet:
    """A card's factory set, made inside of its master."""
    made: list[Any] = []
    try:
        for number in range(1, len(KeyRole) + 1):
            made.append(_diversified(master, method, kdd, number))
    except BaseException:
        for one in made:
            one.destroy()
        raise
    return factory_set_of(made, lasting=False)


def _diversified(master: Any, method: Method, kdd: bytes, number: int) -> Any:
    """One member. Each block of KDF3 is a whole message of CMAC: its encryption after K1 is added."""
    session = {Attribute.TOKEN: False}
    if method.des:
        data = diversification_data(method, kdd, number, DES_KEY_BYTES)
        return encrypted_key(master, data, templates.des_factory_key() | session)
    bits = master.key_length
    data = diversification_data(method, kdd, number, bits // 8)
    k1 = subkey(TokenKey(master))
    return master.derive_key(
        KeyType.AES,
        bits,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=xor(data, k1 * (len(data) // BLOCK_BYTES)),
        template=templates.factory_key() | session,
    )
