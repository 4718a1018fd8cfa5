"""Key sets in a token: minted, recovered, derived or from the factory, each behind a handle. No value is ever read."""

from itertools import count

from pkcs11 import Attribute, KeyType, ObjectClass, exceptions

from kioskd.edges.pkcs11 import curve, templates
from kioskd.edges.pkcs11.card_sets import AnySet, diversified_set, factory_set_of, krk_of, master_of
from kioskd.edges.pkcs11.custody import MASTER, TokenCustody
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_by, wrap_to
from kioskd.errors import NotArmed, VaultError
from kioskd.gp.factory_keys import Method
from kioskd.gp.isd import KDD_BYTES
from kioskd.gp.keys import KeyRole
from kioskd.rekey.asks import KeyHandle
from kioskd.rekey.labels import Cryptogram, KeyLabel, agreed_rnd, check_cryptogram, check_label, sealed_rnd

RND_BITS = 256


class TokenKeySets(TokenCustody):
    """Makes key sets from what is in the token."""

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self.trusted_only = False  # whether RND goes only to keys that the security officer has marked
        self._numbers = count(1)
        self._made = 0  # key sets and channels since the module was started
        self._sets: dict[int, AnySet] = {}
        self._masters: dict[KeyLabel, KeyHandle] = {}
        self._uses: dict[int, int] = {}  # of a master set that was asked for more than once

    def mint_krk(self, label: KeyLabel) -> tuple[KeyHandle, Cryptogram]:
        """A new replacement key set; `NotArmed` unless the epoch issues here."""
        check_label(label, "KRK")
        with self._token.guard("mint"):
            block, public = self._issuing(label.number)
            krkdb = self._token.ready(block)
            session = self._token.session
            if self.trusted_only and not public[Attribute.TRUSTED]:
                raise VaultError(f"epoch {label.number}: its public key is not marked as trusted: `kioskd hsm trust`")
            if curve.is_curve(public):
                rnd, point = curve.agree_once(session, curve.point_in(public), templates.recovered_rnd())
                cryptogram, named = agreed_rnd(label, point)
                return destroyed_after([rnd], lambda: (self._keep(krk_of(krkdb, rnd, named)), cryptogram))
            rnd = session.generate_key(
                KeyType.AES, RND_BITS, store=False, template=templates.rnd(trusted=self.trusted_only)
            )

            def work() -> tuple[KeyHandle, Cryptogram]:
                sealed = sealed_rnd(label, wrap_to(public, rnd))
                return self._keep(krk_of(krkdb, rnd, label)), sealed

            return destroyed_after([rnd], work)

    def recover_krk(self, cryptogram: Cryptogram, label: KeyLabel) -> KeyHandle:
        """The replacement key set of a cryptogram; `NotArmed` unless the epoch is armed here."""
        check_label(label, "KRK")
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
            return destroyed_after([rnd], lambda: self._keep(krk_of(krkdb, rnd, named)))

    def derive_master(self, label: KeyLabel) -> KeyHandle:
        """A master key set; `NotArmed` without the generation's block.

        One that lives already is given again: it lives until it was forgotten as often as it was asked for.
        """
        check_label(label, "MK")
        with self._token.guard("derive"):
            block, known = self._token.ready(self._block(label.number)), self._masters.get(label)
            if known is not None and known in self._sets:
                self._uses[known] += 1
                return known

            made = self._keep(master_of(block, label))
            self._masters[label], self._uses[made] = made, 1
            return made

    def factory_set(self, name: str, kdd: bytes = b"") -> KeyHandle:
        """The factory key set of that name, for that card if it is diversified; `NotArmed` without it."""
        with self._token.guard("factory set"):
            found = [self._token.find(ObjectClass.SECRET_KEY, f"factory {name} {role}") for role in KeyRole]
            if None in found:
                return self._keep(self._diversified(name, kdd))
            return self._keep(factory_set_of([self._token.ready(one) for one in found], lasting=True))

    def _diversified(self, name: str, kdd: bytes) -> AnySet:
        """A card's set of the master of that name."""
        for method in Method:
            master = self._token.find(ObjectClass.SECRET_KEY, f"factory {name} {MASTER} {method.value}")
            if master is None:
                continue
            if len(kdd) != KDD_BYTES:
                raise VaultError(f"a diversified factory set needs a card's {KDD_BYTES} bytes of diversification data")
            return diversified_set(self._token.ready(master), method, kdd)
        raise NotArmed(f"factory set {name}: is not here; import it")

    def _next(self) -> int:
        """A handle that never was: key sets and channels share one numbering."""
        self._made += 1
        return next(self._numbers)

    def _keep(self, values: AnySet) -> KeyHandle:
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

    def _set(self, handle: KeyHandle) -> AnySet:
        if handle not in self._sets:
            raise VaultError(f"key set {handle} is not known, or was forgotten")
        return self._sets[handle]
