"""A key management server's token wrapped to a second one, and taken in there: no key is ever outside of both.

The signing key does not leave: a restored server has one of its own, which the access servers must be given.
"""

from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, exceptions

from kioskd.edges.pkcs11 import curve, templates
from kioskd.edges.pkcs11.bundles import public_pem, public_spki, public_template, take_private
from kioskd.edges.pkcs11.kms import TokenKms
from kioskd.edges.pkcs11.notes import note as write_note
from kioskd.edges.pkcs11.token import destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_by, unwrap_secret, wrap_to
from kioskd.errors import BadBundle, VaultError
from kioskd.rekey.backup import BACKUP_VERSION, Backup, WrappedBlock, WrappedPair
from kioskd.rekey.bundle_check import (
    ed25519_raw,
    ed25519_verifies,
    fingerprint_of,
    read_transport_key,
    rsa_numbers,
    spki_of_pem,
)

_RESTORE = "restore"
_RSA_BITS = 3072
SECRET, PUBLIC, PRIVATE = ObjectClass.SECRET_KEY, ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY


def make_restore_key(kms: TokenKms, rsa_bits: int = _RSA_BITS) -> bytes:
    """Makes the pair that a backup for this token is wrapped to; its public half, PEM. The same one, if it is there."""
    token = kms.token
    with token.guard("restore key"):
        if token.find(PRIVATE, _RESTORE) is None:
            token.session.generate_keypair(
                KeyType.RSA,
                rsa_bits,
                store=True,
                label=_RESTORE,
                public_template=dict.fromkeys((Attribute.ENCRYPT, Attribute.VERIFY, Attribute.WRAP), False),
                private_template=templates.unwrapping_private(bounded=token.bounded),
            )
        return public_pem(token.find(PUBLIC, _RESTORE))


def back_up(kms: TokenKms, to: bytes) -> Backup:
    """Every block and pair of this token, wrapped to the restore key (PEM) of another, and signed."""
    token, session, held = kms.token, kms.token.session, kms.holdings()
    with token.guard("backup"):
        recipient = session.create_object(templates.transport_public(*rsa_numbers(spki_of_pem(to))))
        kek = session.generate_key(KeyType.AES, 256, store=False, template=templates.sending_kek())

        def wrapped(kind: ObjectClass, label: str, mechanism: Mechanism) -> bytes:
            return bytes(kek.wrap_key(token.find(kind, label), mechanism=mechanism))

        def work() -> Backup:
            epochs = sorted((*held.issuing, *held.armed))
            labels = [f"MKDB {one}" for one in held.generations] + [f"KRKDB {one}" for one in epochs]
            return Backup(
                BACKUP_VERSION,
                fingerprint_of(read_transport_key(to)),
                wrap_to(recipient, kek),
                tuple(WrappedBlock(label, wrapped(SECRET, label, Mechanism.AES_KEY_WRAP)) for label in labels),
                tuple(
                    WrappedPair(
                        one,
                        public_spki(token.find(PUBLIC, f"E {one}")),
                        wrapped(PRIVATE, f"E {one}", token.private_key_wrap),
                    )
                    for one in epochs
                ),
                held.armed,
            )

        return destroyed_after([recipient, kek], work).signed(kms.sign)


def restore(kms: TokenKms, backup: Backup, from_key: bytes) -> None:
    """Takes in a backup that the server of `from_key` (PEM) signed for this token; `BadBundle` if it is another's.

    A token that has keys takes none: `VaultError`. A crash in between is mended by the same call on an emptied token.
    """
    check_backup(backup, from_key, make_restore_key(kms))
    token = kms.token
    held = kms.holdings()
    if held.generations or held.issuing or held.armed:
        raise VaultError(f"token {token.label}: has keys of its own; restore into an empty one")
    with token.guard("restore"):
        for epoch in backup.armed:
            write_note(token, f"armed {epoch}", b"")
        try:
            kek = unwrap_by(token.find(PRIVATE, _RESTORE), backup.kek, templates.kek())
        except exceptions.PKCS11Error as wrong:
            raise token.blame(wrong, BadBundle("backup: does not open with this token's restore key")) from wrong
        destroyed_after([kek], lambda: _take_in(kms, kek, backup))


def check_backup(backup: Backup, from_key: bytes, restore_key: bytes) -> None:
    """`BadBundle` unless the server of `from_key` (PEM) signed the backup for the holder of this restore key (PEM)."""
    if not ed25519_verifies(ed25519_raw(from_key), backup.signature, backup.signed_part()):
        raise BadBundle("backup: altered, or of another key management server")
    if backup.recipient != fingerprint_of(read_transport_key(restore_key)):
        raise BadBundle("backup: is for another token")


def _take_in(kms: TokenKms, kek: Any, backup: Backup) -> None:
    token = kms.token
    for block in backup.blocks:
        unwrap_secret(kek, block.wrapped, templates.transferred_block(), block.label)
    for pair in backup.pairs:
        label, rsa = f"E {pair.epoch}", templates.transferred_private() | {Attribute.TOKEN: True}
        take_private(token, kek, pair.wrapped, pair.public, rsa=rsa, p256=curve.restored_private(), label=label)
        public = public_template(label, pair.public)
        token.session.create_object(public | {Attribute.WRAP: False} if Attribute.WRAP in public else public)
