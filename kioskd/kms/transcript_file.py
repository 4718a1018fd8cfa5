"""The transcript on disk: only appended to, each entry durable before its act; the vault knows the newest one."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kioskd.errors import BadConfiguration, BadTranscript, StoreFailed
from kioskd.ports import KmsVault
from kioskd.rekey.bundle_check import ed25519_raw, ed25519_verifies
from kioskd.rekey.ceremony import Ceremony, Event
from kioskd.rekey.transcript import BEGINNING, read_transcript


class TranscriptFile:
    """The transcript of one key management server, held by one process at a time."""

    def __init__(self, path: Path, vault: KmsVault, descriptor: int) -> None:
        self._vault, self._descriptor = vault, descriptor
        lines = path.read_bytes().splitlines(keepends=True)
        self._transcript = read_transcript(lines, ed25519_raw(vault.public_key()), ed25519_verifies)
        self._check_head(path)

    @property
    def ceremony(self) -> Ceremony:
        """Where things stand."""
        return self._transcript.ceremony

    def append(self, event: Event, now: int) -> None:
        """Writes an event down; `NotApproved` for one that may not happen, and then nothing is written."""
        entry, after = self._transcript.following(event, now, self._vault.sign, ed25519_verifies)
        try:
            line = entry.encode()
            if os.write(self._descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, "no room for a whole entry")
            os.fsync(self._descriptor)
        except OSError as wrong:
            raise StoreFailed(f"transcript: cannot be written: {wrong.strerror}") from wrong
        self._vault.remember_head(after.number, after.head)
        self._transcript = after

    def _check_head(self, path: Path) -> None:
        """The newest entry is the one that the vault knows, or one more: a crash may come between the two."""
        number, digest = self._vault.head()
        known = (BEGINNING, *self._transcript.digests)
        if not number <= self._transcript.number <= number + 1 or known[number] != digest:
            raise BadTranscript(
                f"{path}: is not the newest transcript of this vault: lines are missing, or an older copy was put back"
            )


@contextmanager
def opened(path: Path, vault: KmsVault, *, new: bool = False) -> Iterator[TranscriptFile]:
    """The transcript, checked from its first line; `BadTranscript` for one that was altered or is not the newest."""
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if new else 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as wrong:
        raise BadConfiguration(f"{path}: cannot be {'made' if new else 'opened'}: {wrong.strerror}") from wrong
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield TranscriptFile(path, vault, descriptor)
    finally:
        os.close(descriptor)
