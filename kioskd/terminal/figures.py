"""A terminal's status as figures over time, for Prometheus."""

from typing import TYPE_CHECKING

from kioskd.terminal.answers import State, StatusAnswer
from kioskd.terminal.status import SECONDS, Status

if TYPE_CHECKING:
    from kioskd.edges.metrics import Figures


def figures_of(told: StatusAnswer, status: Status) -> "Figures":
    """The figures of this moment; what is not known is left out."""
    from kioskd.edges.metrics import Figures, Histogram  # who never asks does not pay for its library

    journal, certificate, clock = told.journal, told.certificate, told.clock
    sync = None if clock.synchronised is None else float(clock.synchronised)
    expires = None if certificate is None else certificate.not_after
    gauges: dict[str, tuple[float | None, str]] = {
        "up_seconds": (told.uptime_s, "How long this process has run."),
        "ready": (float(told.state in (State.READY, State.BUSY)), "1 if a card can be served now."),
        "link_up": (float(told.link.connected), "1 if the access server has welcomed this terminal."),
        "readers": (float(len(told.readers)), "Readers that are connected."),
        "drained": (float(status.drained), "1 if a technician has stopped it from taking cards."),
        "taps_under_way": (float(told.under_way), "Cards that are being worked on."),
        "reports_waiting": (_number(told.pending_reports), "Reports that the access server has not acknowledged."),
        "cases_open": (_number(told.open_cases), "Cards whose reports wait."),
        "journal_bytes": (_number(None if journal is None else journal.bytes), "The journal's size on disk."),
        "disk_free_bytes": (_number(None if journal is None else journal.free_bytes), "The room beside the journal."),
        "certificate_expires_seconds": (expires, "When its certificate ends, Unix time."),
        "clock_synchronised": (sync, "1 if a time service steers the clock."),
        "clock_server_ahead_seconds": (clock.server_ahead_s, "How far the access server's clock is ahead."),
    }
    counters = {"link_losses": (float(told.link_losses), "How often a link that stood went away.")}
    about = {"name": told.name, "role": told.role, "version": told.versions["kioskd"]}
    histogram = Histogram(SECONDS, tuple(status.slower), status.seconds)
    return Figures(gauges, counters, told.outcomes, histogram, about)


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)
