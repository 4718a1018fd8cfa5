"""One tap at the terminal, against a real door, a real journal and a virtual card: it ends in one true outcome."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kioskd.edges.journal import SqliteJournal
from kioskd.errors import JournalFailed, KioskError, LinkLost, PcscdDown, ReaderHung
from kioskd.gp.apdu import INS
from kioskd.outcomes import CATALOGUE
from kioskd.rekey.wire import Ack, End, Refuse, ReportMessage, ScriptMessage, Tap, Verdict
from kioskd.terminal.panel import LEAVE_IT, LinePanel
from kioskd.terminal.tap import TapRun, Terminal
from kioskd.terminal.uplink import Uplink
from kioskd.virtual.card import Tear
from kioskd.virtual.faults import Faults
from tests.kiosk.table import (
    FORBIDDEN,
    PLAIN,
    POLICY,
    READER,
    STOPS,
    Table,
    change,
    changing,
    conclude,
    greeting,
    send,
    tap_of,
)
from tests.loopback import Conversation, Door, House, becomes, build_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return build_house(tmp_path_factory.mktemp("house"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kioskd.terminal.uplink.RETRY_S", (0.02, 0.1))


@pytest.fixture
async def table(house: House, tmp_path: Path) -> AsyncIterator[Table]:
    journal = SqliteJournal(tmp_path / "journal")
    yield Table(house, journal)
    await journal.close()


async def test_a_tap_runs_what_the_server_sends_and_ends_with_its_verdict(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(conversation: Conversation) -> None:
        report = await change(conversation)
        await conversation.say(lambda head: Ack(head, report.number, report.digest), tap_of(conversation))
        await conclude(conversation, "done")

    assert await table.tap(serve) == "done"
    tap = table.door.conversations[0].heard[1]
    assert isinstance(tap, Tap) and tap.purpose == "replace" and [a[-2:].hex() for a in tap.answers] == ["9000"] * 4
    assert {message.head.tap for message in table.door.conversations[0].heard[1:]} == {table.run.record.tap}
    plain, changed = table.reports
    script = changing(plain.answers[0][:-2])
    assert (plain.number, plain.end, len(plain.answers)) == (0, End.COMPLETE, 1)
    assert (changed.number, changed.digest, changed.end) == (1, script.digest, End.COMPLETE)
    assert len(changed.answers) == 3
    assert await table.journal.pending() == ()
    assert capsys.readouterr().out == f"screen: {LEAVE_IT}\n"
    names = [moment.what[:13] for moment in table.run.record.moments]
    assert names.count("round trip") == 3
    assert names.index("journal: note") < names.index("DELETE 0000 6") < names.index("journal: answ")


async def test_a_log_has_one_line_a_hop_and_no_data(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def serve(conversation: Conversation) -> None:
        await send(conversation, PLAIN)
        await conclude(conversation, "done")

    await table.tap(serve)
    mine = [record.getMessage() for record in caplog.records if record.name == "kioskd.terminal.tap"]
    assert [line.split(":")[0] for line in mine] == [f"tap {table.run.record.tap}"] * len(mine)
    hops = [line.split(": ", 1)[1].split(" in ")[0] for line in mine]
    assert hops == [
        "connect",
        "SELECT 0400 9000",
        *(f"GET DATA {tag} 9000" for tag in ("9F7F", "0066", "00E0")),
        "round trip",
        "INITIALIZE UPDATE FF00 9000",
        "round trip",
        "done",
    ]
    assert table.card.options.cplc_data().hex().upper() not in caplog.text.upper()


@pytest.mark.parametrize("message", [Verdict, Refuse])
async def test_an_outcome_that_is_not_in_the_catalogue_is_a_bad_message(table: Table, message: Any) -> None:
    async def serve(conversation: Conversation) -> None:
        await conversation.say(lambda head: message(head, "splendid"), tap_of(conversation))

    assert await table.tap(serve) == "bad-message"


async def test_a_server_that_speaks_out_of_turn_is_a_bad_message(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await conversation.say(lambda head: Tap(head, "replace", ()), tap_of(conversation))

    assert await table.tap(serve) == "bad-message"


async def test_a_script_that_the_allow_list_forbids_is_reported_and_not_one_command_goes_out(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        assert (await send(conversation, FORBIDDEN)).report.end is End.REFUSED
        await conversation.say(lambda head: Refuse(head, "script-refused", "as it should"), tap_of(conversation))

    before = len(table.readers.faults.points)
    assert await table.tap(serve) == "script-refused"
    assert len(table.readers.faults.points) - before == 4, "the four that identify the card"


# --- the card is pulled -------------------------------------------------------------------------------------------


async def nothing(conversation: Conversation) -> None:
    """A server that is never asked."""


@pytest.mark.parametrize("when", list(Tear))
async def test_a_card_that_is_pulled_before_it_is_known_is_not_told_to_the_server(table: Table, when: Tear) -> None:
    table.card.tear(when, INS.GET_DATA, skip=1)
    assert await table.tap(nothing) == "card-pulled"
    assert [len(one.heard) for one in table.door.conversations] == [1]


async def test_a_card_that_is_lost_while_it_is_read_and_never_left_is_read_once_more(
    table: Table,
) -> None:
    table.readers.lose(1)
    table.same_card = lambda: True
    assert await table.tap(lambda conversation: conclude(conversation, "already-done")) == "already-done"
    assert table.readers.connections == 2


async def test_a_card_that_is_lost_twice_is_one_that_was_pulled(table: Table) -> None:
    table.readers.lose(1, 5)
    table.same_card = lambda: True
    assert await table.tap(nothing) == "card-pulled"
    assert table.readers.connections == 2


async def test_a_card_that_is_lost_after_it_is_begun_is_not_read_once_more(table: Table) -> None:
    table.same_card = lambda: True

    async def serve(conversation: Conversation) -> None:
        after = await greeting(conversation)
        table.card.tear(Tear.BEFORE, INS.DELETE)
        await send(conversation, changing(after))
        await conclude(conversation, "card-pulled-in-doubt")

    assert await table.tap(serve) == "card-pulled-in-doubt"
    assert table.readers.connections == 1


async def test_a_reader_without_a_card_is_a_card_that_was_pulled(table: Table) -> None:
    async with Door(table.house, nothing).open() as door:
        uplink = Uplink("k1", "test", door.connect, table.journal)
        run = TapRun(Terminal("replace", table.readers, uplink, table.journal, LinePanel(), POLICY), READER)
        assert await run.run() == "card-pulled"


@pytest.mark.parametrize("when", list(Tear))
async def test_a_card_that_is_pulled_at_a_change_is_told_to_the_server(table: Table, when: Tear) -> None:
    async def serve(conversation: Conversation) -> None:
        report = await change(conversation)
        assert (report.end, len(report.answers)) == (End.TORN, 1)
        await conclude(conversation, "card-pulled-in-doubt")

    table.card.tear(when, INS.DELETE)
    assert await table.tap(serve) == "card-pulled-in-doubt"
    assert [late.report.end for late in await table.journal.pending()] == [End.TORN]


# --- the link is lost ---------------------------------------------------------------------------------------------


async def break_link(conversation: Conversation) -> None:
    """What a cut cable does."""
    conversation.link._socket._req.transport.abort()  # type: ignore[union-attr]


async def test_without_a_server_a_tap_waits_a_short_time_and_says_why(table: Table) -> None:
    assert await table.tap_at(Door(table.house, nothing), patience_s=0.1) == "server-down"
    assert 100 <= table.run.record.ms < 2000


async def test_a_link_that_comes_in_time_is_waited_for(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await conversation.welcome()
        await conversation.hear()
        await conclude(conversation, "nothing-to-do")
        with contextlib.suppress(LinkLost):
            await conversation.hear()

    door = Door(table.house, serve)
    tap = asyncio.create_task(table.tap_at(door))
    await asyncio.sleep(0.1)
    async with door.open():
        assert await tap == "nothing-to-do"


async def test_a_link_that_is_lost_before_any_change_is_just_that(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await send(conversation, PLAIN)
        await break_link(conversation)

    assert await table.tap(serve) == "link-lost"


async def test_a_link_that_is_lost_after_the_script_leaves_a_card_that_is_ready(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await change(conversation)
        await break_link(conversation)

    assert await table.tap(serve) == "ready-unconfirmed"


async def test_a_link_that_is_lost_while_the_script_runs_leaves_a_card_that_is_ready_and_its_report_goes_up_later(
    table: Table,
) -> None:
    async def serve(conversation: Conversation) -> None:
        script = changing(await greeting(conversation))
        await conversation.say(lambda head: ScriptMessage(head, script), tap_of(conversation), "cplc-00")
        await break_link(conversation)

    assert await table.tap(serve) == "ready-unconfirmed"
    assert [late.report.end for late in await table.journal.pending()] == [End.COMPLETE]
    assert {report.end for report in table.reports} <= {End.COMPLETE}, "never in doubt while it ran"


async def test_a_link_that_is_lost_after_a_torn_script_leaves_a_card_in_doubt(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await change(conversation)
        await break_link(conversation)

    table.card.tear(Tear.AFTER, INS.DELETE)
    assert await table.tap(serve) == "card-pulled-in-doubt"


async def test_a_link_that_is_lost_after_a_script_that_stopped_leaves_a_card_that_is_not_finished(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        assert (await change(conversation, STOPS)).end is End.STOPPED
        await break_link(conversation)

    assert await table.tap(serve) == "not-finished"


async def test_at_the_station_one_script_is_not_the_whole_work(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await change(conversation)
        await break_link(conversation)

    table.purpose = "issue"
    assert await table.tap(serve) == "not-finished"


async def test_a_message_out_of_order_after_the_script_leaves_a_card_that_is_ready(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await change(conversation)
        await conversation.say(lambda head: Verdict(head, "done"), tap_of(conversation), skip=3)

    assert await table.tap(serve) == "ready-unconfirmed"


@pytest.mark.parametrize("outcome", [name for name, one in CATALOGUE.items() if "as it was before" in one.cardholder])
async def test_nobody_is_told_that_the_card_is_as_before_once_a_change_was_begun(table: Table, outcome: str) -> None:
    async def serve(conversation: Conversation) -> None:
        await change(conversation, STOPS)
        await conversation.say(lambda head: Refuse(head, outcome), tap_of(conversation))

    assert await table.tap(serve) == "not-finished"


@pytest.mark.parametrize("outcome", ["store-failed", "card-locked", "wrong-cryptogram", "kvn-taken"])
async def test_before_any_change_the_servers_word_stands(table: Table, outcome: str) -> None:
    async def serve(conversation: Conversation) -> None:
        await send(conversation, PLAIN)
        await conversation.say(lambda head: Refuse(head, outcome), tap_of(conversation))

    assert await table.tap(serve) == outcome


# --- the terminal's own parts fail --------------------------------------------------------------------------------


async def test_without_a_note_nothing_that_changes_the_card_goes_out(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        assert (await change(conversation)).end is End.REFUSED

    table.faulty = Faults(cut_at=0, error=lambda: JournalFailed("the disk is full"))
    assert await table.tap(serve) == "journal-failed"
    assert table.faulty.points == ["note_in_doubt"]
    assert len(table.readers.faults.points) == 4 + 2, "identify, INITIALIZE UPDATE and EXTERNAL AUTHENTICATE"


async def test_answers_that_cannot_be_kept_go_up_all_the_same(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        assert (await change(conversation)).end is End.COMPLETE
        await conclude(conversation, "done")

    table.faulty = Faults(cut_at=1, error=lambda: JournalFailed("the disk is full"))
    assert await table.tap(serve) == "done"
    assert table.faulty.points == ["note_in_doubt", "keep_report"]
    assert [late.report.end for late in await table.journal.pending()] == [End.IN_DOUBT]


@pytest.mark.parametrize("trouble", [PcscdDown, ReaderHung])
@pytest.mark.parametrize("at", [1, 6])
async def test_a_reader_that_fails_is_named_and_what_is_known_goes_up(
    table: Table, trouble: type[KioskError], at: int
) -> None:
    async def serve(conversation: Conversation) -> None:
        report = await change(conversation)
        assert (report.end, len(report.answers)) == (End.TORN, 1)
        await conclude(conversation, "card-pulled-in-doubt")

    table.readers.faults = Faults(cut_at=at, error=lambda: trouble("it is gone"))
    assert await table.tap(serve) == trouble.outcome
    assert len(table.reports) == (2 if at == 6 else 0)


async def test_what_nobody_foresaw_is_one_outcome_too(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    table.readers.faults = Faults(cut_at=2, error=lambda: ZeroDivisionError("nobody foresaw it"))
    assert await table.tap(nothing) == "internal"
    assert "nobody foresaw it" in caplog.text


async def test_what_nobody_foresaw_after_a_change_was_begun_is_a_card_that_is_not_finished(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(conversation: Conversation) -> None:
        script = changing(await greeting(conversation))
        await conversation.say(lambda head: ScriptMessage(head, script), tap_of(conversation), "cplc-00")

    table.readers.faults = Faults(cut_at=6, error=lambda: ZeroDivisionError("nobody foresaw it"))
    assert await table.tap(serve) == "not-finished"
    assert [late.report.end for late in await table.journal.pending()] == [End.IN_DOUBT]


async def test_a_card_is_powered_down_however_its_tap_ends(table: Table) -> None:
    async def serve(conversation: Conversation) -> None:
        await conclude(conversation, "nothing-to-do")

    for cut in (None, 0, 3):
        table.readers.faults = Faults(cut_at=cut, error=lambda: PcscdDown("gone"))
        await table.tap(serve)
        table.readers.inner.insert(READER, table.card)
        again = await table.readers.inner.connect(READER)  # refused while somebody else holds the card
        await again.close()
        table.readers.inner.pull(READER)


async def test_a_report_that_waits_goes_up_with_the_next_tap(table: Table) -> None:
    await table.journal.note_in_doubt(changing(bytes(29)))

    async def serve(conversation: Conversation) -> None:
        tap = conversation.heard[-1]
        assert isinstance(tap, Tap)
        assert [late.report.end for late in tap.pending] == [End.IN_DOUBT]
        await conclude(conversation, "nothing-to-do")

    async def talk(conversation: Conversation) -> None:
        await conversation.welcome()
        assert isinstance(await conversation.hear(), ReportMessage)  # once after the welcome
        await conversation.hear()
        await serve(conversation)
        with contextlib.suppress(LinkLost):
            await conversation.hear()

    async with Door(table.house, talk).open() as door:
        assert await table.tap_at(door) == "nothing-to-do"
        await becomes(lambda: len(door.conversations) == 1)
