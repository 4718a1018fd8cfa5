"""Records a card's commands into a file, redacted, as they happen."""

import contextlib
import logging
import time
from pathlib import Path

from kioskd.errors import BadConfiguration
from kioskd.ports import Card, CardReaders
from kioskd.rekey.trace import traced

log = logging.getLogger(__name__)


class RecordingReaders:
    """Readers whose cards are recorded."""

    def __init__(self, readers: CardReaders, path: Path) -> None:
        self._readers = readers
        self._path = path

    async def connect(self, reader: str) -> Card:
        """A recorded connection, or one without a record where that cannot be begun: no card is turned away for it."""
        card = await self._readers.connect(reader)
        try:
            return RecordedCard(card, self._path)
        except BadConfiguration as wrong:
            log.warning("%s", wrong)
            return card


class RecordedCard:
    """A `Card` whose commands are written down: headers, lengths, status words and times, never data."""

    def __init__(self, card: Card, path: Path) -> None:
        self._card = card
        self._path = path
        self._failed = False
        try:
            self._file = path.open("a", encoding="ascii", buffering=1)
        except OSError as wrong:
            raise BadConfiguration(f"{path}: the trace cannot be written: {wrong.strerror}") from wrong

    @property
    def atr(self) -> bytes:
        """The card's answer to reset."""
        return self._card.atr

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer."""
        began = time.perf_counter()
        answer = await self._card.transmit(command)
        line = traced(command, answer, round(1000 * (time.perf_counter() - began), 3)).encode()
        self._write(line)
        return answer

    async def close(self) -> None:
        """Ends the connection and the record."""
        await self._card.close()
        with contextlib.suppress(OSError):  # what could not be written was said
            self._file.close()

    def _write(self, line: str) -> None:
        """One line. A full disk must not turn back a card that is begun: the rest goes unrecorded."""
        if self._failed:
            return
        try:
            print(line, file=self._file)
        except OSError as wrong:
            self._failed = True
            log.warning("%s: the trace ends here: %s", self._path, wrong.strerror)
