"""The token vault: `ports.Vault` on a PKCS#11 token. Handles go in, wrapped things come out, no key is ever read."""

from dataclasses import dataclass
from hmac import compare_digest
from typing import Any

from pkcs11 import Mechanism

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.judgement import refuse_leaks
from kioskd.edges.pkcs11.key_sets import TokenKeySets, TokenSet
from kioskd.edges.pkcs11.keys import TokenKey, session_key, session_keys
from kioskd.edges.pkcs11.token import Token
from kioskd.edges.pkcs11.wrapping import unwrap_secret, wrap_secret
from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.isd import AES_TYPE, S8_BYTES, InitializeUpdateAnswer, KeyField
from kioskd.gp.keys import BLOCK_BYTES, BlockKey, kcv_aes, kcv_aes_zero
from kioskd.gp.scp03 import LEVELS, S_MAC, HostChannel, Mark, SessionKeys, card_cryptogram, unwrap
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript

_ZERO_IV = bytes(BLOCK_BYTES)
_HEAD_BYTES = 4
_SEALED_VERSION = 2
_MAC_BYTES = 16

RESTART_AFTER = 20_000
"""So many key sets and channels, those of 5,000 cards: SoftHSM2 has lost 15 MB by then (docs/decisions/009)."""


@dataclass(frozen=True, slots=True)
class _Channel:
    """One secure channel before its EXTERNAL AUTHENTICATE."""

    static: TokenSet
    session: SessionKeys
    host: HostChannel
    host_challenge: bytes
    card_challenge: bytes


@dataclass(frozen=True, slots=True)
class _Proof:
    """The S-MAC that checked a card's cryptogram."""

    handle: int
    context: bytes  # both challenges
    s_mac: TokenKey


class TokenVault(TokenKeySets):
    """`ports.Vault` on a token. Any thread may call it; one at a time is served."""

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self._channels: dict[int, _Channel] = {}
        self._proof: _Proof | None = None

    @property
    def instant(self) -> bool:
        """It is not: a private-key operation takes milliseconds, and a network HSM longer."""
        return False

    def refuse_leaks(self, bits: int) -> None:
        """`VaultError` if a key of cards with keys of `bits` would leave this token."""
        refuse_leaks(self._token, bits)

    def challenge(self, size: int = S8_BYTES) -> bytes:
        """Fresh random bytes of the token: 8, or 16 for S16."""
        with self._token.guard("random"):
            return bytes(self._token.session.generate_random(8 * size))

    def proves(self, handle: KeyHandle, host_challenge: bytes, answer: bytes) -> bool:
        """Whether the INITIALIZE UPDATE answer's cryptogram is that of the key set; `Malformed` if it is none."""
        parsed = InitializeUpdateAnswer.parse(answer)
        context = host_challenge + parsed.card_challenge
        with self._token.guard("card cryptogram"):
            static = self._set(handle)
            s_mac = session_key(self._token.session, static.mac, S_MAC, context, static.bits)
            self._keep_proof(_Proof(handle, context, s_mac))
            return _proven(s_mac, host_challenge, parsed)

    def open_channel(self, handle: KeyHandle, host_challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A secure channel; `ChannelBroken` for an answer that `proves` refuses."""
        if level not in LEVELS:
            raise VaultError(f"no secure channel has the level {level:02X}")
        parsed = InitializeUpdateAnswer.parse(answer)
        with self._token.guard("secure channel"):
            static = self._set(handle)
            session = self._session(handle, static, host_challenge + parsed.card_challenge)
            if not _proven(session.mac, host_challenge, parsed):
                _destroy(session)
                raise ChannelBroken("the card's cryptogram is not that of the key set")
        host = HostChannel.begin(session, level, parsed.mac_bytes)
        number = self._next()
        self._channels[number] = _Channel(static, session, host, host_challenge, parsed.card_challenge)
        return ChannelHandle(number)

    def wrap_key_set(self, channel: ChannelHandle, new: KeyHandle, zero_kcv: bool = False) -> tuple[KeyField, ...]:
        """PUT KEY's fields, ENC MAC DEK and UNLOCK if there is one, under the channel's static DEK, by C_WrapKey."""
        check = kcv_aes_zero if zero_kcv else kcv_aes
        with self._token.guard("PUT KEY"):
            dek, values = self._channel(channel).static.dek.handle, self._set(new)
            return tuple(
                KeyField(
                    AES_TYPE,
                    bytes(dek.wrap_key(one, mechanism=Mechanism.AES_CBC, mechanism_param=_ZERO_IV)),
                    values.bits // 8,
                    check(key),
                )
                for one, key in zip(values.wrappable, values.members, strict=True)
            )

    def wrap_unlock_key(self, channel: ChannelHandle) -> bytes:
        """The unlock key of the channel's key set under its own DEK; `VaultError` without one."""
        with self._token.guard("UNLOCK"):
            values = self._channel(channel).static
            if values.unlock is None:
                raise VaultError("the key set of this channel has no unlock key")
            wide = values.wrappable[-1]
            return bytes(values.dek.handle.wrap_key(wide, mechanism=Mechanism.AES_CBC, mechanism_param=_ZERO_IV))

    def wrap_commands(self, channel: ChannelHandle, commands: tuple[CommandAPDU, ...]) -> WrappedScript:
        """EXTERNAL AUTHENTICATE and the commands; the channel is dead afterwards."""
        opened = self._channel(channel)
        del self._channels[channel]
        with self._token.guard("commands"):
            try:
                first, host = opened.host.external_authenticate(opened.host_challenge, opened.card_challenge)
                wrapped, marks = [first], []
                for command in commands:
                    secured, mark, host = host.wrap(command)
                    wrapped.append(secured)
                    marks.append(mark)
                sealed = self._seal(host, opened)
            finally:
                _destroy(opened.session)
        return WrappedScript(tuple(wrapped), tuple(marks), sealed)

    def unwrap_responses(
        self, sealed: bytes, marks: tuple[Mark, ...], responses: tuple[ResponseAPDU, ...]
    ) -> tuple[ResponseAPDU | None, ...]:
        """The responses in the clear, in step with `marks`; None where a MAC is wrong. Any process's vault can."""
        if len(marks) != len(responses):
            raise VaultError(f"{len(responses)} responses, {len(marks)} marks")
        with self._token.guard("responses"):
            level, mac_bytes, enc, rmac = self._unseal(sealed)
            try:
                return tuple(
                    _response(enc, rmac, level, mark, one, mac_bytes)
                    for mark, one in zip(marks, responses, strict=True)
                )
            finally:
                for key in (enc, rmac):
                    key.handle.destroy()

    def forget(self, handles: tuple[int, ...]) -> None:
        """Destroys key sets and channels; unknown handles are ignored."""
        with self._token.guard("forget"):
            if self._proof is not None and self._proof.handle in handles:
                self._keep_proof(None)
            for handle in handles:
                self._forget_set(handle)
                channel = self._channels.pop(handle, None)
                if channel is not None:
                    _destroy(channel.session)

    def _revive(self) -> None:
        """Comes back to a token that was lost; starts a module anew that has worked long, if no card needs it now."""
        idle = not self._sets and not self._channels
        if idle and self._made >= RESTART_AFTER:
            self._token.restart()
        elif not self._token.revive():
            return
        self._made = 0
        self._forget_all()
        self._channels.clear()
        self._proof = None

    def _session(self, handle: KeyHandle, static: TokenSet, context: bytes) -> SessionKeys:
        """The session's keys; S-MAC is the one that has just proven the card, if that was in this session."""
        proof, s_mac = self._proof, None
        if proof is not None and (proof.handle, proof.context) == (handle, context):
            s_mac, self._proof = proof.s_mac, None
        return session_keys(self._token.session, static.keys, context, static.bits, s_mac)

    def _keep_proof(self, proof: "_Proof | None") -> None:
        """Keeps the S-MAC of the newest proof: a channel is mostly opened right after it."""
        before, self._proof = self._proof, proof
        if before is not None:
            before.s_mac.handle.destroy()

    def _channel(self, handle: ChannelHandle) -> _Channel:
        if handle not in self._channels:
            raise VaultError(f"channel {handle} is not known, was forgotten or is spent")
        return self._channels[handle]

    def _seal(self, host: HostChannel, opened: _Channel) -> bytes:
        """version 1 | level 1 | MAC length 1 | key length 1 | S-ENC | S-RMAC, both RFC 3394 | AES-CMAC of all that."""
        wrap, mac = self._journal_keys()
        head = bytes((_SEALED_VERSION, host.level, host.mac_bytes, opened.static.bits // 8))
        keys = (opened.session.enc, opened.session.rmac)
        body = head + b"".join(wrap_secret(wrap, _handle(key)) for key in keys)
        return body + TokenKey(mac).cmac(body)

    def _unseal(self, sealed: bytes) -> tuple[int, int, TokenKey, TokenKey]:
        wrap, mac = self._journal_keys()
        body, tag = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
        if body[:1] != bytes((_SEALED_VERSION,)) or not compare_digest(TokenKey(mac).cmac(body), tag):
            raise VaultError("the response keys were not sealed by this vault")
        _, level, mac_bytes, _ = body[:_HEAD_BYTES]
        wrapped, half = body[_HEAD_BYTES:], (len(body) - _HEAD_BYTES) // 2
        enc, rmac = (
            TokenKey(unwrap_secret(wrap, one, templates.opened_session_key()))
            for one in (wrapped[:half], wrapped[half:])
        )
        return level, mac_bytes, enc, rmac


def _response(
    enc: TokenKey, rmac: TokenKey, level: int, mark: Mark, response: ResponseAPDU, mac_bytes: int
) -> ResponseAPDU | None:
    try:
        return unwrap(enc, rmac, level, mark, response, mac_bytes)
    except ChannelBroken:
        return None


def _proven(s_mac: BlockKey, host_challenge: bytes, answer: InitializeUpdateAnswer) -> bool:
    expected = card_cryptogram(s_mac, host_challenge, answer.card_challenge)
    return compare_digest(expected, answer.card_cryptogram)


def _handle(key: object) -> Any:
    assert isinstance(key, TokenKey), "a channel of this vault has its keys in the token"
    return key.handle


def _destroy(session: SessionKeys) -> None:
    for key in (session.enc, session.mac, session.rmac):
        _handle(key).destroy()
