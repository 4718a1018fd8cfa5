"""The software vault: the verbs of `ports.Vault` over keys in this process's memory.

It is the default, and what a token must match: the same labels and figures, handles in, wrapped things out.
"""

from dataclasses import dataclass
from hmac import compare_digest

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.isd import AES_TYPE, S8_BYTES, SCP02, InitializeUpdateAnswer, KeyField
from kioskd.gp.keys import BLOCK_BYTES, BlockKey, kcv_aes, kcv_aes_zero
from kioskd.gp.scp02 import NO_MARK
from kioskd.gp.scp03 import LEVELS, HostChannel, Mark, SessionKeys, card_cryptogram, unwrap
from kioskd.rekey.asks import ChannelHandle, KeyHandle, WrappedScript
from kioskd.secret import Secret
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.key_sets import KeySets
from kioskd.virtual.scp02_channels import SCP02Opened, open_scp02, proves, unwrap_scp02, wrap_scp02, wrapped_scp02
from kioskd.virtual.sealed import SealedFile

_RESPONSES = b"kioskd response keys 1"
_SCP02_RESPONSES = b"kioskd response keys of SCP02 1"
_NONCE_BYTES = 12
_ZERO_IV = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class _Channel:
    """One secure channel before its EXTERNAL AUTHENTICATE, with the static set that PUT KEY encrypts under."""

    static: KeyValues
    session: "_SessionValues"
    host: HostChannel
    host_challenge: bytes
    card_challenge: bytes


@dataclass(frozen=True, slots=True)
class _SessionValues:
    """The session keys that check responses, to be sealed."""

    enc: Secret
    rmac: Secret


class SoftVault(KeySets):
    """`ports.Vault` in software. Key sets and channels live in memory until they are forgotten."""

    def __init__(self, file: SealedFile) -> None:
        super().__init__(file)
        self._channels: dict[int, _Channel | SCP02Opened] = {}

    @property
    def instant(self) -> bool:
        """It is: the slowest verb is one RSA decryption."""
        return True

    def challenge(self, size: int = S8_BYTES) -> bytes:
        """Fresh random bytes: 8, or 16 for S16."""
        return self._random(size)

    def proves(self, handle: KeyHandle, host_challenge: bytes, answer: bytes) -> bool:
        """Whether the INITIALIZE UPDATE answer's cryptogram is that of the key set; `Malformed` if it is none."""
        parsed = InitializeUpdateAnswer.parse(answer)
        if parsed.scp == SCP02:
            return proves(self._set(handle), host_challenge, parsed)
        values = self._set(handle)
        return values.speaks(parsed.scp) and _proven(_session(values, host_challenge, parsed), host_challenge, parsed)

    def open_channel(self, handle: KeyHandle, host_challenge: bytes, answer: bytes, level: int) -> ChannelHandle:
        """A secure channel; `ChannelBroken` for an answer that `proves` refuses."""
        values, parsed = self._set(handle), InitializeUpdateAnswer.parse(answer)
        if parsed.scp == SCP02:
            number = self._next()
            self._channels[number] = open_scp02(values, host_challenge, parsed, level)
            return ChannelHandle(number)
        if level not in LEVELS or not values.speaks(parsed.scp):
            raise VaultError(f"no secure channel has the level {level:02X} with these keys")
        session = _session(values, host_challenge, parsed)
        if not _proven(session, host_challenge, parsed):
            raise ChannelBroken("the card's cryptogram is not that of the key set")
        number = self._next()
        self._channels[number] = _Channel(
            static=values,
            session=_SessionValues(_value(session.enc), _value(session.rmac)),
            host=HostChannel.begin(session, level, parsed.mac_bytes),
            host_challenge=host_challenge,
            card_challenge=parsed.card_challenge,
        )
        return ChannelHandle(number)

    def wrap_key_set(self, channel: ChannelHandle, new: KeyHandle, zero_kcv: bool = False) -> tuple[KeyField, ...]:
        """PUT KEY's fields, ENC MAC DEK and UNLOCK if there is one, under the channel's static DEK."""
        opened, values = self._channel(channel), self._set(new)
        if isinstance(opened, SCP02Opened):
            return tuple(wrapped_scp02(opened, value, des=values.des, zero_kcv=zero_kcv) for value in values.members)
        if values.des:
            raise VaultError("a 3DES set is not put over SCP03")
        return tuple(self._wrapped(opened.static.keys.dek, value, zero_kcv) for value in values.members)

    def wrap_unlock_key(self, channel: ChannelHandle) -> bytes:
        """The unlock key of the channel's key set under its own DEK; `VaultError` without one."""
        opened = self._channel(channel)
        unlock = opened.unlock if isinstance(opened, SCP02Opened) else opened.static.unlock
        if unlock is None:
            raise VaultError("the key set of this channel has no unlock key")
        if isinstance(opened, SCP02Opened):
            return wrapped_scp02(opened, unlock, des=True, zero_kcv=False).ciphertext
        return self._wrapped(opened.static.keys.dek, unlock, zero_kcv=False).ciphertext

    def wrap_commands(self, channel: ChannelHandle, commands: tuple[CommandAPDU, ...]) -> WrappedScript:
        """EXTERNAL AUTHENTICATE and the commands; the channel is dead afterwards."""
        opened = self._channel(channel)
        del self._channels[channel]
        if isinstance(opened, SCP02Opened):
            secured, kept = wrap_scp02(opened, commands)
            return WrappedScript(secured, (NO_MARK,) * len(commands), self._seal_under(_SCP02_RESPONSES, kept))
        first, host = opened.host.external_authenticate(opened.host_challenge, opened.card_challenge)
        wrapped, marks = [first], []
        for command in commands:
            one, mark, host = host.wrap(command)
            wrapped.append(one)
            marks.append(mark)
        return WrappedScript(tuple(wrapped), tuple(marks), self._seal(host, opened.session))

    def unwrap_responses(
        self, sealed: bytes, marks: tuple[Mark, ...], responses: tuple[ResponseAPDU, ...]
    ) -> tuple[ResponseAPDU | None, ...]:
        """The responses in the clear, in step with `marks`; None where a MAC is wrong. Any process's vault can."""
        if len(marks) != len(responses):
            raise VaultError(f"{len(responses)} responses, {len(marks)} marks")
        if NO_MARK in marks:
            return unwrap_scp02(self._unseal_under(_SCP02_RESPONSES, sealed), responses)
        level, mac_bytes, session = self._unseal(sealed)
        enc, rmac = AESKey(session.enc), AESKey(session.rmac)
        plain: list[ResponseAPDU | None] = []
        for mark, response in zip(marks, responses, strict=True):
            try:
                plain.append(unwrap(enc, rmac, level, mark, response, mac_bytes))
            except ChannelBroken:
                plain.append(None)
        return tuple(plain)

    def forget(self, handles: tuple[int, ...]) -> None:
        """Drops key sets and channels; unknown handles are ignored."""
        for handle in handles:
            self._sets.pop(handle, None)
            self._channels.pop(handle, None)

    def _wrapped(self, dek: BlockKey, value: Secret, zero_kcv: bool) -> KeyField:
        """One key under a data encryption key; one of 24 bytes is filled to whole blocks with random bytes."""
        filled = Secret(value.reveal() + self._random(-len(value) % BLOCK_BYTES))
        ciphertext = dek.encrypt_cbc(_ZERO_IV, filled.reveal())
        check = kcv_aes_zero if zero_kcv else kcv_aes
        return KeyField(AES_TYPE, ciphertext, len(value), check(AESKey(value)))

    def _channel(self, handle: ChannelHandle) -> "_Channel | SCP02Opened":
        if handle not in self._channels:
            raise VaultError(f"channel {handle} is not known, was forgotten or is spent")
        return self._channels[handle]

    def _seal(self, host: HostChannel, session: _SessionValues) -> bytes:
        """nonce 12 | AES-256-GCM under the journal key of: level 1 | MAC length 1 | S-ENC | S-RMAC."""
        content = bytes((host.level, host.mac_bytes)) + session.enc.reveal() + session.rmac.reveal()
        return self._seal_under(_RESPONSES, Secret(content))

    def _seal_under(self, what: bytes, content: Secret) -> bytes:
        nonce = self._random(_NONCE_BYTES)
        return nonce + AESGCM(self._held().journal.reveal()).encrypt(nonce, content.reveal(), what)

    def _unseal_under(self, what: bytes, sealed: bytes) -> Secret:
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return Secret(AESGCM(self._held().journal.reveal()).decrypt(nonce, rest, what))
        except (InvalidTag, ValueError) as wrong:
            raise VaultError("the response keys were not sealed by this vault") from wrong

    def _unseal(self, sealed: bytes) -> tuple[int, int, _SessionValues]:
        content = self._unseal_under(_RESPONSES, sealed)
        level, mac_bytes, keys = content.reveal()[0], content.reveal()[1], content.reveal()[2:]
        half = len(keys) // 2
        return level, mac_bytes, _SessionValues(Secret(keys[:half]), Secret(keys[half:]))


def _session(values: KeyValues, host_challenge: bytes, answer: InitializeUpdateAnswer) -> SessionKeys:
    return derive_session_keys(values.keys, host_challenge, answer.card_challenge, values.bits)


def _proven(session: SessionKeys, host_challenge: bytes, answer: InitializeUpdateAnswer) -> bool:
    expected = card_cryptogram(session.mac, host_challenge, answer.card_challenge)
    return compare_digest(expected, answer.card_cryptogram)


def _value(key: BlockKey) -> Secret:
    assert isinstance(key, AESKey)  # `derive_session_keys` makes them in memory
    return key.secret
