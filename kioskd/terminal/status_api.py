"""The verbs of the status socket: what may be read there, and what a technician may do. Every route is in one table.

What is asked for once in months is loaded when it is asked for: a terminal that starts is sooner ready for a card.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kioskd.config import TerminalConfig
from kioskd.edges.status_http import Asked, Content, NotHere, Route, Stream
from kioskd.errors import JournalFailed
from kioskd.outcomes import outcome
from kioskd.rekey.wire import CardReport
from kioskd.terminal.answers import (
    CaseAnswer,
    CasesAnswer,
    DoneAnswer,
    HealthAnswer,
    ReportAnswer,
    SelfTestAnswer,
    State,
    StatusAnswer,
    TapsAnswer,
)
from kioskd.terminal.events import Kind
from kioskd.terminal.figures import figures_of
from kioskd.terminal.status import Status, shortened
from kioskd.terminal.tap import Terminal

BUNDLE_TYPE = "application/gzip"
EVENTS_TYPE = "text/event-stream"
METRICS_TYPE = "text/plain"


@dataclass(slots=True)
class StatusApi:
    """What the socket of one terminal answers; `refresh` brings the cardholder's screen up to date after an act."""

    config: TerminalConfig
    terminal: Terminal
    status: Status
    refresh: Callable[[], Any]
    _document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        uplink = self.terminal.uplink
        uplink.listeners.append(
            lambda: self.status.events.tell(
                Kind.LINK, self.status.name, "connected" if uplink.connected else uplink.problem
            )
        )

    @property
    def routes(self) -> tuple[Route, ...]:
        """The table; a path or method that is not in it is not served."""
        return (
            Route("GET", "/status", "How the terminal is", StatusAnswer, self._status),
            Route("GET", "/health", "Whether it can serve", HealthAnswer, self._health, well=lambda told: told.well),
            Route("GET", "/metrics", "The figures for Prometheus", METRICS_TYPE, self._metrics),
            Route("GET", "/events", "What happens, as it happens", EVENTS_TYPE, self._events),
            Route("GET", "/taps", "The last taps", TapsAnswer, self._taps),
            Route("GET", "/cases", "The cards whose reports wait here", CasesAnswer, self._cases),
            Route("GET", "/case/{card}", "One card, by a tap or the end of its id", CaseAnswer, self._case),
            Route("GET", "/openapi.json", "This document", dict[str, Any], self._openapi),
            Route("POST", "/selftest", "Tries every part", SelfTestAnswer, self._selftest, acts=True),
            Route("POST", "/link/retry", "Tries the access server at once", DoneAnswer, self._retry, acts=True),
            Route("POST", "/readers/{name}/close", "A reader takes no card", DoneAnswer, self._close, acts=True),
            Route("POST", "/readers/{name}/open", "It takes cards again", DoneAnswer, self._open, acts=True),
            Route("POST", "/drain", "Finishes the cards in hand, takes no other", DoneAnswer, self._drain, acts=True),
            Route("POST", "/undrain", "Takes cards again", DoneAnswer, self._undrain, acts=True),
            Route(
                "POST", "/support-bundle", "What support needs, without secrets", BUNDLE_TYPE, self._bundle, acts=True
            ),
        )

    async def _status(self, _: Asked) -> StatusAnswer:
        return await self.status.answer(self.terminal)

    async def _health(self, _: Asked) -> HealthAnswer:
        told = await self.status.answer(self.terminal)
        problems = tuple(_problems(told))
        return HealthAnswer(not problems, told.state, problems)

    async def _metrics(self, _: Asked) -> Content:
        from kioskd.edges.metrics import CONTENT_TYPE, exposed  # who never asks does not pay for its library

        return Content(exposed(figures_of(await self.status.answer(self.terminal), self.status)), CONTENT_TYPE)

    async def _events(self, _: Asked) -> Stream:
        return Stream(self.status.events.listen)

    async def _taps(self, _: Asked) -> TapsAnswer:
        return TapsAnswer(self.status.told_taps())

    async def _openapi(self, _: Asked) -> dict[str, Any]:
        from kioskd.terminal.openapi import document

        self._document = self._document or document(self.routes)
        return self._document

    async def _cases(self, _: Asked) -> CasesAnswer:
        reports = await self.terminal.journal.pending()
        return CasesAnswer(tuple([await self._story(card, reports) for card in dict.fromkeys(r.card for r in reports)]))

    async def _case(self, asked: Asked) -> CaseAnswer:
        which = asked.names["card"].rpartition("…")[2].casefold()
        reports = await self.terminal.journal.pending()
        taps = [*self.status.taps, *self.status.running.values()]
        named = {tap.card for tap in taps if tap.card and tap.tap == which}
        known = {one.card for one in reports} | {tap.card for tap in taps if tap.card}
        found = named or {card for card in known if which and card.casefold().endswith(which)}
        if len(found) != 1:
            many = "No card" if not found else f"{len(found)} cards"
            raise NotHere(f"{many} here with an id that ends in {which[:40]!r}, or a tap of that name.")
        return await self._story(found.pop(), reports)

    async def _story(self, card: str, reports: tuple[CardReport, ...]) -> CaseAnswer:
        mine = tuple(
            ReportAnswer(one.report.number, one.report.digest.hex()[:16], one.report.end.value, len(one.report.answers))
            for one in reports
            if one.card == card
        )
        taps = {tap.tap for tap in self.status.taps if tap.card == card}
        told = tuple(tap for tap in self.status.told_taps() if tap.tap in taps)
        figures = await self.terminal.journal.figures(card)
        return CaseAnswer(shortened(card), bool(mine), mine, told, figures.cryptograms)

    async def _selftest(self, _: Asked) -> SelfTestAnswer:
        return await self._test()

    async def _retry(self, _: Asked) -> DoneAnswer:
        self.terminal.uplink.hurry()
        return self._done("link retried")

    async def _close(self, asked: Asked) -> DoneAnswer:
        self.status.closed.add(self._reader(asked))
        return self._done(f"reader closed: {asked.names['name']}")

    async def _open(self, asked: Asked) -> DoneAnswer:
        self.status.closed.discard(self._reader(asked))
        return self._done(f"reader opened: {asked.names['name']}")

    async def _drain(self, _: Asked) -> DoneAnswer:
        self.status.drained = True
        return self._done("drained")

    async def _undrain(self, _: Asked) -> DoneAnswer:
        self.status.drained = False
        return self._done("undrained")

    async def _bundle(self, _: Asked) -> Content:
        from kioskd.terminal.bundle import bundle

        told = await self.status.answer(self.terminal)
        return Content(bundle(self.config, told, await self._test()), BUNDLE_TYPE)

    async def _test(self) -> SelfTestAnswer:
        from kioskd.terminal.selftest import SelfTest

        uplink = self.terminal.uplink
        return await SelfTest(self.config, uplink.connected, uplink.server_ahead_s).run()

    def _reader(self, asked: Asked) -> str:
        name = asked.names["name"]
        if name not in self.status.readers and name not in self.status.closed:
            raise NotHere(f"There is no reader {name[:80]!r} here.")
        return name

    def _done(self, what: str) -> DoneAnswer:
        self.status.events.tell(Kind.SERVICE, self.status.name, what)
        self.refresh()
        return DoneAnswer(what, self.status.under_way)


def _problems(told: StatusAnswer) -> list[str]:
    """The outcomes that stand between this terminal and the next cardholder."""
    found = []
    if told.pending_reports is None:
        found.append(JournalFailed.outcome)
    if told.pcscd != "up":
        found.append("pcscd-down")
    elif not told.readers:
        found.append("no-reader")
    if told.state is State.DRAINED:
        found.append("drained")
    if not told.link.connected:
        found.append(told.link.problem)
    return [outcome(name).name for name in found]
