"""The kinds of card that the engine is held to: a profile, and the card that it is true of."""

from dataclasses import dataclass

from kioskd.rekey.profile import DEFAULT_PROFILE, Profile
from kioskd.virtual.card_options import CardOptions


@dataclass(frozen=True, slots=True)
class Kind:
    """What the server believes of a card, and the card."""

    name: str
    profile: Profile
    options: CardOptions

    def __str__(self) -> str:
        return self.name


AES128 = Kind("AES-128, S8", DEFAULT_PROFILE, CardOptions())
AES192 = Kind(
    "AES-192, S8",
    Profile("gp-scp03-aes192", key_bytes=24),
    CardOptions(factory_key_bytes=24, key_bytes=(24,)),
)
AES256_S16 = Kind(
    "AES-256, S16",
    Profile("gp-scp03-aes256", key_bytes=32, challenge_bytes=16),
    CardOptions(scp_i=0x71, factory_key_bytes=32, key_bytes=(32,)),
)
# From a factory of AES-128; random challenges; no encryption of commands; PUT KEY without the clear length.
AES256_FROM_128 = Kind(
    "AES-256 after AES-128, S8, level 11, without length",
    Profile("gp-scp03-aes256", level=0x11, key_bytes=32, key_length_sent=False),
    CardOptions(scp_i=0x60),
)
OTHERS = (AES192, AES256_S16, AES256_FROM_128)
