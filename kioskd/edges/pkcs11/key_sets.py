"""Key sets in a token: minted, recovered, derived or from the factory, each behind a handle. No value is ever read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, exceptions

from kioskd.edges.pkcs11 import curve, templates
from kioskd.edges.pkcs11.custody import TokenCustody
from kioskd.edges.pkcs11.keys import TokenKey
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_by, wrap_to
from kioskd.errors import NotArmed, VaultError
from kioskd.gp.keys import UNLOCK, KeyRole, KeySet
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.labels import DES, Cryptogram, KeyLabel, agreed_rnd, check_cryptogram, check_label, sealed_rnd

RND_BITS = 256


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


class TokenKeySets(TokenCustody):
    """Makes key sets from what is in the token."""

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self.trusted_only = False  # whether RND goes only to keys that the security officer has marked
        self._numbers = count(1)
        self._made = 0  # key sets and channels since the module was started
        self._sets: dict[int, TokenSet] = {}
        self._masters: dict[KeyLabel, KeyHandle] = {}
        self._uses: dict[int, int] = {}  # of a master set that was asked for more than once

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A new replacement key set; `NotArmed` unless the epoch issues here."""
        _check(label, "KRK")
        with self._token.guard("mint"):
            block, public = self._issuing(label.number)
            krkdb = self._token.ready(block)
            session = self._token.session
            if self.trusted_only and not public[Attribute.TRUSTED]:
                raise VaultError(f"epoch {label.number}: its public key is not marked as trusted: `kioskd hsm trust`")
            if curve.is_curve(public):
                rnd, point = curve.agree_once(session, curve.point_in(public), templates.recovered_rnd())
                cryptogram, named = agreed_rnd(label, point)
                return destroyed_after([rnd], lambda: (self._keep(_krk(krkdb, rnd, named)), cryptogram))
            rnd = session.generate_key(
                KeyType.AES, RND_BITS, store=False, template=templates.rnd(trusted=self.trusted_only)
            )

            def work() -> tuple[KeyHandle, Cryptogram]:
                sealed = sealed_rnd(label, wrap_to(public, rnd))
                return self._keep(_krk(krkdb, rnd, label)), sealed

            return destroyed_after([rnd], work)

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set of a cryptogram; `NotArmed` unless the epoch is armed here."""
        _check(label, "KRK")
        with self._token.guard(f"the cryptogram of epoch {label.number}"):
            krkdb, private = map(self._token.ready, self._armed(label.number))
            agreed = curve.is_curve(private)
            check_cryptogram(cryptogram, label, curve=agreed)
            named = agreed_rnd(label, cryptogram.value)[1] if agreed else label
            try:
                if agreed:
                    rnd = curve.agree(private, cryptogram.value, templates.recovered_rnd())
                else:
                    rnd = unwrap_by(private, cryptogram.value, templates.recovered_rnd())
            except exceptions.PKCS11Error as wrong:
                shut = VaultError(f"the cryptogram does not open with the private key of epoch {label.number}")
                raise self._token.blame(wrong, shut) from wrong
            return destroyed_after([rnd], lambda: self._keep(_krk(krkdb, rnd, named)))

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master key set; `NotArmed` without the generation's block.

        One that lives already is given again: it lives until it was forgotten as often as it was asked for.
        """
        _check(label, "MK")
        with self._token.guard("derive"):
            block, known = self._token.ready(self._block(label.number)), self._masters.get(label)
            if known is not None and known in self._sets:
                self._uses[known] += 1
                return known

            def member(role: str, bits: int) -> Any:
                return _derived(block, sha256(label.info(role)).digest(), bits)

            made = self._keep(_members(label.bits, member))
            self._masters[label], self._uses[made] = made, 1
            return made

    def factory_set(self, name: str) -> KeyHandle:
        """The factory key set of that name; `NotArmed` without it."""
        with self._token.guard("factory set"):
            found = [self._token.find(ObjectClass.SECRET_KEY, f"factory {name} {role}") for role in KeyRole]
            if None in found:
                raise NotArmed(f"factory set {name}: is not here; import it")
            enc, mac, dek = (TokenKey(self._token.ready(one)) for one in found)
            return self._keep(TokenSet(enc, mac, dek, enc.handle.key_length, lasting=True))

    def _next(self) -> int:
        """A handle that never was: key sets and channels share one numbering."""
        self._made += 1
        return next(self._numbers)

    def _keep(self, values: TokenSet) -> KeyHandle:
        number = self._next()
        self._sets[number] = values
        return KeyHandle(number)

    def _forget_set(self, handle: int) -> None:
        """Destroys a key set at the last time that it is forgotten; unknown ones are ignored."""
        if self._uses.get(handle, 1) > 1:
            self._uses[handle] -= 1
            return
        known = self._sets.pop(handle, None)
        if self._uses.pop(handle, None) is not None:
            self._masters = {label: made for label, made in self._masters.items() if made != handle}
        if known is not None:
            known.destroy()

    def _forget_all(self) -> None:
        """Nothing of before is worth anything: the token was lost."""
        for kept in (self._sets, self._masters, self._uses):
            kept.clear()

    def _set(self, handle: KeyHandle) -> TokenSet:
        if handle not in self._sets:
            raise VaultError(f"key set {handle} is not known, or was forgotten")
        return self._sets[handle]


def _check(label: KeyLabel, kind: str) -> None:
    """`VaultError` for a label of another kind, or of keys that no token here makes."""
    check_label(label, kind)
    if label.algorithm == DES:
        raise VaultError(
            "3DES sets for SCP02 are not made in a token: SoftHSM2 has no C_WrapKey with 3DES-ECB, and the session "
            "keys of SCP02 would leave any token; use the software vault for these cards, or move them to AES sets"
        )


def _krk(krkdb: Any, rnd: Any, label: KeyLabel) -> TokenSet:
    """T_j leave the token, as the schemes have it: secrets that alone open nothing. 128 bits need T_1 alone."""

    def member(role: str, bits: int) -> Any:
        info, block = label.info(role), TokenKey(krkdb)
        return _derived(rnd, b"".join(block.cmac(bytes((j,)) + info) for j in ((1,) if bits == 128 else (1, 2))), bits)

    return _members(label.bits, member, (*KeyRole, UNLOCK) if label.unlock else tuple(KeyRole))


def _members(bits: int, make: Callable[[str, int], Any], roles: tuple[str, ...] = tuple(KeyRole)) -> TokenSet:
    """A whole set, or an error and no object left behind."""
    made: list[Any] = []
    sizes = (bits, 256) if bits % 128 else (bits,)
    try:
        for size in sizes:
            for role in roles:
                made.append(make(role, size))
    except BaseException:
        for one in made:
            one.destroy()
        raise
    enc, mac, dek, *unlock = (TokenKey(one) for one in made[: len(roles)])
    return TokenSet(enc, mac, dek, bits, unlock=unlock[0] if unlock else None, wide=tuple(made[len(roles) :]))


def _derived(key: Any, data: bytes, bits: int) -> Any:
    """AES-ECB encryption of the data as a new key: its leading bytes."""
    return key.derive_key(
        KeyType.AES,
        bits,
        mechanism=Mechanism.AES_ECB_ENCRYPT_DATA,
        mechanism_param=data[: 16 if bits == 128 else 32],
        template=templates.card_key(),
    )
