"""What a terminal knows, at its start, of cards that it was writing to when it died."""

import contextlib

from kioskd.errors import JournalFailed
from kioskd.ports import Journal
from kioskd.rekey.wire import End
from kioskd.terminal.tap import TapRecord


async def cards_begun(journal: Journal) -> list[TapRecord]:
    """A record for each note that nothing followed: the taps themselves were not kept.

    They are named by their script, as the card's case has it, and stand among the taps until newer ones push them out.
    """
    with contextlib.suppress(JournalFailed):  # the status says so
        reports = await journal.pending()
        return [
            TapRecord(f"script-{one.report.number}", "", card=one.card, outcome="kiosk-died")
            for one in reports
            if one.report.end is End.IN_DOUBT
        ]
    return []
