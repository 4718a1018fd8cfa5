"""The server's way to the terminal, and how work that never waits is run."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kioskd.errors import LinkLost
from kioskd.rekey.relay import CardSession
from kioskd.rekey.wire import CardReport, End, Report, Script

if TYPE_CHECKING:
    from tests.faults.joined import TapRun


class Dies(BaseException):
    """Somebody's process ends here; nothing may catch it and go on."""


@dataclass(slots=True)
class Line:
    """The server's way to the terminal."""

    run_: "TapRun"
    session: CardSession = field(default_factory=CardSession)

    async def run(self, script: Script, fence: int) -> Report:
        """Sends a script; its report, as the terminal tells it."""
        tap = self.run_
        fault = tap.at("script")
        tap.look()
        tap.late = tap.late or fault == "late"
        try:
            report, self.session = tap.relay(script, self.session)
            if fault == "doubled" and not tap.kiosk_dead:
                again, self.session = tap.relay(script, self.session)
                if script.number and again.end is not End.REFUSED:
                    tap.wrong.append("a script ran twice")
        except Dies:
            tap.after_script()
            raise LinkLost("the terminal died") from None
        fault = tap.at("report")
        tap.after_script()
        tap.look()
        if fault == "withheld":
            raise LinkLost("no report came")
        if fault == "doubled":
            tap.settle(CardReport(script.card, report))
        return report

    async def acknowledge(self, number: int, digest: bytes) -> None:
        """Tells the terminal that a report is durable here."""
        self.run_.forget(number, digest)


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")
