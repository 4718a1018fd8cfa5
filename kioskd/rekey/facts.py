"""What a card says of itself before any key is used: who it is and, as hearsay, which key sets it holds."""

from dataclasses import dataclass

from kioskd.errors import Malformed, TapEnds
from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.cplc import CardId, aliases, canonical_id
from kioskd.gp.keyinfo import KeyInformation
from kioskd.rekey.asks import Conversation, Send
from kioskd.rekey.profile import (
    CARD_DATA_TAG,
    CIN_TAG,
    CPLC_TAG,
    DIVERSIFICATION_TAG,
    IIN_TAG,
    KEY_INFORMATION_TAG,
    fallback_steps,
)
from kioskd.rekey.script import GREET_DEADLINE_MS
from kioskd.rekey.wire import Script


@dataclass(frozen=True, slots=True)
class Facts:
    """The identify script's answers, read."""

    card: CardId
    aliases: tuple[CardId, ...]
    key_information: KeyInformation | None


def identify(answers: tuple[bytes, ...]) -> Conversation[Facts]:
    """Reads the answers to the identify script, with one more script of reads where the card has no CPLC."""
    if not answers:
        raise TapEnds("unreadable-card", "no answer to SELECT")
    _check_selected(_response(answers[0]))
    readings = _readings(answers[1:], (CPLC_TAG, CARD_DATA_TAG, KEY_INFORMATION_TAG))
    if CPLC_TAG not in readings:
        report = yield from Send(Script(0, "", b"", GREET_DEADLINE_MS, fallback_steps()))
        readings |= _readings(report.answers, (IIN_TAG, CIN_TAG, DIVERSIFICATION_TAG))
    try:
        card, others = canonical_id(readings), aliases(readings)
    except Malformed as wrong:
        raise TapEnds("no-card-id", str(wrong)) from wrong
    return Facts(card, tuple(one for one in others if one != card), _key_information(readings))


def _check_selected(response: ResponseAPDU) -> None:
    match response.sw:
        case SW.OK:
            return
        case SW.CARD_LOCKED_WARNING:
            raise TapEnds("card-locked", "SELECT was answered 6283: CARD_LOCKED")
        case SW.CONDITIONS_NOT_SATISFIED:
            raise TapEnds("card-locked", "SELECT was answered 6985: TERMINATED")
        case _:
            raise TapEnds("not-globalplatform", f"SELECT was answered {response.sw:04X}")


def _readings(answers: tuple[bytes, ...], tags: tuple[int, ...]) -> dict[int, bytes]:
    """The readings that the card gave, by tag; a refused one is left out."""
    responses = {tag: _response(raw) for tag, raw in zip(tags, answers, strict=False)}
    return {tag: response.data for tag, response in responses.items() if response.ok and response.data}


def _key_information(readings: dict[int, bytes]) -> KeyInformation | None:
    if KEY_INFORMATION_TAG not in readings:
        return None
    try:
        return KeyInformation.parse(readings[KEY_INFORMATION_TAG])
    except Malformed:
        return None  # hearsay that cannot be read chooses nothing


def _response(raw: bytes) -> ResponseAPDU:
    try:
        return ResponseAPDU.decode(raw)
    except Malformed as wrong:
        raise TapEnds("unreadable-card", str(wrong)) from wrong
