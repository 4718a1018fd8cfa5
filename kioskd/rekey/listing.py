"""Which security domains of others a card holds, for the operators: read in a session of its own, after the closing.

Nothing is decided by it, and a card that refuses or garbles it is finished all the same. The script is wrapped before
anything is known of the answers: it has as many GET STATUS as are ever read, and ends at the first without 6310.
"""

from kioskd.errors import Malformed, TapEnds
from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.isd import InitializeUpdateAnswer
from kioskd.gp.registry import SecurityDomain, get_status, read_domains
from kioskd.gp.scp03 import R_MAC
from kioskd.rekey.asks import Conversation, OpenChannel, Recall, Remember, Send, UnwrapResponses, WrapCommands
from kioskd.rekey.notices import Listed, ListEnd
from kioskd.rekey.records import fold
from kioskd.rekey.script import GREET_DEADLINE_MS, Desk, greet, verify
from kioskd.rekey.wire import Report, Script, Step

PAGES = 4
"""Answers that are read of one card."""
MAX_DOMAINS = 32

_OPENED = (int(SW.OK),)
_MORE = (int(SW.MORE_DATA),)
_ANY: tuple[int, ...] = ()


def list_domains(desk: Desk) -> Conversation[Listed]:
    """Two round trips under the proven master set; what was read, which is on record then."""
    state = fold((yield from Recall()))
    if state.closed is None or state.open:
        raise TapEnds("not-finished", "a card whose case is open is not asked for more")
    master = state.closed.master
    opened = yield from greet(desk, state, master.kvn)
    session = yield from verify(opened, (desk.subject.master_set(state, master, opened.answer),))
    level = desk.subject.profile.level_of(InitializeUpdateAnswer.parse(opened.answer).scp)
    channel = yield from OpenChannel(session.handle, opened.greeting.host_challenge, opened.answer, level)
    wrapped = yield from WrapCommands(channel, tuple(get_status(more=page > 0) for page in range(PAGES)))
    accepts = (_OPENED, *(_MORE for _ in range(PAGES - 1)), _ANY)
    steps = tuple(Step(one.encode(), accept) for one, accept in zip(wrapped.commands, accepts, strict=True))
    report = yield from Send(Script(0, str(desk.subject.card), opened.answer, GREET_DEADLINE_MS, steps))
    answers = _read(report)
    pages: tuple[ResponseAPDU | None, ...] = ()
    if answers:
        pages = yield from UnwrapResponses(wrapped.sealed, wrapped.marks[: len(answers)], answers)
    listed = listed_in(pages, authentic=bool(level & R_MAC))
    yield from Remember(listed)
    return listed


def _read(report: Report) -> tuple[ResponseAPDU, ...]:
    """The answers behind EXTERNAL AUTHENTICATE, as far as they are answers."""
    try:
        answers = tuple(ResponseAPDU.decode(raw) for raw in report.answers[: PAGES + 1])
    except Malformed as wrong:
        raise TapEnds("unreadable-card", str(wrong)) from wrong
    if not answers or not answers[0].ok:
        raise TapEnds("not-finished", "the session for GET STATUS did not open")
    return answers[1:]


def listed_in(pages: tuple[ResponseAPDU | None, ...], *, authentic: bool) -> Listed:
    """What the answers say, up to the first that cannot be believed or read; `authentic`: each has a right MAC."""
    found: list[SecurityDomain] = []
    for number, page in enumerate(pages):
        if page is None:
            return _ended(found, ListEnd.FORGED, authentic)
        if page.sw == SW.REFERENCED_DATA_NOT_FOUND and not number:
            return _ended(found, ListEnd.WHOLE, authentic=False)  # an error carries no MAC
        if page.sw not in (SW.OK, SW.MORE_DATA):
            return _ended(found, ListEnd.REFUSED, authentic, page.sw)
        try:
            found += read_domains(page.data)
        except Malformed:
            return _ended(found, ListEnd.UNREADABLE, authentic)
        if page.sw == SW.OK:
            return _ended(found, ListEnd.WHOLE, authentic)
    return _ended(found, ListEnd.CUT, authentic)


def _ended(found: list[SecurityDomain], end: ListEnd, authentic: bool, sw: int = 0) -> Listed:
    if len(found) > MAX_DOMAINS:
        end = ListEnd.CUT
    return Listed(tuple(found[:MAX_DOMAINS]), end, authentic, sw)
