"""The station as it is, which dies at the worst moment: the server has closed a card's case, and nobody wrote it down.

`python -m tests.station.forgetful N --config CONFIG ...` dies as by a power cut when it hears of its Nth issued card.
"""

import os
import signal
import sys

from kioskd.station.batch import Batch
from kioskd.station.cli import main
from kioskd.terminal.tap import TapRecord


def die_at(number: int) -> None:
    """Kills this process instead of noting that a card is issued."""
    ends, heard = Batch.ends, []

    async def forgets(batch: Batch, tap: TapRecord) -> bool:
        heard.append(tap.outcome)
        if heard.count("issued") == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return await ends(batch, tap)

    Batch.ends = forgets  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    die_at(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
