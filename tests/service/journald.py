"""A real systemd-journald that nobody else sees: its folders lie in a mount namespace of its own."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAM = "/usr/lib/systemd/systemd-journald"
START_S = 20.0
# In memory only; it neither reads the kernel's log nor tells anybody.
CONFIGURATION = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToWall=no\n"
LAUNCHER = f"""
set -eu
mount --make-rprivate / 2>/dev/null || :
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
printf '{CONFIGURATION.replace(chr(10), chr(92) + "n")}' >/run/systemd/journald.conf.d/private.conf
exec {PROGRAM}
"""


@dataclass(slots=True)
class PrivateJournal:
    """Runs from `with` to its end."""

    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", LAUNCHER], stdin=subprocess.DEVNULL
        )
        socket = Path(f"/proc/{self._process.pid}/root/run/systemd/journal/socket")
        end = time.monotonic() + START_S
        while not socket.exists():
            assert self._process.poll() is None and time.monotonic() < end, "journald does not start"
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with whose process is to see this journald."""
        return ("nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "--")

    @property
    def environment(self) -> dict[str, str]:
        """By what a service knows that systemd started it, its output going to the journal."""
        return {"JOURNAL_STREAM": "8:1", "INVOCATION_ID": "0" * 32}

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """What `journalctl MATCHES` finds, oldest first."""
        self._journalctl("--sync")
        return [json.loads(line) for line in self._journalctl("--output=json", "--all", *matches).splitlines()]

    def explained(self, *matches: str) -> str:
        """What `journalctl -x MATCHES` says, with nothing but our own catalogue."""
        return self._journalctl("--catalog", "--no-hostname", *matches)

    def add_catalogue(self, file: Path) -> None:
        """Puts a catalogue where the namespace's journalctl looks for one."""
        script = (
            "mount -t tmpfs tmpfs /var/lib/systemd/catalog && mount -t tmpfs tmpfs /usr/lib/systemd/catalog"
            f" && cp {file} /usr/lib/systemd/catalog/ && journalctl --update-catalog"
        )
        subprocess.run([*self.inside, "sh", "-c", script], check=True, timeout=60)

    def _journalctl(self, *arguments: str) -> str:
        command = [*self.inside, "journalctl", "--quiet", "--no-pager", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def missing() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "a private journald needs root, for its namespace"
    if not Path(PROGRAM).exists() or shutil.which("journalctl") is None:
        return "no systemd-journald on this machine"
    return ""
