"""`make demo KEEP=1`: everything stays up, and a line typed here taps, pulls, leaks or looks inside."""

import subprocess
import sys
from collections.abc import Callable

from kioskd.demo.roles import StageFailed
from kioskd.demo.screen import Screen
from kioskd.demo.stage import Stage
from kioskd.gp.apdu import INS
from kioskd.virtual.card import Tear, VirtualCard

HELP = """
Everything runs on. Type a word:
  tap        tap the card at the kiosk
  leak       the KMS releases the next generation; then tap
  pull       leak, tap, and pull the card out right after PUT KEY; then tap again
  card       what the card holds
  status     what the kiosk says of itself (kioskctl status)
  log        the end of the kiosk's log
  audit      what the custodians approved, checked offline
  quit       end everything (so does Ctrl-D)
"""


def keep_running(stage: Stage, screen: Screen, card: VirtualCard) -> None:
    """Obeys one word a line until quit or the end of input."""
    screen.line(HELP)
    screen.line(f"All files are in {stage.folder}; from another shell:")
    screen.line(f"  {sys.executable} -m kioskd.kiosk.kioskctl --config {stage.folder}/kiosk.yaml status")
    Keeper(stage, screen, card).obey()


class Keeper:
    """The kept installation and its one card."""

    def __init__(self, stage: Stage, screen: Screen, card: VirtualCard) -> None:
        self._stage, self._screen, self._card = stage, screen, card
        self._hand = stage.holder(card, "kiosk")
        self._generation = 2

    def obey(self) -> None:
        """Reads words until the input ends."""
        words: dict[str, Callable[[], None]] = {
            "tap": self._tap,
            "leak": self._leak,
            "pull": self._pull,
            "card": lambda: self._screen.slots(self._card.kvns),
            "status": self._status,
            "audit": self._audit,
            "log": lambda: self._screen.line(self._stage.roles.log("kiosk").read_text()[-1500:]),
        }
        for line in sys.stdin:
            word = line.strip().lower()
            if word in ("quit", "exit"):
                return
            try:
                words.get(word, lambda word=word: self._no_word(word))()
            except StageFailed as wrong:  # the house stands: somebody may have drained the kiosk from another shell
                self._screen.line(f"{wrong}\nNext: status")

    def _no_word(self, word: str) -> None:
        self._screen.line(f"There is no word {word[:40]!r} here.{HELP}" if word else HELP)

    def _tap(self) -> None:
        tap = self._stage.tap(self._hand, "kiosk")
        self._screen.outcome(tap)
        self._screen.slots(self._card.kvns)

    def _leak(self) -> None:
        self._generation += 1
        self._stage.kms("generate")
        self._screen.quote(self._stage.release("replace", self._generation))

    def _pull(self) -> None:
        self._leak()
        self._card.tear(Tear.AFTER, INS.PUT_KEY)
        try:
            self._tap()
        finally:
            self._card.stay()  # a tap that never came to PUT KEY has not pulled it

    def _audit(self) -> None:
        folder = self._stage.folder
        words = (f"{folder}/kms.transcript", "--kms-key", f"{folder}/kms.pem")
        self._screen.line(self._stage.roles.run("audit", "verify", *words))

    def _status(self) -> None:
        command = [
            sys.executable,
            "-m",
            "kioskd.kiosk.kioskctl",
            "--config",
            str(self._stage.folder / "kiosk.yaml"),
            "status",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self._screen.line(done.stdout or done.stderr)
