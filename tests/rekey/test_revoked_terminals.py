"""A link that is open while its terminal is revoked, message by message, and while the store does not answer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kioskd.access.office import Office
from kioskd.access.session import Session
from kioskd.errors import LinkLost, StoreFailed
from kioskd.rekey.profile import DEFAULT_PROFILE
from kioskd.rekey.wire import (
    WIRE_VERSION,
    End,
    Head,
    Hello,
    Message,
    Refuse,
    Report,
    ReportMessage,
    Tap,
)
from tests.rekey.world import Kiosk, issued
from tests.rig import Rig


@dataclass
class Line:
    """A terminal that says three things, whatever it is answered."""

    epoch: int = 0
    said: int = 0
    heard: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        """Keeps what the server says."""
        self.heard.append(message)
        self.epoch = message.head.epoch

    async def receive(self) -> Message:
        """Hello, a late report, a tap."""
        self.said += 1
        head = Head(WIRE_VERSION, "k1", self.epoch, "" if self.said < 3 else "tap", self.said, 0, "")
        match self.said:
            case 1:
                return Hello(head, "test")
            case 2:
                return ReportMessage(head, Report(1, bytes(32), End.COMPLETE, ()))
            case 3:
                return Tap(head, "replace", Kiosk(issued()).identify())
        raise LinkLost("it has said all")


async def heard(rig: Rig, *answers: bool | StoreFailed) -> list[tuple[str, str]]:
    """What the server says to each of the three, if these are the answers to whether the terminal is revoked."""
    line, coming = Line(), list(answers)

    async def revoked() -> bool:
        answer = coming.pop(0)
        if isinstance(answer, StoreFailed):
            raise answer
        return answer

    office = Office(rig.vault, rig.store, (DEFAULT_PROFILE,))
    try:
        await Session(office, "k1", "kiosk", line, revoked).serve()
    finally:
        office.worker.shutdown()
    return [(type(one).__name__, one.outcome if isinstance(one, Refuse) else "") for one in line.heard]


REFUSED = ("Refuse", "kiosk-revoked")
GOOD, REVOKED = False, True


async def test_a_terminal_is_refused_at_whichever_message_comes_next(issued_card: Callable[[], Rig]) -> None:
    assert await heard(issued_card(), REVOKED) == [REFUSED]
    assert await heard(issued_card(), GOOD, REVOKED) == [("Welcome", ""), REFUSED]
    assert await heard(issued_card(), GOOD, GOOD, REVOKED) == [("Welcome", ""), REFUSED]


async def test_while_the_store_does_not_answer_no_tap_is_begun_and_the_link_stays(
    issued_card: Callable[[], Rig],
) -> None:
    down = StoreFailed("store: gone")
    assert await heard(issued_card(), down, down, down) == [("Welcome", ""), ("Refuse", "store-failed")]
