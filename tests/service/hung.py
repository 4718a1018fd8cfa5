"""`python hung.py PART ROLE ...` is `kioskd ROLE ...`, but that part of it hangs when it is sent SIGUSR1."""

import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator
from types import ModuleType
from typing import Any

import kioskd.access.serve
import kioskd.access.vaults
import kioskd.kms.serve
import kioskd.terminal.run
from kioskd.__main__ import main
from kioskd.access.office import Office
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.pcsc import PcscReaders
from kioskd.edges.store import SqlStore
from kioskd.kms.serve import Reception
from kioskd.ports import ReaderEvent
from kioskd.virtual.vault import SoftVault

HANG_S = 600.0
stuck = threading.Event()


class HungReaders(PcscReaders):
    """Its thread never comes as far as its next sign of life."""

    _sign = 0.0

    @property
    def _last_sign(self) -> float:
        return self._sign

    @_last_sign.setter
    def _last_sign(self, now: float) -> None:
        if stuck.is_set():
            time.sleep(HANG_S)
        self._sign = now


class DeafReaders(PcscReaders):
    """Its events end, as if whoever listens had failed."""

    async def events(self) -> AsyncGenerator[ReaderEvent, None]:
        """The events, up to now."""
        async for event in super().events():
            yield event
            if stuck.is_set():
                return


class WorkedVault(SoftVault):
    """A vault that is called in the worker, as a token is."""

    @property
    def instant(self) -> bool:
        """No."""
        return False


def put(module: ModuleType, **classes: Any) -> None:
    """Has the module use these instead of its own."""
    for name, kind in classes.items():
        setattr(module, name, kind)


def hang(part: str) -> None:
    """Prepares the part to hang at SIGUSR1."""
    made: list[Any] = []

    def kept(kind: Any) -> Any:
        def make(*args: Any, **named: Any) -> Any:
            made.append(kind(*args, **named))
            return made[-1]

        return make

    def strike(*_: object) -> None:
        stuck.set()
        if part == "loop":
            time.sleep(HANG_S)
        for one in made:
            (one.worker if hasattr(one, "worker") else one._worker).submit(time.sleep, HANG_S)

    match part:
        case "readers":
            put(kioskd.terminal.run, PcscReaders=HungReaders)
        case "events":
            put(kioskd.terminal.run, PcscReaders=DeafReaders)
        case "journal":
            put(kioskd.terminal.run, SqliteJournal=kept(SqliteJournal))
        case "store":
            put(kioskd.access.serve, SqlStore=kept(SqlStore))
        case "vault":
            put(kioskd.access.serve, Office=kept(Office))
            put(kioskd.access.vaults, SoftVault=WorkedVault)
            put(kioskd.kms.serve, Reception=kept(Reception))
    signal.signal(signal.SIGUSR1, strike)


if __name__ == "__main__":
    hang(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
