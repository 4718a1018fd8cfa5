"""What systemd is told, and where the log goes, by systemd-python; without systemd all of it does nothing."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from systemd.daemon import listen_fds
from systemd.daemon import notify as sd_notify
from systemd.journal import JournalHandler
from systemd.journal import send as send_entry

from kioskd.errors import BadConfiguration
from kioskd.log_fields import FIELDS, MessageId, entry, told, without_card_ids

log = logging.getLogger(__name__)

_LINE = "%(asctime)s %(levelname)s %(message)s"
_SENT = ("PRIORITY", "LOGGER", "CODE_FILE", "CODE_LINE", "CODE_FUNC", "SYSLOG_IDENTIFIER", "MESSAGE_ID", *FIELDS)
_TOLD_S = 0.2  # between two STATUS texts: under load they would cost more than the work that they tell of

Alive = Callable[[], Awaitable[bool]]
"""Asks one part of the daemon whether it works; an answer that does not come is a no."""


def notify(state: str) -> None:
    """One or more lines for the service manager, such as READY=1."""
    sd_notify(state)


def handed_socket() -> socket.socket | None:
    """The socket that systemd listens on for this service (socket activation); None if it hands none over."""
    handed = listen_fds(unset_environment=True)
    return socket.socket(fileno=handed[0]) if handed else None


def watchdog_s() -> float:
    """How long the service manager waits for a sign of life, in seconds; 0 if it does not ask for one."""
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000


class Standing:
    """A daemon's one line in `systemctl status`, told when its words have changed. Make it inside the running loop."""

    def __init__(self, words: Callable[[], str]) -> None:
        self.trouble = ""  # said instead, while there is any
        self._words = words
        self._told, self._next_s = "", 0.0
        self._waiting = False
        self._loop = asyncio.get_running_loop()

    def changed(self) -> None:
        """Something may have: at once, or a moment after the last time."""
        if self._waiting:
            return
        pause_s = self._next_s - self._loop.time()
        if pause_s > 0:
            self._waiting = True
            self._loop.call_later(pause_s, self._tell)
        else:
            self._tell()

    def _tell(self) -> None:
        self._waiting = False
        words = self.trouble or self._words()
        if words != self._told:
            self._told, self._next_s = words, self._loop.time() + _TOLD_S
            sd_notify(f"STATUS={words}")


async def watchdog(parts: Mapping[str, Alive], standing: Standing) -> None:
    """Feeds the watchdog three times in its time, while every part answers; returns at once if nobody asks.

    A part that does not answer is named in log and status; it is fed again when all of them answer.
    """
    interval_s, loop = watchdog_s() / 3, asyncio.get_running_loop()
    while interval_s:
        began = loop.time()
        silent = await _silent(parts, interval_s)
        words = f"no answer from {', '.join(silent)}; the watchdog is not fed" if silent else ""
        if silent and not standing.trouble:
            log.error("%s", words, extra=entry(MessageId.NOT_FED))
        elif not silent:
            sd_notify("WATCHDOG=1")
        standing.trouble = words
        standing.changed()
        await asyncio.sleep(max(0.0, began + interval_s - loop.time()))


async def _silent(parts: Mapping[str, Alive], patience_s: float) -> list[str]:
    """The parts that do not answer, or say no, in that time."""

    async def answers(ask: Alive) -> bool:
        try:
            async with asyncio.timeout(patience_s):
                return await ask()
        except TimeoutError:
            return False

    found = await asyncio.gather(*(answers(ask) for ask in parts.values()))
    return [name for name, well in zip(parts, found, strict=True) if not well]


class _Discreet(logging.Formatter):
    """Lets no whole card id out."""

    def format(self, record: logging.LogRecord) -> str:
        """The entry's text, its traceback included."""
        return without_card_ids(super().format(record))


def _with_fields(record: logging.LogRecord) -> bool:
    """Gives an entry what its task is about, where it does not say so itself."""
    record.__dict__.update({name: value for name, value in told().items() if name not in record.__dict__})
    return True


def _send(words: str, /, **given: Any) -> None:
    """One entry for the journal: the fields that are named here, and no arguments of calls, which may hold anything."""
    send_entry(words, **{name: given[name] for name in _SENT if given.get(name, "") != ""})


def set_up_log(identifier: str) -> None:
    """The journal if systemd started this, standard error otherwise."""
    if "JOURNAL_STREAM" in os.environ and "INVOCATION_ID" in os.environ:
        handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER=identifier, sender_function=_send)
        handler.setFormatter(_Discreet("%(message)s"))
        handler.addFilter(_with_fields)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Discreet(_LINE, "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def log_to_file(path: Path) -> None:
    """Appends the log to a file: a full-screen view leaves no room for it. `BadConfiguration` if it cannot."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as wrong:
        raise BadConfiguration(f"{path}: the log cannot be written: {wrong.strerror}") from wrong
    handler.setFormatter(_Discreet(_LINE))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
