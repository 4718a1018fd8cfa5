"""The demo's words and pictures on a terminal."""

import sys
from collections.abc import Iterable
from typing import Any

from kioskd.outcome import Severity
from kioskd.outcomes import outcome

_BAR = 34
_BOLD, _DIM, _GREEN, _RED, _YELLOW, _PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[33m", "\033[0m"


class Screen:
    """Prints chapters, steps and tables; in colours where there is a terminal."""

    def __init__(self, chapters: int) -> None:
        self._chapters = chapters
        self._chapter = 0
        self._colours = sys.stdout.isatty()

    def chapter(self, words: str) -> None:
        """The next part of the story."""
        self._chapter += 1
        self.line()
        self.line(self._in(_BOLD, f"{self._chapter}/{self._chapters}  {words}"))

    def step(self, words: str) -> None:
        """Something that went well."""
        self.line(f"     {self._in(_GREEN, '+')} {words}")

    def quote(self, words: str) -> None:
        """What a command printed."""
        for one in words.strip().splitlines():
            self.step(one)

    def alarm(self, words: str) -> None:
        """Bad news."""
        self.line(f"     {self._in(_RED, '!')} {words}")

    def outcome(self, tap: dict[str, Any]) -> None:
        """How a tap ended, in the cardholder's words and the technician's."""
        one = outcome(tap["outcome"])
        colour = _GREEN if one.severity is Severity.GOOD else _YELLOW
        self.line(f"       screen      {self._in(colour, one.cardholder)}")
        self.line(f"       technician  {one.code}: {one.technician} ({tap['ms']:.0f} ms)")

    def slots(self, kvns: Iterable[int]) -> None:
        """The card's key sets as boxes."""
        boxes = "   ".join(f"[ {kvn:02X} {_slot_name(kvn)} ]" for kvn in sorted(kvns))
        self.line(f"       the card now holds   {self._in(_BOLD, boxes)}")

    def timeline(self, tap: dict[str, Any]) -> None:
        """Each command to the card, each round trip and each durable note, with its milliseconds."""
        moments = tap["moments"]
        longest = max(moment["ms"] for moment in moments)
        self.line()
        self.line(self._in(_DIM, "       the tap, moment by moment                             ms"))
        for moment in moments:
            bar = "#" * max(1, round(_BAR * moment["ms"] / longest))
            mark = {"round": ">", "journ": "="}.get(moment["what"][:5], " ")
            self.line(f"     {mark} {moment['what']:<44} {moment['ms']:>9.2f}  {self._in(_DIM, bar)}")
        trips = sum(moment["what"] == "round trip" for moment in moments)
        commands = sum(moment["what"][:5] not in ("round", "journ", "conne") for moment in moments)
        self.line(f"       {commands} commands, {trips - 1} round trips before the card is done, 1 to report")

    def proof(self, name: str, opens: tuple[int, ...], *, good: bool) -> None:
        """What one key set opens."""
        found = "opens " + ", ".join(f"slot {kvn:02X}" for kvn in opens) if opens else "opens nothing"
        mark = self._in(_GREEN, "+") if good else self._in(_RED, "!")
        self.line(f"     {mark} the {name:<32} {found}")

    def verdict(self, holds: bool) -> None:
        """The last word."""
        self.line()
        if holds:
            self.line(
                self._in(_BOLD + _GREEN, "PROVEN: the leaked key opens nothing, the new one opens, the KRK opens.")
            )
        else:
            self.line(self._in(_BOLD + _RED, "NOT PROVEN: see above."))

    def line(self, text: str = "") -> None:
        """One line."""
        print(text, flush=True)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text


def _slot_name(kvn: int) -> str:
    if kvn == 0xFF:
        return "factory"
    return "KRK" if kvn in (0x3E, 0x3F) else "master"
