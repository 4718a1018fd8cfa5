"""What goes into the systemd journal: one tap's story by its number, and no more of a card than need be."""

import dataclasses
import logging
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kioskd.demo.stage import Stage
from kioskd.edges import systemd
from kioskd.gp.cplc import CPLC, CardId
from kioskd.log_fields import FIELDS, MessageId, card_hash, entry, tell, telling, told, without_card_ids
from kioskd.virtual.card import VirtualCard
from tests.service.journald import PrivateJournal, missing
from tests.service.supervised import Supervised

CATALOGUE = Path(__file__).resolve().parents[2] / "systemd" / "kioskd.catalog"
CARD = "cplc:4790D6008448DEADBEEF"
LONGEST_PLAIN = 5  # bytes of a command's data that may be in a log by chance


def names(entries: list[dict[str, Any]]) -> list[str]:
    """The kinds of entries."""
    return [MessageId(one["MESSAGE_ID"]).name for one in entries]


# --- the words and the fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (f"{CARD}: reported stolen", "cplc:…DEADBEEF: reported stolen"),
        (f"script 3 of {CARD}, and {CARD.lower()}", "script 3 of cplc:…DEADBEEF, and cplc:…deadbeef"),
        ("iin-cin:0011223344556677", "iin-cin:…44556677"),
        ("kdd:00112233445566778899", "kdd:…66778899"),
        ("cf:0011", "cf:0011"),
        ("nothing of a card", "nothing of a card"),
    ],
)
def test_of_a_cards_id_only_the_end_is_written(said: str, written: str) -> None:
    assert without_card_ids(said) == written


def test_a_cards_hash_can_be_made_by_hand() -> None:
    assert card_hash(CARD) == sha256(CARD.encode()).hexdigest()[:12]
    assert card_hash("") == ""


def test_what_a_task_tells_is_forgotten_where_it_was_told_for_a_while() -> None:
    with telling(TAP="a"):
        tell(CARD="b")
        with telling(CARD="c"):
            assert told() == {"TAP": "a", "CARD": "c"}
        assert told() == {"TAP": "a", "CARD": "b"}
    assert "TAP" not in told()


def test_a_field_that_is_not_ours_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        entry(MessageId.READY, PIN="1234")


def test_the_journal_gets_the_named_fields_and_no_arguments_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(systemd, "send_entry", lambda message, **fields: sent.append({"MESSAGE": message, **fields}))
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    monkeypatch.setenv("INVOCATION_ID", "0")
    before = logging.root.handlers[:]
    logging.root.handlers.clear()
    try:
        systemd.set_up_log("kioskd-test")
        (handler,) = logging.root.handlers
    finally:
        logging.root.handlers[:] = before
    log = logging.getLogger("kioskd.test")
    log.propagate = False
    log.addHandler(handler)
    try:
        with telling(TAP="t1", CARD="hash"):
            log.warning("%s was seen", CARD, extra=entry(MessageId.TAP_TROUBLE, CODE="K201"))
            try:
                raise ValueError(f"no such card: {CARD}")
            except ValueError:
                log.exception("failed")
    finally:
        log.removeHandler(handler)
        log.propagate = True
    assert sent[0]["MESSAGE"] == "cplc:…DEADBEEF was seen"
    assert {name: sent[0][name] for name in ("TAP", "CARD", "CODE")} == {"TAP": "t1", "CARD": "hash", "CODE": "K201"}
    assert sent[0]["MESSAGE_ID"] == MessageId.TAP_TROUBLE.value
    place = {"MESSAGE", "PRIORITY", "LOGGER", "CODE_FILE", "CODE_LINE", "CODE_FUNC", "SYSLOG_IDENTIFIER", "MESSAGE_ID"}
    assert set(sent[0]) == {*place, "TAP", "CARD", "CODE"}
    assert "ValueError" in sent[1]["MESSAGE"], "a traceback is in the message"
    assert "4790D600" not in str(sent)


# --- the catalogue ------------------------------------------------------------------------------------------------


def test_every_kind_of_entry_is_explained_and_nothing_else() -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^-- (\w+)$", text) == [kind.value for kind in MessageId]
    assert len(set(MessageId)) == len(re.findall(r"(?m)^Subject: \S", text))
    assert set(re.findall(r"@(\w+)@", text)) <= set(FIELDS)


def test_systemd_reads_the_catalogue(tmp_path: Path) -> None:
    for folder in ("usr/lib/systemd/catalog", "var/lib/systemd/catalog"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/catalog" / CATALOGUE.name).write_bytes(CATALOGUE.read_bytes())
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True)
    listed = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--list-catalog"], check=True, capture_output=True, text=True
    )
    assert {line.split()[0] for line in listed.stdout.splitlines()} == {kind.value for kind in MessageId}


# --- a real journald ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Story:
    """An installation whose kiosk and access server write into a journald, and what went to the card."""

    stage: Stage
    journal: PrivateJournal
    kiosk: Supervised
    data: list[bytes] = dataclasses.field(default_factory=list)

    def tap(self, card: VirtualCard) -> dict[str, Any]:
        """One tap at the kiosk; the data of its commands is kept."""
        hand = self.stage.holder(card, "kiosk")
        hand.before_answer = lambda command: self.data.append(command[5:-1])
        return self.stage.tap(hand, "kiosk")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if missing():
        pytest.skip(missing())
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(tmp_path_factory.mktemp("s"), rsa_bits=2048))
        stage.make_keys()
        journal = stack.enter_context(PrivateJournal())

        def start(role: str, *command: str) -> Supervised:
            folder = stage.folder / f"under-{role}"
            folder.mkdir()
            options = ("--config", f"{stage.folder}/{role}.yaml")
            environment = {**stage.pcscd.environment, **journal.environment}
            return stack.enter_context(
                Supervised(folder, ["-m", "kioskd", *command, *options], 0, environment, journal.inside)
            )

        start("access", "access", "serve").wait_until_ready()
        kiosk = start("kiosk", "kiosk")
        kiosk.wait_for_status("link up")
        yield Story(stage, journal, kiosk)


@pytest.fixture(scope="module")
def replaced(story: Story) -> tuple[dict[str, Any], VirtualCard]:
    """A card that was issued and replaced, and its tap at the kiosk."""
    stage, card = story.stage, story.stage.new_card()
    stage.start_terminal("station")
    assert stage.tap(stage.holder(card, "station"), "station")["outcome"] == "issued"
    stage.roles.stop("station")
    stage.kms("generate")
    stage.release("replace", generation=2)
    return story.tap(card), card


def id_of(card: VirtualCard) -> str:
    """A card's canonical id."""
    return str(CardId("cplc", CPLC.parse(card.options.cplc_data()).unique))


@pytest.mark.pcscd
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_number_of_a_tap_finds_its_story_at_both_ends(
    story: Story, replaced: tuple[dict[str, Any], VirtualCard]
) -> None:
    tap, card = replaced
    entries = story.journal.entries(f"TAP={tap['tap']}")
    kiosk = [one for one in entries if one["SYSLOG_IDENTIFIER"] == "kioskd-kiosk"]
    access = [one for one in entries if one["SYSLOG_IDENTIFIER"] == "kioskd-access"]
    assert len(kiosk) + len(access) == len(entries)
    assert names(kiosk)[0] == "TAP_BEGAN" and names(kiosk)[-1] == "TAP_ENDED"
    assert names(kiosk).count("CARD_CHANGING") == 1
    assert [one["MESSAGE"].split(": ")[1].split(" in ")[0] for one in kiosk if "DELETE" in one["MESSAGE"]]
    assert names(access)[-2:] == ["CASE_CLOSED", "TAP_ENDED"]
    assert kiosk[-1]["CODE"] == access[-1]["CODE"] == tap["code"] == "K100"
    assert {one["KIOSK"] for one in entries} == {"kiosk"}
    assert {one["READER"] for one in kiosk} == {tap["reader"]}
    assert {one["CARD"] for one in (*kiosk[1:], *access)} == {card_hash(id_of(card))}
    ends = story.journal.entries(f"MESSAGE_ID={MessageId.TAP_ENDED.value}", f"CARD={card_hash(id_of(card))}")
    assert [one["KIOSK"] for one in ends] == ["station", "kiosk", "kiosk"], "where it was issued, and both ends here"


@pytest.mark.pcscd
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_field_holds_a_whole_card_id_or_the_data_of_a_command(
    story: Story, replaced: tuple[dict[str, Any], VirtualCard]
) -> None:
    stranger = VirtualCard()
    assert story.tap(stranger)["outcome"] == "unknown-card"
    everything = "\n".join(f"{name}={value}" for one in story.journal.entries() for name, value in one.items()).upper()
    serial = id_of(stranger)[-8:]
    assert f"CPLC:…{serial}" in everything, "the access server names the card that it does not know, in short"
    for card in (stranger, replaced[1]):
        assert id_of(card).partition(":")[2] not in everything
    long = {one.hex().upper() for one in story.data if len(one) > LONGEST_PLAIN}
    assert len(long) > 5
    # A wrapped command's data ends in its MAC, a PUT KEY's begins with the KVN: parts of it count as well.
    pieces = {one[at : at + 16] for one in long for at in range(0, len(one) - 15, 2)} - {"A000000151000000"}
    assert {one for one in pieces if one in everything} == set()


@pytest.mark.pcscd
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_journalctl_explains_an_entry(story: Story, replaced: tuple[dict[str, Any], VirtualCard]) -> None:
    tap, _ = replaced
    story.journal.add_catalogue(CATALOGUE)
    said = story.journal.explained(f"TAP={tap['tap']}", f"MESSAGE_ID={MessageId.CARD_CHANGING.value}")
    assert f"Subject: The card of tap {tap['tap']} may be changed from now on" in said


@pytest.mark.pcscd
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_daemon_of_the_readers_going_and_coming_is_in_the_journal(story: Story) -> None:
    story.stage.pcscd.kill()
    story.kiosk.wait_for_status("readers: none (K300 pcscd-down)")
    story.stage.pcscd.start()
    before = len(story.kiosk.statuses())
    story.kiosk.until(
        lambda: any("readers: 1" in one for one in story.kiosk.statuses()[before - 1 :]), "it was not found again"
    )
    changes = story.journal.entries(f"MESSAGE_ID={MessageId.READER_CHANGED.value}")
    assert ["CODE" in one for one in changes] == [False, True, False]
    assert (changes[1]["CODE"], changes[1]["MESSAGE"]) == ("K300", "reader (any): down")
