"""A secure channel's two ends, joined, with keys of our own."""

from dataclasses import dataclass

from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.keys import KeySet
from kioskd.gp.scp03 import LEVELS, CardChannel, HostChannel, SessionKeys
from kioskd.secret import Secret

STATIC = KeySet(*(AESKey(Secret(bytes(range(start, start + 16)))) for start in (0x10, 0x30, 0x50)))


@dataclass(frozen=True, slots=True)
class Way:
    """How a channel speaks: its security level, and MACs and challenges of 8 bytes or 16."""

    level: int
    mac_bytes: int = 8

    @property
    def host_challenge(self) -> bytes:
        return bytes(range(self.mac_bytes))

    @property
    def card_challenge(self) -> bytes:
        return bytes(range(0x80, 0x80 + self.mac_bytes))

    @property
    def keys(self) -> SessionKeys:
        return derive_session_keys(STATIC, self.host_challenge, self.card_challenge)

    def __str__(self) -> str:
        return f"level {self.level:02X}, S{self.mac_bytes}"


WAYS = tuple(Way(level, size) for size in (8, 16) for level in LEVELS)
HOST_CHALLENGE = Way(0x01).host_challenge
CARD_CHALLENGE = Way(0x01).card_challenge
KEYS = Way(0x01).keys


def opened(way: Way) -> tuple[HostChannel, CardChannel]:
    """Both ends after EXTERNAL AUTHENTICATE."""
    host_challenge, card_challenge, keys = way.host_challenge, way.card_challenge, way.keys
    host = HostChannel.begin(keys, way.level, way.mac_bytes)
    command, host = host.external_authenticate(host_challenge, card_challenge)
    card = CardChannel(keys, way.mac_bytes).authenticated(command, host_challenge, card_challenge)
    assert card is not None
    return host, card
