"""SCP02 in a token: a channel of a 3DES set, PUT KEY's fields under its S-DEK, and what is sealed to check its answers.

    sealed               version 1 | level 1
    with response MAC    and C-MAC of EXTERNAL AUTHENTICATE 8 | S-RMAC 24 | its first half 32 | a key 40 | commands

The keys are wrapped under the journal key (RFC 3394). The commands, which the chain of response MACs goes through, have
key sets under an S-DEK in them, so they are encrypted under a key of their own: AES-CBC, used once, zero IV.
"""

import json
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from pkcs11 import KeyType, Mechanism, exceptions

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.des_keys import TokenDESKey, TokenDESSet, destroy, session_enc, session_keys
from kioskd.edges.pkcs11.keys import TokenKey
from kioskd.edges.pkcs11.token import destroyed_after
from kioskd.edges.pkcs11.wrapping import unwrap_secret, wrap_secret
from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import SCP02SessionKeys
from kioskd.gp.isd import InitializeUpdateAnswer
from kioskd.gp.keys import BLOCK_BYTES, pad80, unpad80
from kioskd.gp.scp02 import LEVELS, MAC_BYTES, R_MAC, ResponseChain, card_cryptogram, read_responses, wrap_script

VERSION = 3
_ZERO_IV = bytes(BLOCK_BYTES)
_RMAC_BYTES, _SINGLE_BYTES, _KEY_BYTES = 24, 32, 40  # wrapped

NO_WRAP = (
    "PUT KEY of SCP02: this token has no C_WrapKey with 3DES-ECB, and no card's key leaves it in the clear; for these "
    "cards use a token that has it (`kioskd hsm check` tells), or the software vault"
)


@dataclass(frozen=True, slots=True)
class TokenSCP02:
    """One channel before its EXTERNAL AUTHENTICATE."""

    session: SCP02SessionKeys[TokenDESKey]
    level: int
    host_challenge: bytes
    answer: InitializeUpdateAnswer
    unlock: TokenDESKey | None = None  # of the key set

    def destroy(self) -> None:
        """Ends its session keys."""
        destroy(self.session)


def proves(static: TokenDESSet, host_challenge: bytes, answer: InitializeUpdateAnswer) -> bool:
    """Whether the card's cryptogram is that of the key set."""
    enc = session_enc(static, answer.sequence or b"")
    return destroyed_after([enc], lambda: _proven(enc, host_challenge, answer))


def open_scp02(static: TokenDESSet, host_challenge: bytes, answer: InitializeUpdateAnswer, level: int) -> TokenSCP02:
    """A channel; `ChannelBroken` for an answer that `proves` refuses."""
    if level not in LEVELS:
        raise VaultError(f"SCP02 has no level {level:02X}")
    session = session_keys(static, answer.sequence or b"")
    if not _proven(session.enc, host_challenge, answer):
        destroy(session)
        raise ChannelBroken("the card's cryptogram is not that of the key set")
    return TokenSCP02(session, level, host_challenge, answer, static.unlock)


def wrapped_key(opened: TokenSCP02, key: Any) -> bytes:
    """A key under the session's DEK: 3DES-ECB, whatever the key is."""
    try:
        return bytes(opened.session.dek.handle.wrap_key(key, mechanism=Mechanism.DES3_ECB))
    except exceptions.MechanismInvalid as lacking:
        raise VaultError(NO_WRAP) from lacking


def wrap_scp02(
    opened: TokenSCP02, commands: tuple[CommandAPDU, ...], session: Any, journal: Any
) -> tuple[tuple[CommandAPDU, ...], bytes]:
    """EXTERNAL AUTHENTICATE and the commands, and what the journal's MAC is to bind. The session keys end here."""
    try:
        wrapped, seed = wrap_script(opened.session, opened.level, opened.host_challenge, opened.answer, commands)
        head = bytes((VERSION, opened.level))
        if not opened.level & R_MAC:
            return wrapped, head
        rmac = opened.session.rmac
        chain = seed + wrap_secret(journal, rmac.handle) + wrap_secret(journal, rmac.single)
        return wrapped, head + chain + _hidden(session, journal, commands)
    finally:
        opened.destroy()


def unwrap_scp02(body: bytes, responses: tuple[ResponseAPDU, ...], journal: Any) -> tuple[ResponseAPDU | None, ...]:
    """The responses without their MACs, as `read_responses` gives them; the journal's MAC has held."""
    if not body[1] & R_MAC:
        return responses
    seed, rest = body[2 : 2 + MAC_BYTES], body[2 + MAC_BYTES :]
    wrapped, rest = rest[:_RMAC_BYTES], rest[_RMAC_BYTES:]
    half, rest = rest[:_SINGLE_BYTES], rest[_SINGLE_BYTES:]
    template = templates.des_opened_session_key()
    rmac = TokenDESKey(unwrap_secret(journal, wrapped, template, kind=KeyType.DES2))
    try:
        rmac.single = unwrap_secret(journal, half, template, kind=KeyType.DES3)
        return read_responses(ResponseChain(rmac, seed), _shown(journal, rest), responses)
    finally:
        rmac.destroy()


def _hidden(session: Any, journal: Any, commands: tuple[CommandAPDU, ...]) -> bytes:
    plain = pad80(json.dumps([one.encode().hex() for one in commands]).encode())
    key = session.generate_key(KeyType.AES, 256, store=False, template=templates.session_key())
    return destroyed_after([key], lambda: wrap_secret(journal, key) + TokenKey(key).encrypt_cbc(_ZERO_IV, plain))


def _shown(journal: Any, hidden: bytes) -> tuple[CommandAPDU, ...]:
    key = unwrap_secret(journal, hidden[:_KEY_BYTES], templates.opened_session_key())
    padded = destroyed_after([key], lambda: TokenKey(key).decrypt_cbc(_ZERO_IV, hidden[_KEY_BYTES:]))
    return tuple(CommandAPDU.decode(bytes.fromhex(one)) for one in json.loads(unpad80(padded) or b"[]"))


def _proven(enc: TokenDESKey, host_challenge: bytes, answer: InitializeUpdateAnswer) -> bool:
    expected = card_cryptogram(enc, host_challenge, answer.sequence or b"", answer.card_challenge)
    return compare_digest(expected, answer.card_cryptogram)
