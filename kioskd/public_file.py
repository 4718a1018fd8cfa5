"""Files that anybody may read: what a command line names. Each failure is one `BadConfiguration`."""

from pathlib import Path

from kioskd.errors import BadConfiguration


def read_public(path: Path) -> bytes:
    """The file's bytes."""
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be read: {wrong.strerror}") from wrong


def write_public(path: Path, content: bytes) -> None:
    """Writes the file, in place of one that is there."""
    try:
        path.write_bytes(content)
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be written: {wrong.strerror}") from wrong


def check_free(path: Path) -> None:
    """That a new file can be made there: before the work whose result it is to hold."""
    if path.exists():
        raise BadConfiguration(f"{path}: exists already")
    if not path.parent.is_dir():
        raise BadConfiguration(f"{path}: cannot be written: there is no folder {path.parent}")
