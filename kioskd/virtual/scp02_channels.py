"""SCP02 in the software vault: what a channel of a 3DES set needs, and what is sealed to check its responses later.

The response MACs of SCP02 are chained through the commands as well, so these are sealed with the key that checks them.
"""

import json
from dataclasses import dataclass
from hmac import compare_digest

from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.aes import AESKey
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DESKey, SCP02SessionKeys, kcv_des, scp02_session_keys
from kioskd.gp.isd import AES_TYPE, DES_TYPE, InitializeUpdateAnswer, KeyField
from kioskd.gp.keys import kcv_aes, kcv_aes_zero
from kioskd.gp.scp02 import LEVELS, R_MAC, ResponseChain, card_cryptogram, read_responses, wrap_script
from kioskd.secret import Secret
from kioskd.virtual.derivation import KeyValues


@dataclass(frozen=True, slots=True)
class SCP02Opened:
    """One channel before its EXTERNAL AUTHENTICATE."""

    keys: SCP02SessionKeys[DESKey]
    level: int
    host_challenge: bytes
    answer: InitializeUpdateAnswer
    unlock: Secret | None = None  # of the key set


def session_of(values: KeyValues, answer: InitializeUpdateAnswer) -> SCP02SessionKeys[DESKey]:
    """The session keys of a set that speaks SCP02."""
    return scp02_session_keys(DESKey(values.enc), DESKey(values.mac), DESKey(values.dek), answer.sequence or b"")


def proves(values: KeyValues, host_challenge: bytes, answer: InitializeUpdateAnswer) -> bool:
    """Whether the card's cryptogram is that of the key set."""
    if not values.speaks(answer.scp):
        return False
    keys = session_of(values, answer)
    expected = card_cryptogram(keys.enc, host_challenge, answer.sequence or b"", answer.card_challenge)
    return compare_digest(expected, answer.card_cryptogram)


def open_scp02(values: KeyValues, host_challenge: bytes, answer: InitializeUpdateAnswer, level: int) -> SCP02Opened:
    """A channel; `ChannelBroken` for an answer that `proves` refuses."""
    if level not in LEVELS:
        raise VaultError(f"SCP02 has no level {level:02X}")
    if not proves(values, host_challenge, answer):
        raise ChannelBroken("the card's cryptogram is not that of the key set")
    return SCP02Opened(session_of(values, answer), level, host_challenge, answer, values.unlock)


def wrap_scp02(opened: SCP02Opened, commands: tuple[CommandAPDU, ...]) -> tuple[tuple[CommandAPDU, ...], Secret]:
    """EXTERNAL AUTHENTICATE and the commands, and what is to be sealed."""
    wrapped, mac = wrap_script(opened.keys, opened.level, opened.host_challenge, opened.answer, commands)
    kept = {
        "level": opened.level,
        "mac": mac.hex(),
        "rmac": opened.keys.rmac.secret.reveal().hex(),
        "commands": [one.encode().hex() for one in commands] if opened.level & R_MAC else [],
    }
    return wrapped, Secret(json.dumps(kept).encode())


def unwrap_scp02(sealed: Secret, responses: tuple[ResponseAPDU, ...]) -> tuple[ResponseAPDU | None, ...]:
    """The responses without their MACs, as `read_responses` gives them."""
    kept = json.loads(sealed.reveal())
    if not kept["level"] & R_MAC:
        return responses
    chain = ResponseChain(DESKey(Secret(bytes.fromhex(kept["rmac"]))), bytes.fromhex(kept["mac"]))
    return read_responses(chain, tuple(CommandAPDU.decode(bytes.fromhex(one)) for one in kept["commands"]), responses)


def wrapped_scp02(opened: SCP02Opened, value: Secret, *, des: bool, zero_kcv: bool) -> KeyField:
    """One key under the session's DEK: 3DES-ECB, whatever the key is."""
    if len(value) % 8:
        raise VaultError("a key that is not whole blocks of 3DES")
    ciphertext = opened.keys.dek.encrypt_block(value.reveal())
    if des:
        return KeyField(DES_TYPE, ciphertext, len(value), kcv_des(DESKey(value)), with_length=False)
    check = kcv_aes_zero if zero_kcv else kcv_aes
    return KeyField(AES_TYPE, ciphertext, len(value), check(AESKey(value)))
