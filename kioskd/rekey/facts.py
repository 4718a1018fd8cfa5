"""What a card says of itself before any key is used: who it is and, as hearsay, which key sets it holds."""

from dataclasses import dataclass, replace

from kioskd.errors import Malformed, TapEnds
from kioskd.gp.apdu import SW, ResponseAPDU
from kioskd.gp.card_data import SecureChannel, secure_channels
from kioskd.gp.cplc import CardId, aliases, canonical_id, every_id
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
    locked: bool = False  # SELECT was answered 6283: CARD_LOCKED
    channels: tuple[SecureChannel, ...] = ()  # of the card data, as far as it could be read


def identify(answers: tuple[bytes, ...], selects: int = 1) -> Conversation[Facts]:
    """Reads the answers to the identify script, with one more script of reads where the card has no CPLC.

    Its first `selects` steps select a security domain each; one of them must be there.
    """
    if not answers:
        raise TapEnds("unreadable-card", "no answer to SELECT")
    chosen = _selected(answers[:selects])
    readings = _readings(answers[selects:], (CPLC_TAG, CARD_DATA_TAG, KEY_INFORMATION_TAG))
    if CPLC_TAG not in readings:
        report = yield from Send(Script(0, "", b"", GREET_DEADLINE_MS, fallback_steps()))
        readings |= _readings(report.answers, (IIN_TAG, CIN_TAG, DIVERSIFICATION_TAG))
    try:
        card, others = canonical_id(readings), aliases(readings)
    except Malformed as wrong:
        raise TapEnds("no-card-id", str(wrong)) from wrong
    locked = chosen.sw == SW.CARD_LOCKED_WARNING
    others = tuple(one for one in others if one != card)
    return Facts(card, others, _key_information(readings), locked, _channels(readings))


def further_ids(facts: Facts) -> Conversation[Facts]:
    """The same facts with every other id that the card has: through another reader it may refuse to give its CPLC."""
    report = yield from Send(Script(0, str(facts.card), b"", GREET_DEADLINE_MS, fallback_steps()))
    others = every_id(_readings(report.answers, (IIN_TAG, CIN_TAG, DIVERSIFICATION_TAG)))
    news = tuple(one for one in others if one != facts.card and one not in facts.aliases)
    return replace(facts, aliases=(*facts.aliases, *news))


def _selected(answers: tuple[bytes, ...]) -> ResponseAPDU:
    """The answer of the security domain that is there: the last good one."""
    responses = [_response(raw) for raw in answers]
    good = [one for one in responses if one.sw in (SW.OK, SW.CARD_LOCKED_WARNING)]
    response = (good or responses)[-1]
    match response.sw:
        case SW.OK | SW.CARD_LOCKED_WARNING:
            return response
        case SW.CONDITIONS_NOT_SATISFIED:
            raise TapEnds("card-locked", "SELECT was answered 6985: TERMINATED")
        case _:
            raise TapEnds("not-globalplatform", f"SELECT was answered {response.sw:04X}")


def _readings(answers: tuple[bytes, ...], tags: tuple[int, ...]) -> dict[int, bytes]:
    """The readings that the card gave, by tag; a refused one is left out."""
    responses = {tag: _response(raw) for tag, raw in zip(tags, answers, strict=False)}
    return {tag: response.data for tag, response in responses.items() if response.ok and response.data}


def _channels(readings: dict[int, bytes]) -> tuple[SecureChannel, ...]:
    if CARD_DATA_TAG not in readings:
        return ()
    try:
        return secure_channels(readings[CARD_DATA_TAG])
    except Malformed:
        return ()


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
