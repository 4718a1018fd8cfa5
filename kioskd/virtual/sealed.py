"""A file under a passphrase: scrypt makes the key, AES-256-GCM seals the content, the header is bound to it.

    header: one line of JSON (format, version, kind, n, r, p, salt, nonce), also the seal's associated data
    rest:   ciphertext and tag

Every change is sealed anew and durable before it counts, and is made on the newest content: several processes may use
one file. Whoever can write the folder can put an older copy back; the seal does not show that.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kioskd.errors import VaultError
from kioskd.private_file import write_private
from kioskd.secret import Secret
from kioskd.shape import ShapeError, compact, from_plain

FORMAT = "kioskd-sealed"
VERSION = 1
MAX_HEADER_BYTES = 1024
MAX_SCRYPT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at the passphrase costs: 128 * n * r bytes of memory, p times over."""

    n: int = 2**15
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or not 1 <= self.p <= 16:
            raise ValueError("scrypt needs n a power of two, r at least 1 and p from 1 to 16")
        if 128 * self.n * self.r > MAX_SCRYPT_BYTES:
            raise ValueError(f"scrypt with n={self.n} and r={self.r} needs more than {MAX_SCRYPT_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Header:
    """The readable first line of a sealed file."""

    format: str
    version: int
    kind: str
    n: int
    r: int
    p: int
    salt: bytes
    nonce: bytes

    def encode(self) -> bytes:
        """The line, with its end."""
        return compact(self) + b"\n"


class SealedFile:
    """One sealed file, open under its passphrase."""

    def __init__(self, path: Path, kind: str, cost: Cost, salt: bytes, key: Secret) -> None:
        self.path = path
        self._kind = kind
        self._cost = cost
        self._salt = salt
        self._key = key
        self._seen: tuple[int, int, int] | None = None
        self._content = Secret(b"")

    @classmethod
    def create(
        cls, path: Path, kind: str, passphrase: Secret, content: Secret, cost: Cost | None = None
    ) -> "SealedFile":
        """A new sealed file; `VaultError` if there is one already."""
        cost = cost or Cost()
        salt = os.urandom(16)
        made = cls(path, kind, cost, salt, _stretch(passphrase, salt, cost))
        write_private(path, made._seal(content), new=True)
        return made

    @classmethod
    def open(cls, path: Path, kind: str, passphrase: Secret) -> "SealedFile":
        """The sealed file at `path`; `VaultError` for a wrong passphrase, another kind of file or a damaged one."""
        header, _ = _split(path, _read(path))
        if header.kind != kind:
            raise VaultError(f"{path}: is a {header.kind} file, not a {kind} file")
        cost = Cost(header.n, header.r, header.p)
        opened = cls(path, kind, cost, header.salt, _stretch(passphrase, header.salt, cost))
        opened.content()
        return opened

    def content(self) -> Secret:
        """The newest content, read again if another process has changed the file."""
        try:
            facts = self.path.stat()
        except OSError as wrong:
            raise VaultError(f"{self.path}: cannot be read: {wrong.strerror}") from wrong
        seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
        if seen != self._seen:
            self._content = self._unseal(_read(self.path))
            self._seen = seen
        return self._content

    def change(self, edit: Callable[[Secret], Secret]) -> None:
        """Replaces the newest content by what `edit` makes of it; durable when it returns."""
        with _exclusively(self.path.parent):
            write_private(self.path, self._seal(edit(self.content())))

    def _seal(self, content: Secret) -> bytes:
        nonce = os.urandom(12)
        cost = self._cost
        header = Header(FORMAT, VERSION, self._kind, cost.n, cost.r, cost.p, self._salt, nonce).encode()
        return header + AESGCM(self._key.reveal()).encrypt(nonce, content.reveal(), header)

    def _unseal(self, raw: bytes) -> Secret:
        header, sealed = _split(self.path, raw)
        try:
            return Secret(AESGCM(self._key.reveal()).decrypt(header.nonce, sealed, header.encode()))
        except InvalidTag as wrong:
            raise VaultError(f"{self.path}: wrong passphrase, or the file is damaged") from wrong


def _stretch(passphrase: Secret, salt: bytes, cost: Cost) -> Secret:
    return Secret(Scrypt(salt=salt, length=32, n=cost.n, r=cost.r, p=cost.p).derive(passphrase.reveal()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise VaultError(f"{path}: cannot be read: {wrong.strerror}") from wrong


def _split(path: Path, raw: bytes) -> tuple[Header, bytes]:
    line, end, sealed = raw.partition(b"\n")
    try:
        if not end or len(line) > MAX_HEADER_BYTES:
            raise ShapeError("", "no header")
        header = from_plain(Header, json.loads(line))
        if header.format != FORMAT or header.version != VERSION or len(header.nonce) != 12 or len(header.salt) != 16:
            raise ShapeError("", "another format")
        Cost(header.n, header.r, header.p)
        if header.encode() != line + end:
            raise ShapeError("", "not as this program writes it")
    except (ValueError, RecursionError, ShapeError) as wrong:
        raise VaultError(f"{path}: is not a sealed file that this version knows") from wrong
    return header, sealed


@contextmanager
def _exclusively(folder: Path) -> Iterator[None]:
    """Holds the folder's lock: the sealed file itself is replaced by each change, so it cannot carry one."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as wrong:
        raise VaultError(f"{folder}: cannot be opened: {wrong.strerror}") from wrong
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
