"""No act without its quorum: every refusal of dual control, and every order of events up to a length."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kioskd.errors import NotApproved
from kioskd.rekey.bundle import window_of, window_words
from kioskd.rekey.bundle_check import ed25519_verifies
from kioskd.rekey.ceremony import (
    Act,
    Approval,
    Approved,
    Ceremony,
    Detail,
    Event,
    Executed,
    Founded,
    Policy,
    Request,
    Requested,
    approval_text,
)
from tests.ceremony.people import KEYS, NOW, POLICY, Room, approval, custodian, request


@pytest.fixture
def room() -> Room:
    """Alice, Bob and Carol; two of them must approve."""
    return Room()


def test_two_of_three_approve_and_the_act_is_executed_once(room: Room) -> None:
    asked = room.ask(request())
    room.approve("alice", asked)
    room.approve("carol", asked)
    room.execute(asked)
    with pytest.raises(NotApproved, match="executed already"):
        room.execute(asked)
    with pytest.raises(NotApproved, match="executed already"):
        room.approve("bob", asked)


@pytest.mark.parametrize("who", [(), ("alice",)])
def test_fewer_than_the_quorum_execute_nothing(room: Room, who: tuple[str, ...]) -> None:
    asked = room.ask(request())
    for name in who:
        room.approve(name, asked)
    with pytest.raises(NotApproved, match=f"{len(who)} of 2 have approved"):
        room.execute(asked)


def test_nobody_approves_twice(room: Room) -> None:
    asked = room.ask(request())
    room.approve("alice", asked)
    with pytest.raises(NotApproved, match="alice: has approved this request already"):
        room.approve("alice", asked)


def test_a_stranger_does_not_approve_under_their_own_name_or_a_custodians(room: Room) -> None:
    asked = room.ask(request())
    with pytest.raises(NotApproved, match="mallory: is no custodian"):
        room.approve("mallory", asked)
    with pytest.raises(NotApproved, match="bob: the signature is not theirs"):
        room.say(Approved(approval("bob", asked, KEYS["mallory"])))
    with pytest.raises(NotApproved, match="bob: the signature is not theirs"):
        room.say(Approved(replace(approval("alice", asked), custodian="bob")))


def test_an_approval_of_one_request_is_worth_nothing_for_another(room: Room) -> None:
    first, second = room.ask(request()), room.ask(request())
    given = approval("alice", first)
    with pytest.raises(NotApproved, match="over another request"):
        room.say(Approved(replace(given, request=second.digest)))


@pytest.mark.parametrize(
    "change",
    [
        {"details": (Detail("generation", "2"),)},
        {"act": Act.EPOCH, "details": (Detail("bits", "2048"), Detail("epoch", "1"))},
        {"not_after": 2001},
        {"not_before": 1},
        {"id": bytes(16)},
    ],
)
def test_an_approval_is_over_every_field_of_its_request(room: Room, change: dict[str, object]) -> None:
    asked = room.ask(request())
    other = room.ask(replace(asked, **change) if "id" in change else replace(asked, id=b"o" * 16, **change))  # type: ignore[arg-type]
    with pytest.raises(NotApproved, match="over another request"):
        room.say(Approved(Approval(other.digest, "alice", approval("alice", asked).signature)))


def test_a_request_that_was_not_made_here_is_not_approved_or_executed(room: Room) -> None:
    for event in (Approved(approval("alice", request())), Executed(request().digest)):
        with pytest.raises(NotApproved, match="no such request was made here"):
            room.say(event)


def test_a_request_of_a_known_id_is_not_made_again(room: Room) -> None:
    asked = room.ask(request())
    with pytest.raises(NotApproved, match="there is one of this id"):
        room.ask(replace(asked, not_after=1500))


@pytest.mark.parametrize("now", [99, 201])
def test_outside_its_window_a_request_is_neither_approved_nor_executed(room: Room, now: int) -> None:
    asked = room.ask(request(window=(100, 200)))
    with pytest.raises(NotApproved, match="not for this time"):
        room.say(Approved(approval("alice", asked)), now)
    room.say(Approved(approval("alice", asked)), 150)
    room.say(Approved(approval("bob", asked)), 150)
    with pytest.raises(NotApproved, match="not for this time"):
        room.execute(asked, now)


def test_a_new_policy_ends_what_was_asked_under_the_old_one(room: Room) -> None:
    old = room.ask(request())
    room.approve("alice", old)
    room.approve("bob", old)
    _change(room, Policy(2, 2, (custodian("alice"), custodian("dave"))))
    with pytest.raises(NotApproved, match="the policy has changed since"):
        room.execute(old)
    with pytest.raises(NotApproved, match="the policy has changed since"):
        room.ask(request())
    new = room.ask(request(policy=2))
    with pytest.raises(NotApproved, match="bob: is no custodian"):
        room.approve("bob", new)
    room.approve("alice", new)
    room.approve("dave", new)
    room.execute(new)


def test_a_lost_custodian_is_replaced_by_the_others(room: Room) -> None:
    _change(room, Policy(2, 2, (custodian("alice"), custodian("bob"), custodian("dave"))))
    assert room.state.policy == Policy(2, 2, (custodian("alice"), custodian("bob"), custodian("dave")))


def _change(room: Room, policy: Policy) -> None:
    asked = room.ask(request(Act.POLICY, {"quorum": str(policy.quorum), "custodians": policy.people}))
    room.approve("alice", asked)
    room.approve("bob", asked)
    room.execute(asked)


@pytest.mark.parametrize(
    "details",
    [
        {"quorum": "1", "custodians": POLICY.people},
        {"quorum": "4", "custodians": POLICY.people},
        {"quorum": "2", "custodians": "alice"},
        {"quorum": "two", "custodians": POLICY.people},
        {"quorum": "2", "custodians": f"{custodian('alice').name} ({custodian('alice').key.hex()})"},
    ],
)
def test_a_policy_that_is_none_is_not_even_asked_for(room: Room, details: dict[str, str]) -> None:
    with pytest.raises(NotApproved, match="the policy asked for is none"):
        room.ask(request(Act.POLICY, details))


def test_the_first_policy_is_set_once(room: Room) -> None:
    with pytest.raises(NotApproved, match="there is a policy already"):
        room.say(Founded(POLICY))
    with pytest.raises(NotApproved, match="no custodians yet"):
        Ceremony().after(Requested(request()), NOW, ed25519_verifies)


@pytest.mark.parametrize(
    ("quorum", "names"), [(1, ("alice", "bob")), (0, ("alice", "bob")), (3, ("alice", "bob")), (2, ("alice", "alice"))]
)
def test_a_policy_takes_two_different_people_at_least(quorum: int, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"quorum|one name"):
        Policy(1, quorum, tuple(custodian(name) for name in names))


def test_a_custodian_reads_what_will_happen() -> None:
    window = "2026-11-25 to 2026-12-25"
    said = {"generation": "2", "epoch": "1", "recipient": "AB12", "campaign": "leak", "window": window}
    said |= {"generation_from": "1", "hours": "24"}
    asked = request(Act.ARM, said)
    assert asked.words == (
        "Release generation 2 and the PRIVATE KEY of epoch 1 to the access server AB12, for the campaign leak from "
        "generation 1, whose window is 2026-11-25 to 2026-12-25; the bundle can be taken in for 24 hours. "
        "Issuing under epoch 1 ends for ever."
    )
    assert asked.words.encode() in approval_text(asked, "alice")


@given(begin=st.integers(0, 2**36), lasts=st.integers(0, 2**36))
def test_a_window_is_read_as_it_was_written_to_the_minute(begin: int, lasts: int) -> None:
    assert window_of(window_words(begin, begin + lasts)) == (begin - begin % 60, begin + lasts - (begin + lasts) % 60)


def test_a_time_that_no_calendar_has_is_said_as_the_last_one() -> None:
    assert window_words(0, 2**62) == "1970-01-01 00:00 UTC to 9999-12-31 23:59 UTC"


@pytest.mark.parametrize("value", ["", "1\nApproved", "1\x1b[2J", "é", "x" * 2001])
def test_a_detail_cannot_say_one_thing_and_show_another(value: str) -> None:
    with pytest.raises(ValueError, match="not one line of plain text"):
        request(Act.GENERATE, {"generation": value})


def test_a_request_that_leaves_something_out_is_none() -> None:
    with pytest.raises(ValueError, match="does not say 'epoch'"):
        request(Act.EPOCH, {"bits": "2048"})


@pytest.mark.slow
def test_in_every_order_of_seven_events_no_act_happens_without_two_approvals_of_it() -> None:
    """An attacker may order, repeat and leave out events as he likes; he holds Alice's key alone."""
    first = request()
    people = f"{POLICY.people}, mallory ({custodian('mallory').key.hex()})"
    second = request(Act.POLICY, {"quorum": "2", "custodians": people})
    events: tuple[Event, ...] = (
        Requested(first),
        Requested(second),
        Approved(approval("alice", first)),
        Approved(approval("alice", second)),
        Approved(approval("bob", first)),
        Approved(Approval(second.digest, "bob", approval("bob", first).signature)),
        Approved(approval("mallory", second)),
        Executed(first.digest),
        Executed(second.digest),
    )
    tried = 0
    for order in itertools.permutations(events, 6):
        room, approvers = Room(), {first.digest: set[str](), second.digest: set[str]()}
        for event in order:
            try:
                room.say(event)
            except NotApproved:
                continue
            tried += 1
            if isinstance(event, Approved):
                approvers[event.approval.request].add(event.approval.custodian)
            if isinstance(event, Executed):
                assert len(approvers[event.request]) >= 2
        assert second.digest not in room.state.executed
        assert room.state.policy == POLICY
    assert tried > 100_000


def test_requests_differ_by_everything() -> None:
    asked = request()
    others: list[Request] = [replace(asked, id=b"x" * 16), replace(asked, policy=2), replace(asked, not_after=1)]
    assert len({one.digest for one in (asked, *others)}) == 4
