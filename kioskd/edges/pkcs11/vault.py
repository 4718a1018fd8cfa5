"""The token vault: `ports.Vault` on a PKCS#11 token. Handles go in, wrapped things come out, no key is ever read."""

from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, TypeGuard

from pkcs11 import Mechanism

from kioskd.edges.pkcs11 import scp02_channels, templates
from kioskd.edges.pkcs11.card_sets import AnySet, TokenSet
from kioskd.edges.pkcs11.des_keys import TokenDESSet
from kioskd.edges.pkcs11.judgement import refuse_leaks
from kioskd.edges.pkcs11.key_sets import TokenKeySets
from kioskd.edges.pkcs11.keys import TokenKey, session_key, session_keys
from kioskd.edges.pkcs11.scp02_channels import TokenSCP02
from kioskd.edges.pkcs11.token import Token
from kioskd.edges.pkcs11.wrapping import unwrap_secret, wrap_secret
from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DES_KEY_BYTES, kcv_des
from kioskd.gp.isd import AES_TYPE, DES_TYPE, S8_BYTES, SCP02, InitializeUpdateAnswer, KeyField
from kioskd.gp.keys import BLOCK_BYTES, BlockKey, kcv_aes, kcv_aes_zero
from kioskd.gp.scp02 import NO_MARK
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
        self._channels: dict[int, _Channel | TokenSCP02] = {}
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
            if isinstance(static, TokenDESSet) or parsed.scp == SCP02:
                return _speaks(static, parsed) and scp02_channels.proves(static, host_challenge, parsed)
            s_mac = session_key(self._token.session, static.mac, S_MAC, context, static.bits)
            self._keep_proof(_Proof(handle, context, s_mac))
            return _proven(s_mac, host_challenge, parsed)

    def open_channel(self, handle: KeyHandle, host_challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A secure channel; `ChannelBroken` for an answer that `proves` refuses."""
        parsed = InitializeUpdateAnswer.parse(answer)
        with self._token.guard("secure channel"):
            static = self._set(handle)
            if parsed.scp == SCP02:
                if not isinstance(static, TokenDESSet):
                    raise ChannelBroken("the card speaks SCP02, and the key set is not one of 3DES keys")
                return self._opened(scp02_channels.open_scp02(static, host_challenge, parsed, level))
            if level not in LEVELS or isinstance(static, TokenDESSet):
                raise VaultError(f"no secure channel has the level {level:02X} with these keys")
            session = self._session(handle, static, host_challenge + parsed.card_challenge)
            if not _proven(session.mac, host_challenge, parsed):
                _destroy(session)
                raise ChannelBroken("the card's cryptogram is not that of the key set")
        host = HostChannel.begin(session, level, parsed.mac_bytes)
        return self._opened(_Channel(static, session, host, host_challenge, parsed.card_challenge))

    def wrap_key_set(self, channel: ChannelHandle, new: KeyHandle, zero_kcv: bool = False) -> tuple[KeyField, ...]:
        """PUT KEY's fields, ENC MAC DEK and UNLOCK if there is one, under the channel's static DEK, by C_WrapKey."""
        with self._token.guard("PUT KEY"):
            opened, values = self._channel(channel), self._set(new)
            if isinstance(values, TokenDESSet):
                return _des_fields(opened, values)
            check = kcv_aes_zero if zero_kcv else kcv_aes
            whole = tuple(key.handle for key in values.members)
            wrappable = whole if isinstance(opened, TokenSCP02) else values.wrappable  # 24 bytes are blocks of 3DES
            return tuple(
                KeyField(AES_TYPE, _under_dek(opened, one), values.bits // 8, check(key))
                for one, key in zip(wrappable, values.members, strict=True)
            )

    def wrap_unlock_key(self, channel: ChannelHandle) -> bytes:
        """The unlock key of the channel's key set under its own DEK; `VaultError` without one."""
        with self._token.guard("UNLOCK"):
            opened = self._channel(channel)
            unlock = opened.unlock if isinstance(opened, TokenSCP02) else opened.static.unlock
            if unlock is None:
                raise VaultError("the key set of this channel has no unlock key")
            one = unlock.handle if isinstance(opened, TokenSCP02) else opened.static.wrappable[-1]
            return _under_dek(opened, one)

    def wrap_commands(self, channel: ChannelHandle, commands: tuple[CommandAPDU, ...]) -> WrappedScript:
        """EXTERNAL AUTHENTICATE and the commands; the channel is dead afterwards."""
        opened = self._channel(channel)
        del self._channels[channel]
        with self._token.guard("commands"):
            if isinstance(opened, TokenSCP02):
                journal, _ = self._journal_keys()
                script, body = scp02_channels.wrap_scp02(opened, commands, self._token.session, journal)
                return WrappedScript(script, (NO_MARK,) * len(commands), self._bound(body))
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
            body = self._unbound(sealed)
            if body[0] == scp02_channels.VERSION:
                return scp02_channels.unwrap_scp02(body, responses, self._journal_keys()[0])
            level, mac_bytes, enc, rmac = self._unseal(body)
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
                if isinstance(channel, TokenSCP02):
                    channel.destroy()
                elif channel is not None:
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

    def _opened(self, channel: _Channel | TokenSCP02) -> ChannelHandle:
        number = self._next()
        self._channels[number] = channel
        return ChannelHandle(number)

    def _channel(self, handle: ChannelHandle) -> _Channel | TokenSCP02:
        if handle not in self._channels:
            raise VaultError(f"channel {handle} is not known, was forgotten or is spent")
        return self._channels[handle]

    def _seal(self, host: HostChannel, opened: _Channel) -> bytes:
        """version 1 | level 1 | MAC length 1 | key length 1 | S-ENC | S-RMAC, both RFC 3394 | AES-CMAC of all that."""
        wrap, _ = self._journal_keys()
        head = bytes((_SEALED_VERSION, host.level, host.mac_bytes, opened.static.bits // 8))
        keys = (opened.session.enc, opened.session.rmac)
        return self._bound(head + b"".join(wrap_secret(wrap, _handle(key)) for key in keys))

    def _unseal(self, body: bytes) -> tuple[int, int, TokenKey, TokenKey]:
        wrap, _ = self._journal_keys()
        _, level, mac_bytes, _ = body[:_HEAD_BYTES]
        wrapped, half = body[_HEAD_BYTES:], (len(body) - _HEAD_BYTES) // 2
        enc, rmac = (
            TokenKey(unwrap_secret(wrap, one, templates.opened_session_key()))
            for one in (wrapped[:half], wrapped[half:])
        )
        return level, mac_bytes, enc, rmac

    def _bound(self, body: bytes) -> bytes:
        """With the journal's AES-CMAC of it."""
        return body + TokenKey(self._journal_keys()[1]).cmac(body)

    def _unbound(self, sealed: bytes) -> bytes:
        """What `_bound` was given; `VaultError` for anything else."""
        body, tag = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
        known = body[:1] in (bytes((_SEALED_VERSION,)), bytes((scp02_channels.VERSION,)))
        if not known or not compare_digest(TokenKey(self._journal_keys()[1]).cmac(body), tag):
            raise VaultError("the response keys were not sealed by this vault")
        return body


def _speaks(static: AnySet, answer: InitializeUpdateAnswer) -> TypeGuard[TokenDESSet]:
    """Whether it is a 3DES set, and the card speaks SCP02."""
    return isinstance(static, TokenDESSet) and answer.scp == SCP02


def _under_dek(opened: _Channel | TokenSCP02, key: Any) -> bytes:
    """A key under the channel's data encryption key: SCP02's own of the session, or SCP03's static one."""
    if isinstance(opened, TokenSCP02):
        return scp02_channels.wrapped_key(opened, key)
    dek = opened.static.dek.handle
    return bytes(dek.wrap_key(key, mechanism=Mechanism.AES_CBC, mechanism_param=_ZERO_IV))


def _des_fields(opened: _Channel | TokenSCP02, values: TokenDESSet) -> tuple[KeyField, ...]:
    if not isinstance(opened, TokenSCP02):
        raise VaultError("a 3DES set is not put over SCP03")
    return tuple(
        KeyField(DES_TYPE, _under_dek(opened, key.handle), DES_KEY_BYTES, kcv_des(key), with_length=False)
        for key in values.members
    )


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
