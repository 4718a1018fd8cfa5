"""The key management server's keys in a token: made there, wrapped there for one recipient, signed there, never read.

signing              Ed25519, made with the token
MKDB g, KRKDB k, E k blocks and pairs: extractable, for transfer wraps them; no other use is allowed
note: armed k        that epoch k's private key was released; release ID: what went out
"""

import json
from collections.abc import Callable
from typing import Any

from pkcs11 import Attribute, KeyType, ObjectClass

from kioskd.edges.pkcs11 import curve, templates
from kioskd.edges.pkcs11.bundles import public_spki
from kioskd.edges.pkcs11.notes import note as write_note
from kioskd.edges.pkcs11.notes import notes
from kioskd.edges.pkcs11.signing import make_signing_pair, public_bytes, signature
from kioskd.edges.pkcs11.token import Token, destroyed_after
from kioskd.edges.pkcs11.wrapping import wrap_secret, wrap_to
from kioskd.errors import VaultError
from kioskd.rekey.bundle import Bundle, BundleHeader, BundlePurpose
from kioskd.rekey.bundle_check import ed25519_pem, fingerprint_of, read_kms_key, rsa_numbers, spki_of_pem
from kioskd.rekey.master_bundle import MasterBundle, MasterHeader
from kioskd.rekey.release import KmsHoldings, Release, check_destroy, check_release, check_share
from kioskd.rekey.transcript import BEGINNING
from kioskd.shape import from_plain, to_plain

_SIGNING = "signing"
_HEAD = "transcript head"
SECRET, PUBLIC, PRIVATE = ObjectClass.SECRET_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY


class TokenSigner:
    """The signing key in a token, and the note of the transcript's newest entry beside it."""

    def __init__(self, token: Token) -> None:
        self._token = token

    @property
    def token(self) -> Token:
        """The token, for its backup."""
        return self._token

    def sign(self, text: bytes) -> bytes:
        """An Ed25519 signature by this server's signing key."""
        return signature(self._token, _SIGNING, text)

    def public_key(self) -> bytes:
        """The key that checks this server's bundles, PEM; an access server pins it."""
        return ed25519_pem(public_bytes(self._token, _SIGNING))

    def head(self) -> tuple[int, bytes]:
        """The number and digest of the transcript's newest entry, as far as this token was told."""
        with self._token.guard("transcript's head"):
            heads = [json.loads(value) for _, value in notes(self._token, _HEAD)]
        number, digest = max(heads) if heads else (0, BEGINNING.hex())
        return int(number), bytes.fromhex(digest)

    def remember_head(self, number: int, digest: bytes) -> None:
        """Notes the transcript's newest entry."""
        with self._token.guard("transcript's head"):
            write_note(self._token, _HEAD, json.dumps([number, digest.hex()]).encode())

    def _need(self, kind: ObjectClass, label: str) -> Any:
        found = self._token.find(kind, label)
        if found is None:
            raise VaultError(f"token {self._token.label}: has no {label!r}")
        return found


class TokenKms(TokenSigner):
    """`ports.KmsVault` on a token."""

    def prepare(self) -> None:
        """Makes the signing key; `VaultError` if there is one."""
        with self._token.guard(f"token {self._token.label}"):
            if self._token.find(PRIVATE, _SIGNING) is not None:
                raise VaultError(f"token {self._token.label}: is a vault already")
        make_signing_pair(self._token, _SIGNING)

    def generate(self) -> int:
        """Makes the master block of the next generation; its number."""
        with self._token.guard("master block"):
            number = max(self._numbers(SECRET, "MKDB "), default=0) + 1
            self._block(f"MKDB {number}")
        return number

    def new_epoch(self, rsa_bits: int) -> int:
        """Makes the replacement block and the RSA pair of the next epoch; its number."""

        def pair(label: str) -> None:
            self._token.session.generate_keypair(
                KeyType.RSA,
                rsa_bits,
                store=True,
                label=label,
                public_template=dict.fromkeys((Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP), False),
                private_template=templates.transferred_private(),
            )

        return self._add_epoch(pair)

    def new_p256_epoch(self) -> int:
        """Makes the replacement block and the P-256 pair of the next epoch; its number."""
        private = curve.transferred_private() | {Attribute.PRIVATE: True}
        return self._add_epoch(lambda label: curve.make_pair(self._token.session, private, label))

    def _add_epoch(self, pair: Callable[[str], object]) -> int:
        """The block, then the pair, which makes the epoch."""
        with self._token.guard("epoch"):
            number = self.holdings().next_epoch
            if self._token.find(SECRET, f"KRKDB {number}") is None:  # a crash may have left it
                self._block(f"KRKDB {number}")
            pair(f"E {number}")
        return number

    def destroy_epoch(self, number: int) -> None:
        """Destroys the block and the pair of an armed epoch, for ever; `VaultError` for any other.

        The private key goes last: while it is there, the epoch is not called destroyed, and this can be said again.
        """
        check_destroy(number, number in self.holdings().armed)
        with self._token.guard("destruction"):
            write_note(self._token, f"destroyed {number}", b"")
            for kind, label in ((SECRET, f"KRKDB {number}"), (PUBLIC, f"E {number}"), (PRIVATE, f"E {number}")):
                found = self._token.find(kind, label)
                if found is not None:
                    self._token.destroy(found)

    def seal(self, header: BundleHeader, transport: bytes) -> bytes:
        """The signed bundle file for a transport key (PEM); every key in it is wrapped inside the token."""
        with self._token.guard("bundle"):
            epoch = f"E {header.epoch}"
            mkdb, krkdb = self._need(SECRET, f"MKDB {header.generation}"), self._need(SECRET, f"KRKDB {header.epoch}")
            public, private = self._need(PUBLIC, epoch), self._need(PRIVATE, epoch)
            session = self._token.session
            to = session.create_object(templates.transport_public(*rsa_numbers(spki_of_pem(transport))))
            kek = session.generate_key(KeyType.AES, 256, store=False, template=templates.sending_kek())

            def work() -> Bundle:
                arming = header.purpose is BundlePurpose.REPLACE
                return Bundle(
                    header=header,
                    kek=wrap_to(to, kek),
                    mkdb=wrap_secret(kek, mkdb),
                    krkdb=wrap_secret(kek, krkdb),
                    public=public_spki(public),
                    private=bytes(kek.wrap_key(private, mechanism=self._token.private_key_wrap)) if arming else b"",
                )

            return destroyed_after([to, kek], work).signed(self.sign).encode()

    def seal_master(self, header: MasterHeader, transport: bytes) -> bytes:
        """The signed master bundle for a transport key (PEM): one master block, and nothing of an epoch."""
        with self._token.guard("master bundle"):
            mkdb, session = self._need(SECRET, f"MKDB {header.generation}"), self._token.session
            to = session.create_object(templates.transport_public(*rsa_numbers(spki_of_pem(transport))))
            kek = session.generate_key(KeyType.AES, 256, store=False, template=templates.sending_kek())

            def work() -> MasterBundle:
                return MasterBundle(header, wrap_to(to, kek), wrap_secret(kek, mkdb))

            return destroyed_after([to, kek], work).signed(self.sign).encode()

    def note_release(self, note: Release) -> None:
        """Writes a release down; `VaultError` for what is not held, or may not be released any more."""
        held = self.holdings()
        if note.purpose is BundlePurpose.SHARE:
            check_share(note.generation, note.generation in held.generations)
            with self._token.guard("release"):
                write_note(self._token, f"release {note.id.hex()}", json.dumps(to_plain(note)).encode())
            return
        known = note.epoch in (*held.issuing, *held.armed)
        ended = note.epoch in held.armed and note.purpose is BundlePurpose.ISSUE
        check_release(note.generation, note.epoch, note.generation in held.generations, known, ended)
        with self._token.guard("release"):
            if note.purpose is BundlePurpose.REPLACE:
                write_note(self._token, f"armed {note.epoch}", b"")
            write_note(self._token, f"release {note.id.hex()}", json.dumps(to_plain(note)).encode())

    def holdings(self) -> KmsHoldings:
        """What is held, in numbers; a token that was lost is logged in to again first."""
        self._token.revive()
        with self._token.guard(f"token {self._token.label}"):
            self._token.seen((*self._token.labels(SECRET), "", *self._token.labels(PRIVATE)))
            armed = {int(label.split()[1]) for label, _ in notes(self._token, "armed ")}
            noted = {int(label.split()[1]) for label, _ in notes(self._token, "destroyed ")}
            epochs = sorted(self._numbers(PRIVATE, "E "))
            releases = [from_plain(Release, json.loads(value)) for _, value in notes(self._token, "release ")]
            return KmsHoldings(
                fingerprint=fingerprint_of(read_kms_key(self.public_key())),
                generations=tuple(sorted(self._numbers(SECRET, "MKDB "))),
                issuing=tuple(one for one in epochs if one not in armed),
                armed=tuple(one for one in epochs if one in armed),
                releases=tuple(sorted(releases, key=lambda one: (one.not_before, one.id))),
                destroyed=tuple(sorted(noted - set(epochs))),
            )

    def _numbers(self, kind: ObjectClass, prefix: str) -> list[int]:
        return [int(one.removeprefix(prefix)) for one in self._token.labels(kind) if one.startswith(prefix)]

    def _block(self, label: str) -> None:
        template = templates.transferred_block()
        self._token.session.generate_key(KeyType.AES, 256, store=True, label=label, template=template)
