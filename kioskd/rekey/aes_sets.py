"""The AES sets of a card that was issued with 3DES sets, as its profile has them. The rules: docs/decisions/018."""

from dataclasses import dataclass

from kioskd.gp.isd import RESPONSE_MAC, S16
from kioskd.gp.scp03 import LEVELS, R_ENCRYPTION, R_MAC
from kioskd.rekey.labels import AES, KeyKind

_RESPONSE_ENCRYPTION = 0x40
_SPOKEN_I = (0x20, 0x30, 0x60, 0x70)
_KEY_BYTES = (16, 32)


@dataclass(frozen=True, slots=True)
class Migration:
    """What the AES sets are, and what the card speaks with them: SCP03 with response MAC, challenges of 8 bytes."""

    key_bytes: int = 16
    i: int = 0x70  # in the answer to INITIALIZE UPDATE of an AES set
    level: int = 0x33  # of a session of an AES set
    key_length_sent: bool = True  # PUT KEY's layout that is tried first
    zero_kcv: bool = False  # the check value of an AES key is over zeros instead of ones

    @property
    def kind(self) -> KeyKind:
        """Of the sets that are put."""
        return KeyKind(AES, 8 * self.key_bytes)

    def impossible(self) -> str:
        """What no card can be, or what could not be finished; empty if there is nothing."""
        if self.key_bytes not in _KEY_BYTES:
            return f"migrates.key_bytes: {self.key_bytes}, needs 16 or 32"
        if self.i & S16:
            return "migrates.i: S16 has challenges of 16 bytes, which the 3DES sets of the same card do not take"
        if self.i not in _SPOKEN_I:
            return f"migrates.i: {self.i:02X}, needs 20, 30, 60 or 70: an AES set answers with MACs"
        if self.level not in LEVELS or not self.level & R_MAC:
            return f"migrates.level: {self.level:02X}, needs 11, 13 or 33: an AES set answers with MACs"
        promised = RESPONSE_MAC | (_RESPONSE_ENCRYPTION if self.level & R_ENCRYPTION else 0)
        return "" if self.i & promised == promised else f"migrates.level: i={self.i:02X} has no level {self.level:02X}"
