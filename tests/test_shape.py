"""The one codec of messages, records and configuration: round trips, and sentences that name the place."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NewType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kioskd.errors import Malformed
from kioskd.gp.cplc import ID_KINDS, CardId
from kioskd.gp.keyinfo import KeyEntry
from kioskd.rekey import wire
from kioskd.rekey.labels import Cryptogram
from kioskd.rekey.records import RECORD_KINDS, Registered
from kioskd.shape import ShapeError, from_plain, to_plain

calm = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

st.register_type_strategy(
    wire.Script,
    st.builds(
        wire.Script,
        st.integers(0),
        st.text(max_size=10),
        st.binary(max_size=32),
        st.integers(0),
        st.lists(st.builds(wire.Step), min_size=1, max_size=wire.MAX_STEPS).map(tuple),
        st.none() | st.builds(Cryptogram),
    ),
)
st.register_type_strategy(
    wire.Report,
    st.builds(
        wire.Report,
        st.integers(0),
        st.binary(min_size=32, max_size=32),
        st.sampled_from(wire.End),
        st.lists(st.binary(max_size=64), max_size=wire.MAX_STEPS).map(tuple),
    ),
)
st.register_type_strategy(CardId, st.builds(CardId, st.sampled_from(ID_KINDS), st.binary(min_size=1, max_size=64)))
st.register_type_strategy(wire.Head, st.builds(wire.Head, version=st.just(wire.WIRE_VERSION)))


@pytest.mark.parametrize("kind", wire.KINDS.values(), ids=list(wire.KINDS))
@calm
@given(st.data())
def test_every_message_is_read_as_it_was_written(kind: type[Any], data: st.DataObject) -> None:
    message = data.draw(st.builds(kind))
    text = wire.encode(message)
    assert wire.decode(text) == message
    assert "\n" not in text


@pytest.mark.parametrize("kind", RECORD_KINDS.values(), ids=list(RECORD_KINDS))
@calm
@given(st.data())
def test_every_record_is_read_as_it_was_written(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(st.builds(kind))
    assert from_plain(kind, json.loads(json.dumps(to_plain(record)))) == record


HEAD = wire.Head(wire.WIRE_VERSION, "kiosk-1", 3, "tap-1", 5, 2, "cplc:4790")
SCRIPT = wire.Script(7, "cplc:4790", b"\x01", 1000, (wire.Step(b"\x80\xca\x00\xe0\x00", (0x9000,)),))
MESSAGES: dict[str, wire.Message] = {
    "hello": wire.Hello(HEAD, "1.0"),
    "tap": wire.Tap(HEAD, "replace", (b"\x90\x00",)),
    "script": wire.ScriptMessage(HEAD, SCRIPT),
    "report": wire.ReportMessage(HEAD, wire.Report(7, SCRIPT.digest, wire.End.COMPLETE, (b"\x90\x00",))),
}

Plain = dict[str, Any]


def body(kind: str) -> Plain:
    """A good message as plain values."""
    plain: Plain = json.loads(wire.encode(MESSAGES[kind]))
    return plain


def refusal(plain: object) -> str:
    """The sentence with which a message is refused."""
    with pytest.raises(Malformed) as refused:
        wire.decode(json.dumps(plain))
    return str(refused.value)


WRONG: list[tuple[str, str, Callable[[Plain], Any], str]] = [
    ("an unknown key", "hello", lambda plain: plain.update(colour="red"), "hello.colour: unknown key"),
    ("a missing key", "hello", lambda plain: plain.pop("software"), "hello.software: is missing"),
    ("a missing key of the head", "hello", lambda plain: plain.pop("fence"), "hello.head.fence: is missing"),
    ("a number as text", "hello", lambda plain: plain.update(epoch="3"), "hello.head.epoch: needs a whole number"),
    ("a number with a point", "hello", lambda plain: plain.update(epoch=3.0), "hello.head.epoch: needs a whole number"),
    ("true as a number", "hello", lambda plain: plain.update(epoch=True), "hello.head.epoch: needs a whole number"),
    ("nothing as text", "hello", lambda plain: plain.update(software=None), "hello.software: needs text, not nothing"),
    ("a text as a list", "tap", lambda plain: plain.update(answers="9000"), "tap.answers: needs a list, not text"),
    ("half a byte", "tap", lambda plain: plain.update(answers=["9000", "900"]), "tap.answers[1]: needs hex"),
    ("hex with blanks", "tap", lambda plain: plain.update(answers=["90 00"]), "tap.answers[0]: needs hex"),
    ("a number as bytes", "tap", lambda plain: plain.update(answers=[9000]), "tap.answers[0]: needs hex"),
    ("a list as a group", "report", lambda plain: plain.update(report=[]), "report.report: needs a group of keys"),
    (
        "an end that nobody knows",
        "report",
        lambda plain: plain["report"].update(end="maybe"),
        "report.report.end: needs one of complete, stopped",
    ),
    (
        "a digest that is too short",
        "report",
        lambda plain: plain["report"].update(digest="00"),
        "report.report: a digest has 32 bytes",
    ),
    (
        "a script without steps",
        "script",
        lambda plain: plain["script"].update(steps=[]),
        "script.script: a script has 1 to 16 steps, not 0",
    ),
    (
        "an unknown key deep inside",
        "script",
        lambda plain: plain["script"]["steps"][0].update(retry=True),
        "script.script.steps[0].retry: unknown key",
    ),
    (
        "a status word as text",
        "script",
        lambda plain: plain["script"]["steps"][0].update(accept=["9000"]),
        "script.script.steps[0].accept[0]: needs a whole number",
    ),
    (
        "a script that was changed on its way",
        "script",
        lambda plain: plain["script"].update(deadline_ms=2000),
        "script.digest: does not match",
    ),
    ("a script without its digest", "script", lambda plain: plain.pop("digest"), "script.digest: does not match"),
    ("another version", "hello", lambda plain: plain.update(version=1), "message: version 1"),
    ("no version", "hello", lambda plain: plain.pop("version"), "message: version None"),
    ("a kind that nobody knows", "hello", lambda plain: plain.update(kind="goodbye"), "message: unknown kind"),
    ("a list as its kind", "hello", lambda plain: plain.update(kind=["hello"]), "message: unknown kind"),
]


@pytest.mark.parametrize(("kind", "spoil", "sentence"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_message_is_refused_where_it_is_wrong(kind: str, spoil: Callable[[Plain], Any], sentence: str) -> None:
    plain = body(kind)
    assert wire.decode(json.dumps(plain)) == MESSAGES[kind]
    spoil(plain)
    assert sentence in refusal(plain)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"hello"', "[" * 100_000, "[" * 60_000, "NaN", "1e999"])
def test_a_text_that_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        wire.decode(text)


@calm
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=6), st.data())
def test_a_message_with_any_field_replaced_is_refused_or_understood(value: object, data: st.DataObject) -> None:
    plain = body(data.draw(st.sampled_from(sorted(MESSAGES))))
    plain[data.draw(st.sampled_from(sorted(plain)))] = value
    try:
        message = wire.decode(json.dumps(plain))
    except Malformed:
        return
    assert wire.decode(wire.encode(message)) == message


def test_a_tap_with_too_many_reports_is_refused() -> None:
    report = wire.CardReport("cplc:4790", wire.Report(1, bytes(32), wire.End.LATE, ()))
    full = replace(wire.Tap(HEAD, "replace", ()), pending=(report,) * wire.MAX_PENDING)
    assert wire.decode(wire.encode(full)) == full
    with pytest.raises(Malformed):
        wire.decode(wire.encode(replace(full, pending=(*full.pending, report))))


def test_a_message_that_is_too_long_is_not_even_parsed() -> None:
    with pytest.raises(Malformed) as refused:
        wire.decode(" " * (wire.MAX_MESSAGE_BYTES + 1))
    assert "at most" in str(refused.value)


def test_a_script_with_any_difference_has_another_digest() -> None:
    step = SCRIPT.steps[0]
    others = [
        replace(SCRIPT, number=8),
        replace(SCRIPT, card="cplc:4791"),
        replace(SCRIPT, after=b""),
        replace(SCRIPT, deadline_ms=1001),
        replace(SCRIPT, steps=(step, step)),
        replace(SCRIPT, steps=(replace(step, accept=(0x9000, 0x6A88)),)),
        replace(SCRIPT, cryptogram=Cryptogram(1, 1, "SHA1", 0x3E, 1, b"\x00")),
    ]
    assert len({one.digest for one in (SCRIPT, *others)}) == 1 + len(others)


Seconds = NewType("Seconds", int)


class Colour(StrEnum):
    """An enum for the codec's own test."""

    RED = "red"


@dataclass(frozen=True, slots=True)
class Everything:
    """One field of each kind that the codec knows."""

    number: int
    share: float
    flag: bool
    text: str
    raw: bytes
    colour: Colour
    wait: Seconds
    pair: tuple[int, str]
    many: tuple[bytes, ...]
    maybe: str | None = None


EVERYTHING = Everything(
    number=1,
    share=1.5,
    flag=True,
    text="",
    raw=b"",
    colour=Colour.RED,
    wait=Seconds(1),
    pair=(1, "a"),
    many=(b"",),
    maybe="b",
)


@calm
@given(st.builds(Everything, share=st.floats(allow_nan=False)))
def test_every_kind_of_field_is_read_as_it_was_written(value: Everything) -> None:
    assert from_plain(Everything, json.loads(json.dumps(to_plain(value)))) == value


def test_a_default_may_be_left_out_and_a_whole_number_may_be_a_share() -> None:
    plain = to_plain(EVERYTHING)
    del plain["maybe"]
    plain["share"] = 2
    read = from_plain(Everything, plain)
    assert read.maybe is None
    assert read.share == 2.0


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("share", True, "top.share: needs a number, not true or false"),
        ("flag", 1, "top.flag: needs true or false, not a number"),
        ("pair", [1], "top.pair: needs 2 items, not 1"),
        ("pair", [1, 2], "top.pair[1]: needs text, not a number"),
        ("wait", "soon", "top.wait: needs a whole number, not text"),
        ("colour", "blue", "top.colour: needs one of red"),
        ("maybe", 1, "top.maybe: needs text, not a number"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, sentence: str) -> None:
    plain = to_plain(EVERYTHING)
    with pytest.raises(ShapeError) as refused:
        from_plain(Everything, {**plain, field: value}, "top")
    assert str(refused.value) == sentence


def test_a_wrong_value_is_not_repeated_for_it_may_be_a_secret_in_the_wrong_place() -> None:
    plain = body("hello")
    plain["epoch"] = "404142434445464748494A4B4C4D4E4F"
    assert "4041" not in refusal(plain)


def test_the_reason_of_a_value_in_a_record_names_its_place() -> None:
    registered = Registered(CardId("cplc", b"\x01"), (), "p", (KeyEntry(1, 0x30, ((0x88, 16),)),))
    plain = to_plain(registered)
    plain["bystanders"][0]["components"][0] = [0x88]
    with pytest.raises(ShapeError) as refused:
        from_plain(Registered, plain)
    assert refused.value.path == "bystanders[0].components[0]"
