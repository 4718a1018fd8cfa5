"""What kind of card this is, as far as the engine must know. One profile so far; a checked file of them comes later."""

from dataclasses import dataclass

from kioskd.gp.apdu import SW
from kioskd.gp.isd import ISD_AID, S8_BYTES, S16_BYTES, get_data, select
from kioskd.gp.keyinfo import KeyEntry
from kioskd.rekey.wire import Step

CPLC_TAG = 0x9F7F
IIN_TAG = 0x42
CIN_TAG = 0x45
CARD_DATA_TAG = 0x66
KEY_INFORMATION_TAG = 0xE0
DIVERSIFICATION_TAG = 0xCF

AES_KEY_TYPE = 0x88


@dataclass(frozen=True, slots=True)
class Profile:
    """A family of cards: its security domain, its slots and its secure channel."""

    derivation: str = "gp-scp03-aes128"  # frozen into the labels of issued cards: never changes
    aid: bytes = ISD_AID
    level: int = 0x33
    key_bytes: int = 16
    challenge_bytes: int = S8_BYTES  # 16 where the card speaks S16
    key_length_sent: bool = True  # PUT KEY's layout: the clear length before the ciphertext
    krk_kvn: int = 0x3E  # where a card gets its first KRK
    other_krk_kvn: int = 0x3F  # a rotation goes from one to the other
    factory_kvn: int = 0xFF
    factory_set: str = "factory"
    first_master_kvn: int = 0x30
    master_kvns: int = 14
    our_kvns: range = range(0x30, 0x40)  # for master sets and replacement sets alone

    def __post_init__(self) -> None:
        if self.key_bytes not in (16, 24, 32) or self.challenge_bytes not in (S8_BYTES, S16_BYTES):
            raise ValueError(f"keys of {self.key_bytes} bytes, challenges of {self.challenge_bytes}")
        if self.key_bytes == 24 and not self.key_length_sent:
            raise ValueError("a key of 24 bytes cannot be put without its length: the card would read 32")

    def master_kvn(self, generation: int) -> int:
        """The slot of a generation: 30 to 3D in turn."""
        return self.first_master_kvn + generation % self.master_kvns

    def next_krk_kvn(self, kvn: int) -> int:
        """The slot that a rotation puts the KRK in: the one that it is not in."""
        return self.other_krk_kvn if kvn == self.krk_kvn else self.krk_kvn

    def entries(self, kvn: int) -> frozenset[KeyEntry]:
        """The key information of one of our sets."""
        return frozenset(KeyEntry(kid, kvn, ((AES_KEY_TYPE, self.key_bytes),)) for kid in (1, 2, 3))


DEFAULT_PROFILE = Profile()

# A plain read may be refused: the card's other readings decide then.
_MAY_FAIL: tuple[int, ...] = ()


def identify_steps(profile: Profile) -> tuple[Step, ...]:
    """The plain reads that identify a card: SELECT, CPLC, card data, key information."""
    return (
        Step(select(profile.aid).encode(), (int(SW.OK), int(SW.CARD_LOCKED_WARNING))),
        *(Step(get_data(tag).encode(), _MAY_FAIL) for tag in (CPLC_TAG, CARD_DATA_TAG, KEY_INFORMATION_TAG)),
    )


def fallback_steps() -> tuple[Step, ...]:
    """The reads that give an id where a card has no CPLC."""
    return tuple(Step(get_data(tag).encode(), _MAY_FAIL) for tag in (IIN_TAG, CIN_TAG, DIVERSIFICATION_TAG))
