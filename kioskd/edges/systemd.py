"""What systemd is told, and where the log goes, by systemd-python; without systemd all of it does nothing."""

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

from systemd.daemon import listen_fds
from systemd.daemon import notify as sd_notify
from systemd.journal import JournalHandler

from kioskd.errors import BadConfiguration

_LINE = "%(asctime)s %(levelname)s %(message)s"


def notify(state: str) -> None:
    """One or more lines for the service manager, such as READY=1."""
    sd_notify(state)


def handed_socket() -> socket.socket | None:
    """The socket that systemd listens on for this service (socket activation); None if it hands none over."""
    handed = listen_fds(unset_environment=True)
    return socket.socket(fileno=handed[0]) if handed else None


async def watchdog() -> None:
    """Tells the service manager that the loop turns, at half the time it allows; returns at once if it does not ask."""
    interval_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    while interval_s:
        sd_notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def set_up_log(identifier: str) -> None:
    """The journal if systemd started this, standard error otherwise."""
    if "JOURNAL_STREAM" in os.environ and "INVOCATION_ID" in os.environ:
        handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER=identifier)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(_LINE, "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_to_file(path: Path) -> None:
    """Appends the log to a file: a full-screen view leaves no room for it. `BadConfiguration` if it cannot."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as wrong:
        raise BadConfiguration(f"{path}: the log cannot be written: {wrong.strerror}") from wrong
    handler.setFormatter(logging.Formatter(_LINE))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
