"""The keeper's side of the software vault: its file, what bundles bring in, factory sets, the transport key."""

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self, TypeVar

from kioskd.errors import BadConfiguration
from kioskd.gp.factory_keys import FactoryKeys, Method
from kioskd.gp.keys import KeyRole
from kioskd.private_file import read_private
from kioskd.rekey.bundle import Imported
from kioskd.rekey.bundle_check import pem_of, read_kms_key
from kioskd.rekey.holding import Holdings
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import RSA_BITS, load_private, make_rsa, open_bundle
from kioskd.virtual.holdings import Held, holdings_of
from kioskd.virtual.sealed import Cost, SealedFile

T = TypeVar("T")

KIND = "access-vault"


class Custody:
    """A sealed file of the access server's keys; every change is on disk before it counts."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._decoded: tuple[Secret, Held] | None = None

    @classmethod
    def create(cls, path: Path, passphrase: Secret, *, cost: Cost | None = None, rsa_bits: int = RSA_BITS) -> Self:
        """A new vault with a transport pair and a journal key; `VaultError` if the file exists."""
        held = Held(transport=make_rsa(rsa_bits), journal=Secret(secrets.token_bytes(32)))
        return cls(SealedFile.create(path, KIND, passphrase, held.encode(), cost))

    @classmethod
    def open(cls, path: Path, passphrase: Secret) -> Self:
        """The vault in that file; `VaultError` for a wrong passphrase or another file."""
        return cls(SealedFile.open(path, KIND, passphrase))

    def holdings(self) -> Holdings:
        """What is held, without a key."""
        return holdings_of(self._held())

    def transport_key(self) -> bytes:
        """The public key that the KMS wraps bundles to, PEM."""
        return pem_of(load_private(self._held().transport).public_key())

    def import_bundle(self, raw: bytes, kms_key: bytes, now: int) -> Imported:
        """Takes in a bundle, once; `kms_key` is the pinned PEM, `now` seconds since 1970. `BadBundle` if refused."""
        transport = load_private(self._held().transport)
        header, contents = open_bundle(raw, read_kms_key(kms_key), transport, now)
        self._change(lambda held: held.with_bundle(header, contents))
        return Imported(header.purpose, header.generation, header.epoch, header.campaign)

    def end_issue(self, epoch: int) -> None:
        """Destroys the issuing keys of an epoch, for ever; `NotArmed` if it does not issue."""
        self._change(lambda held: held.end_issue(epoch))

    def disarm(self, epoch: int) -> None:
        """Destroys the replacing keys of an armed epoch; `NotArmed` if it is not armed."""
        self._change(lambda held: held.disarm(epoch))

    def add_factory_set(
        self, name: str, keys: Iterable[Secret], des: bool | None = None, method: Method | None = None
    ) -> None:
        """Keeps a factory key set, or the master of one, under a name; `VaultError` if other keys have that name."""
        factory = FactoryKeys(tuple(keys), des, method)
        self._change(lambda held: held.with_factory_set(name, factory))

    def _held(self) -> Held:
        content = self._file.content()
        if self._decoded is None or self._decoded[0] is not content:
            self._decoded = (content, Held.decode(content))
        return self._decoded[1]

    def _change(self, edit: Callable[[Held], Held]) -> None:
        self._file.change(lambda content: edit(Held.decode(content)).encode())


_ROLES = tuple(role.value for role in KeyRole)
_ALGORITHM, _METHOD, _MASTER = "ALGORITHM", "DIVERSIFIED", "MASTER"
_ALGORITHMS = {"AES": False, "3DES": True}


def read_factory_file(path: Path) -> FactoryKeys:
    """A factory key set from a private file: the lines `ENC hex`, `MAC hex` and `DEK hex`, of one length.

    `ALGORITHM 3DES` or `ALGORITHM AES` says of what; a token needs that for 3DES. Sets that are made for each card:
    `DIVERSIFIED emv` (visa2, visa, kdf3) and `MASTER hex` in the place of the three keys.
    `BadConfiguration` if others can read the file, or for anything else in it.
    """
    words, keys = _lines(path)
    method = _word(path, words, _METHOD, {one.value: one for one in Method})
    des = _word(path, words, _ALGORITHM, _ALGORITHMS)
    roles = _ROLES if method is None else (_MASTER,)
    for role in roles:
        if role not in keys:
            raise BadConfiguration(f"{path}: {role}: is missing")
    for role in keys:
        if role not in roles:
            raise BadConfiguration(f"{path}: {role}: has no place here; a diversified set has a MASTER alone")
    try:
        return FactoryKeys(tuple(keys[role] for role in roles), des, method)
    except ValueError as wrong:
        raise BadConfiguration(f"{path}: {wrong}") from wrong


def _lines(path: Path) -> tuple[dict[str, str], dict[str, Secret]]:
    """What the lines say that are no keys, and the keys."""
    words: dict[str, str] = {}
    keys: dict[str, Secret] = {}
    try:
        lines = read_private(path).reveal().decode("ascii").splitlines()
        for number, line in enumerate(lines, 1):
            parts = line.partition("#")[0].split()
            if not parts:
                continue
            known = (*_ROLES, _MASTER, _ALGORITHM, _METHOD)
            if len(parts) != 2 or parts[0] not in known or parts[0] in words or parts[0] in keys:
                raise BadConfiguration(f"{path}: line {number}: needs ENC, MAC or DEK once each, then the key in hex")
            if parts[0] in (_ALGORITHM, _METHOD):
                words[parts[0]] = parts[1]
            else:
                keys[parts[0]] = Secret(bytes.fromhex(parts[1]))
    except ValueError as wrong:
        raise BadConfiguration(f"{path}: is not text of key names and hex digits") from wrong
    return words, keys


def _word(path: Path, words: dict[str, str], name: str, known: dict[str, T]) -> T | None:
    """What a line says, by its word; None where there is no such line."""
    if name in words and words[name] not in known:
        raise BadConfiguration(f"{path}: {name}: one of {', '.join(known)}, not {words[name][:20]!r}")
    return known.get(words.get(name, ""))
