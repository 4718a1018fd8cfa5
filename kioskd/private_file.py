"""Files that only their owner may read: read with a check of their modes, written whole or not at all."""

import os
import stat
import tempfile
from pathlib import Path

from kioskd.errors import BadConfiguration, VaultError
from kioskd.secret import Secret

MAX_PRIVATE_BYTES = 1 << 20


def read_private(path: Path) -> Secret:
    """The file's bytes, at most 1 MiB; `BadConfiguration` if it is absent or if others may read or write it."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise BadConfiguration(f"{path}: is not a regular file")
            if facts.st_mode & 0o077 and not _guarded_by_systemd(path):
                mode = stat.S_IMODE(facts.st_mode)
                raise BadConfiguration(f"{path}: others may use it (mode {mode:04o}); make it 0600")
            content = file.read(MAX_PRIVATE_BYTES + 1)
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be read: {wrong.strerror}") from wrong
    if len(content) > MAX_PRIVATE_BYTES:
        raise BadConfiguration(f"{path}: longer than {MAX_PRIVATE_BYTES} bytes")
    return Secret(content)


def read_passphrase(path: Path) -> Secret:
    """The passphrase in a private file: its content without the line end; `BadConfiguration` if it is empty."""
    phrase = Secret(read_private(path).reveal().rstrip(b"\r\n"))
    if len(phrase) == 0:
        raise BadConfiguration(f"{path}: holds no passphrase")
    return phrase


def write_private(path: Path, content: bytes, *, new: bool = False, for_owner_of_folder: bool = False) -> None:
    """Puts `content` at `path`, mode 0600, durable when it returns; the old content stays if anything fails.

    With `new`, a file that is already there is left alone and refused. With `for_owner_of_folder`, root writes it for
    the service whose folder it is. Failures are `VaultError`.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as wrong:
        raise VaultError(f"{path}: cannot be written: {wrong.strerror}") from wrong
    try:
        with os.fdopen(descriptor, "wb") as file:
            if for_owner_of_folder and os.geteuid() == 0:
                folder = path.parent.stat()
                os.fchown(file.fileno(), folder.st_uid, folder.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if new:
            path.hardlink_to(name)  # fails if the path exists, where a rename would replace it
            Path(name).unlink()
        else:
            Path(name).replace(path)
        _sync_directory(path.parent)
    except OSError as wrong:
        Path(name).unlink(missing_ok=True)
        reason = "exists already" if isinstance(wrong, FileExistsError) else f"cannot be written: {wrong.strerror}"
        raise VaultError(f"{path}: {reason}") from wrong


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _guarded_by_systemd(path: Path) -> bool:
    """Whether the file is a systemd credential: its folder is closed, and the group bits are only its ACL's mask."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and path.parent == Path(folder)
