"""The keeper's side of a token vault: what bundles bring in, factory sets, the transport key. All of it is objects.

    transport            a pair; the private half only unwraps
    journal wrap, MAC    seal the session keys that an intent keeps
    MKDB g, KRKDB k      blocks
    E k                  an epoch's public key, and once it is armed its private key
    factory NAME ENC...  a factory set; MASTER and a method: what each card's is made of
    note: epoch k        {generation, ended}; bundle ID: that it was taken in

Which keys are there says what an epoch may do: KRKDB alone issues, KRKDB and the private key replace. An epoch that has
ended says so in its note before its keys change, so that a crash never lets it issue again.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.bundles import Opened, open_bundle, public_pem, public_spki, same_block
from kioskd.edges.pkcs11.notes import note as write_note
from kioskd.edges.pkcs11.notes import notes
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.errors import BadBundle, NotArmed, UsedBefore, VaultError
from kioskd.gp.factory_keys import FactoryKeys, Method
from kioskd.gp.keys import KeyRole
from kioskd.rekey.bundle import Bundle, BundlePurpose, Imported
from kioskd.rekey.holding import EpochHolding, EpochState, Holdings
from kioskd.secret import Secret

RSA_BITS = 3072
SECRET, PUBLIC, PRIVATE = ObjectClass.SECRET_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY
MASTER = "MASTER"
_FACTORY = re.compile(rf"factory (.+) (?:{KeyRole.ENC}|{MASTER} \w+)")
_TRANSPORT, _JOURNAL_WRAP, _JOURNAL_MAC = "transport", "journal wrap", "journal MAC"


class TokenCustody:
    """The keys of an access server in one token; a crash at any point leaves a state that the same call finishes."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def prepare(self, rsa_bits: int = RSA_BITS) -> None:
        """Makes the transport pair and the journal keys; `VaultError` if they are there."""
        with self._token.guard(f"token {self._token.label}"):
            if self._token.find(PRIVATE, _TRANSPORT) is not None:
                raise VaultError(f"token {self._token.label}: is a vault already")
            session, bounded = self._token.session, self._token.bounded
            for label, template in (
                (_JOURNAL_WRAP, templates.journal_wrap(bounded=bounded)),
                (_JOURNAL_MAC, templates.journal_mac(bounded=bounded)),
            ):
                if self._token.find(SECRET, label) is None:
                    session.generate_key(KeyType.AES, 256, store=True, label=label, template=template)
            session.generate_keypair(
                KeyType.RSA,
                rsa_bits,
                store=True,
                label=_TRANSPORT,
                public_template={Attribute.ENCRYPT: False, Attribute.VERIFY: False, Attribute.WRAP: False},
                private_template=templates.unwrapping_private(bounded=self._token.bounded),
            )

    def holdings(self) -> Holdings:
        """What is held, without a key; a token that was lost is logged in to again first."""
        self._revive()
        with self._token.guard(f"token {self._token.label}"):
            secrets, private = self._token.labels(SECRET), self._token.labels(PRIVATE)
            self._token.seen((*secrets, "", *private))
            notes = self._epoch_notes()
        return Holdings(
            generations=tuple(sorted(int(one.split()[1]) for one in secrets if one.startswith("MKDB "))),
            epochs=tuple(
                EpochHolding(
                    epoch,
                    _state(f"KRKDB {epoch}" in secrets, f"E {epoch}" in private, ended=note["ended"]),
                    note["generation"],
                )
                for epoch, note in sorted(notes.items())
            ),
            factory_sets=tuple(sorted(found[1] for one in secrets if (found := _FACTORY.fullmatch(one)))),
        )

    def transport_key(self) -> bytes:
        """The public key that the KMS wraps bundles to, PEM."""
        with self._token.guard("transport key"):
            return public_pem(self._need(PUBLIC, _TRANSPORT))

    def import_bundle(self, raw: bytes, kms_key: bytes, now: int) -> Imported:
        """Takes in a bundle, once; `kms_key` is the pinned PEM, `now` seconds since 1970. `BadBundle` if refused."""
        bundle = Bundle.decode(raw)
        with self._token.guard("bundle"):
            transport = self._need(PRIVATE, _TRANSPORT)
            opened = open_bundle(self._token, bundle, kms_key, transport, self.transport_key(), now)
            destroyed_after(opened.objects, lambda: self._take_in(bundle, opened))
        header = bundle.header
        return Imported(header.purpose, header.generation, header.epoch, header.campaign)

    def end_issue(self, epoch: int) -> None:
        """Destroys the issuing keys of an epoch, for ever; `NotArmed` if it does not issue."""
        with self._token.guard("end of issue"):
            krkdb, _ = self._issuing(epoch)
            self._note_epoch(epoch, ended=True)
            self._token.destroy(krkdb)

    def disarm(self, epoch: int) -> None:
        """Destroys the replacing keys of an armed epoch; `NotArmed` if it is not armed."""
        with self._token.guard("disarming"):
            for one in self._armed(epoch):
                self._token.destroy(one)
            needed = {one.generation for one in self.holdings().epochs if one.state is not EpochState.ENDED}
            for generation in set(self.holdings().generations) - needed:
                self._token.destroy(self._need(SECRET, f"MKDB {generation}"))

    def add_factory_set(
        self, name: str, keys: Iterable[Secret], des: bool | None = None, method: Method | None = None
    ) -> None:
        """Keeps a factory key set, or the master of one, under a name; `VaultError` if there is one.

        A key in a token is of one algorithm: what does not say that it is of 3DES is of AES.
        """
        factory = FactoryKeys(tuple(keys), des, method)
        if not name or name in self.holdings().factory_sets:
            raise VaultError(f"factory set {name}: there is one under this name")
        members = tuple(KeyRole) if method is None else (f"{MASTER} {method.value}",)
        kind = KeyType.DES2 if factory.of_des else KeyType.AES
        template = templates.des_factory_key() if kind is KeyType.DES2 else templates.factory_key()
        with self._token.guard("factory set"):
            # ENC comes last and stands for the set: what is there without it is left over from a crash.
            for member, value in zip(reversed(members), reversed(factory.keys), strict=True):
                label = f"factory {name} {member}"
                left_over = self._token.find(SECRET, label)
                if left_over is not None:
                    self._token.destroy(left_over)
                named = {Attribute.CLASS: SECRET, Attribute.KEY_TYPE: kind, Attribute.LABEL: label}
                self._token.session.create_object({**named, Attribute.VALUE: value.reveal(), **template})

    def _revive(self) -> None:
        """Comes back to a token that was lost; whoever keeps handles forgets them."""
        self._token.revive()

    # --- what the verbs need ----------------------------------------------------------------------------------------

    def _block(self, generation: int) -> Any:
        found = self._token.find(SECRET, f"MKDB {generation}")
        if found is None:
            raise NotArmed(f"generation {generation}: its block is not here; import a bundle of it")
        return found

    def _issuing(self, epoch: int) -> tuple[Any, Any]:
        krkdb, public = self._token.find(SECRET, f"KRKDB {epoch}"), self._token.find(PUBLIC, f"E {epoch}")
        note = self._epoch_notes().get(epoch)
        if note is None:
            raise NotArmed(f"epoch {epoch}: its issuing keys are not here; import its issue bundle")
        if note["ended"] or krkdb is None or public is None:
            raise NotArmed(f"epoch {epoch}: issuing has ended for ever; issue under another epoch")
        return krkdb, public

    def _armed(self, epoch: int) -> tuple[Any, Any]:
        krkdb, private = self._token.find(SECRET, f"KRKDB {epoch}"), self._token.find(PRIVATE, f"E {epoch}")
        if krkdb is None or private is None:
            raise NotArmed(f"epoch {epoch}: its private key is not here; import its replace bundle")
        return krkdb, private

    def _journal_keys(self) -> tuple[Any, Any]:
        wrap, mac = self._need(SECRET, _JOURNAL_WRAP), self._need(SECRET, _JOURNAL_MAC)
        return self._token.ready(wrap), self._token.ready(mac)

    def _need(self, kind: ObjectClass, label: str) -> Any:
        found = self._token.find(kind, label)
        if found is None:
            raise VaultError(f"token {self._token.label}: has no {label!r}; prepare it with `kioskd access init`")
        return found

    # --- taking in --------------------------------------------------------------------------------------------------

    def _take_in(self, bundle: Bundle, opened: Opened) -> None:
        header = bundle.header
        generation, epoch, name = header.generation, header.epoch, f"bundle {header.id.hex()}"
        if notes(self._token, name):
            raise UsedBefore(f"bundle {header.id.hex()}: was imported before")
        note = self._epoch_notes().get(epoch)
        self._check(f"MKDB {generation}", opened.mkdb, f"generation {generation}: another block is here")
        self._check(f"KRKDB {epoch}", opened.krkdb, f"epoch {epoch}: other keys are here")
        public = self._token.find(PUBLIC, f"E {epoch}")
        if public is not None and public_spki(public) != bundle.public:
            raise BadBundle(f"epoch {epoch}: other keys are here under this number")
        arming = header.purpose is BundlePurpose.REPLACE
        if not arming and note is not None and note["ended"]:
            raise BadBundle(f"epoch {epoch}: issuing has ended for ever here")
        self._store(SECRET, f"MKDB {generation}", lambda label: opened.keep_mkdb(label))
        if public is None:
            opened.keep_public(f"E {epoch}")
        newest = max(generation, note["generation"] if note is not None else 0)
        self._note_epoch(epoch, generation=newest, ended=arming)
        self._store(SECRET, f"KRKDB {epoch}", lambda label: opened.keep_krkdb(label))
        if arming:
            self._store(PRIVATE, f"E {epoch}", lambda label: opened.keep_private(label))
        write_note(self._token, name, b"")

    def _check(self, label: str, new: Any, words: str) -> None:
        known = self._token.find(SECRET, label)
        if known is not None and not same_block(known, new):
            raise BadBundle(f"{words} under this number")

    def _store(self, kind: ObjectClass, label: str, keep: Callable[[str], None]) -> None:
        if self._token.find(kind, label) is None:
            keep(label)

    def _epoch_notes(self) -> dict[int, dict[str, Any]]:
        """What is noted of each epoch. After a crash one may have two notes: what has ended stays so."""
        merged: dict[int, dict[str, Any]] = {}
        for label, content in notes(self._token, "epoch "):
            epoch, note = int(label.split()[1]), json.loads(content)
            before = merged.get(epoch, note)
            generation = max(before["generation"], note["generation"])
            merged[epoch] = {"generation": generation, "ended": before["ended"] or note["ended"]}
        return merged

    def _note_epoch(self, epoch: int, *, ended: bool, generation: int | None = None) -> None:
        known = self._epoch_notes().get(epoch, {"generation": 0, "ended": False})
        value = {"generation": known["generation"] if generation is None else generation, "ended": ended}
        write_note(self._token, f"epoch {epoch}", json.dumps(value).encode())


def _state(krkdb: bool, private: bool, *, ended: bool) -> EpochState:
    if krkdb and private:
        return EpochState.ARMED
    return EpochState.ISSUING if krkdb and not ended else EpochState.ENDED
