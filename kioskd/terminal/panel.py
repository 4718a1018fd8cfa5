"""What the cardholder sees: for now, lines on the terminal."""

import sys
from typing import TextIO

from kioskd.outcomes import outcome

WELCOME = "Please insert your card."
LEAVE_IT = "Please leave your card in."


class LinePanel:
    """Prints one line for each change; never the same one twice in a row."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._last = ""

    def show(self, name: str) -> None:
        """An outcome of the catalogue, by name."""
        one = outcome(name)
        self._print(f"{one.cardholder}  [{one.code}]")

    def say(self, words: str) -> None:
        """Passing words."""
        self._print(words)

    def _print(self, line: str) -> None:
        if line != self._last:
            print(f"screen: {line}", file=self._out, flush=True)
            self._last = line
