"""Secure Channel Protocol 02 (GPC 2.3.1, appendix E), both ends, pure: each step returns a successor.

Spoken: three 3DES keys, explicit initiation, C-MAC on the modified command, ICV encrypted (i=15, i=55), with response
MAC as well (i=35, i=75); levels 00, 01, 03, 11, 13.

    cryptogram   3DES-CBC-MAC under S-ENC, card: host 8 | sequence 2 | challenge 6, host: sequence | challenge | host
    C-MAC        retail MAC under S-MAC of CLA|04 INS P1 P2 Lc+8 | data, before encryption
                 ICV: DES under the first half of S-MAC of the C-MAC before; zero for EXTERNAL AUTHENTICATE
    C-ENC        3DES-CBC under S-ENC, ICV zero
    R-MAC        retail MAC under S-RMAC of CLA INS P1 P2 Lc | data | Li | response | SW
                 ICV: the R-MAC before; first the C-MAC of EXTERNAL AUTHENTICATE
"""

from dataclasses import dataclass, replace
from hmac import compare_digest

from kioskd.errors import ChannelBroken, Malformed
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DES_BLOCK_BYTES, SCP02SessionKeys
from kioskd.gp.isd import InitializeUpdateAnswer, external_authenticate
from kioskd.gp.keys import DESBlockKey, pad80, unpad80
from kioskd.gp.scp03 import Mark

LEVELS = (0x00, 0x01, 0x03, 0x11, 0x13)
C_MAC, C_DECRYPTION, R_MAC = 0x01, 0x02, 0x10
MAC_BYTES = 8
CHALLENGE_BYTES = 6
SEQUENCE_MAX = 0x7FFF

NO_MARK = Mark(b"", 0)
"""In the place of SCP03's marks: the response MACs of SCP02 are a chain of their own."""

_ZERO = bytes(DES_BLOCK_BYTES)


def card_cryptogram(s_enc: DESBlockKey, host_challenge: bytes, sequence: bytes, card_challenge: bytes) -> bytes:
    """The card's proof, 8 bytes (E.4.2.1)."""
    return _cbc_mac(s_enc, host_challenge + sequence + card_challenge)


def host_cryptogram(s_enc: DESBlockKey, host_challenge: bytes, sequence: bytes, card_challenge: bytes) -> bytes:
    """The host's proof, 8 bytes (E.4.2.2)."""
    return _cbc_mac(s_enc, sequence + card_challenge + host_challenge)


def pseudo_random_challenge(s_mac: DESBlockKey, aid: bytes) -> bytes:
    """The card challenge of i=55: the first 6 bytes of the retail MAC of the application's name (E.4.2.3)."""
    return s_mac.retail_mac(_ZERO, _pad80(aid))[:CHALLENGE_BYTES]


@dataclass(frozen=True, slots=True)
class HostChannel:
    """The host's end."""

    keys: SCP02SessionKeys[DESBlockKey]
    level: int
    mac: bytes = b""  # the C-MAC before; empty at EXTERNAL AUTHENTICATE

    @classmethod
    def begin(cls, keys: SCP02SessionKeys[DESBlockKey], level: int) -> "HostChannel":
        """A channel before EXTERNAL AUTHENTICATE."""
        if level not in LEVELS:
            raise ValueError(f"SCP02 has no level {level:02X}")
        return cls(keys, level)

    def external_authenticate(
        self, host_challenge: bytes, sequence: bytes, card_challenge: bytes
    ) -> tuple[CommandAPDU, "HostChannel"]:
        """EXTERNAL AUTHENTICATE with its MAC, and the channel after it."""
        cryptogram = host_cryptogram(self.keys.enc, host_challenge, sequence, card_challenge)
        plain = external_authenticate(self.level, cryptogram)
        mac = _command_mac(self.keys.mac, self.mac, plain)
        return _secured(plain, plain.data, mac), replace(self, mac=mac)

    def wrap(self, command: CommandAPDU) -> tuple[CommandAPDU, "HostChannel"]:
        """The command MACed and encrypted as the level asks, and the channel after it."""
        if not self.level & C_MAC:
            return command, self
        mac = _command_mac(self.keys.mac, self.mac, command)
        data = command.data
        if self.level & C_DECRYPTION and data:
            data = self.keys.enc.encrypt_cbc(_ZERO, _pad80(data))
        return _secured(command, data, mac), replace(self, mac=mac)


def wrap_script(
    keys: SCP02SessionKeys[DESBlockKey],
    level: int,
    host_challenge: bytes,
    answer: InitializeUpdateAnswer,
    commands: tuple[CommandAPDU, ...],
) -> tuple[tuple[CommandAPDU, ...], bytes]:
    """EXTERNAL AUTHENTICATE and the commands, secured, and the C-MAC that the chain of response MACs starts from."""
    first, host = HostChannel.begin(keys, level).external_authenticate(
        host_challenge, answer.sequence or b"", answer.card_challenge
    )
    seed, wrapped = host.mac, [first]
    for command in commands:
        secured, host = host.wrap(command)
        wrapped.append(secured)
    return tuple(wrapped), seed


def read_responses(
    chain: "ResponseChain", commands: tuple[CommandAPDU, ...], responses: tuple[ResponseAPDU, ...]
) -> tuple[ResponseAPDU | None, ...]:
    """The responses without their MACs; None from the first wrong one on: the chain is broken there."""
    plain: list[ResponseAPDU | None] = []
    for command, response in zip(commands, responses, strict=False):
        try:
            one, chain = chain.unwrap(command, response)
        except ChannelBroken:
            break
        plain.append(one)
    return (*plain, *((None,) * (len(responses) - len(plain))))


@dataclass(frozen=True, slots=True)
class ResponseChain:
    """Checks and makes response MACs: both ends have one.

    An error goes without a MAC. Some cards chain it all the same, some do not, and nothing tells before: the reader
    follows both, and what its next right MAC went through is the card's.
    """

    s_rmac: DESBlockKey
    mac: bytes  # the R-MAC before; first the C-MAC of EXTERNAL AUTHENTICATE
    through_errors: bytes = b""  # the same on a card that chains errors, once there was one
    chains_errors: bool = False  # the card's own habit

    def unwrap(self, command: CommandAPDU, response: ResponseAPDU) -> tuple[ResponseAPDU, "ResponseChain"]:
        """The response to a plain command without its MAC; `ChannelBroken` for a wrong one. Errors carry none."""
        if not response.carries_mac:
            bare = ResponseAPDU(b"", response.sw)
            return response, replace(self, through_errors=self._mac(self.through_errors or self.mac, command, bare))
        if len(response.data) < MAC_BYTES:
            raise ChannelBroken(f"a response of {len(response.data)} bytes has no room for its MAC")
        plain = ResponseAPDU(response.data[:-MAC_BYTES], response.sw)
        for before in (self.mac, self.through_errors):
            mac = self._mac(before, command, plain) if before else b""
            if compare_digest(mac, response.data[-MAC_BYTES:]):
                return plain, replace(self, mac=mac, through_errors=b"")
        raise ChannelBroken("the response's MAC is wrong")

    def wrap(self, command: CommandAPDU, response: ResponseAPDU) -> tuple[ResponseAPDU, "ResponseChain"]:
        """The response to a plain command with its MAC; errors go plain."""
        told = response if response.carries_mac else ResponseAPDU(b"", response.sw)
        mac = self._mac(self.mac, command, told)
        if response.carries_mac:
            return ResponseAPDU(response.data + mac, response.sw), replace(self, mac=mac)
        return told, replace(self, mac=mac) if self.chains_errors else self

    def _mac(self, before: bytes, command: CommandAPDU, response: ResponseAPDU) -> bytes:
        header = bytes((command.cla & ~0x07, command.ins, command.p1, command.p2, len(command.data)))
        answer = bytes((len(response.data) % 256,)) + response.data + response.sw.to_bytes(2)
        return self.s_rmac.retail_mac(before, _pad80(header + command.data + answer))


@dataclass(frozen=True, slots=True)
class CardChannel:
    """The card's end."""

    keys: SCP02SessionKeys[DESBlockKey]
    level: int = 0
    mac: bytes = b""

    def authenticated(self, command: CommandAPDU, host: bytes, sequence: bytes, card: bytes) -> "CardChannel | None":
        """The channel after a right EXTERNAL AUTHENTICATE; None for a wrong cryptogram. `ChannelBroken`: wrong MAC."""
        plain, mac = self._checked(command)
        if not compare_digest(plain.data, host_cryptogram(self.keys.enc, host, sequence, card)):
            return None
        return replace(self, level=command.p1, mac=mac)

    def unwrap(self, command: CommandAPDU) -> tuple[CommandAPDU, "CardChannel"]:
        """The command in the clear, and the channel after it; `ChannelBroken` for a wrong MAC or padding."""
        if not self.level & C_MAC:
            return command, self
        if len(command.data) < MAC_BYTES:
            raise ChannelBroken(f"{command!r} has no room for its MAC")
        data, mac = command.data[:-MAC_BYTES], command.data[-MAC_BYTES:]
        if self.level & C_DECRYPTION and data:
            data = self._decrypted(data)
        plain = replace(command, data=data)
        if not compare_digest(_command_mac(self.keys.mac, self.mac, plain), mac):
            raise ChannelBroken(f"the MAC of {command!r} is wrong")
        return plain, replace(self, mac=mac)

    def _decrypted(self, data: bytes) -> bytes:
        if len(data) % DES_BLOCK_BYTES:
            raise ChannelBroken("an encrypted command that is not whole blocks")
        plain = unpad80(self.keys.enc.decrypt_cbc(_ZERO, data), DES_BLOCK_BYTES)
        if plain is None:
            raise ChannelBroken("an encrypted command without padding")
        return plain

    def _checked(self, command: CommandAPDU) -> tuple[CommandAPDU, bytes]:
        if len(command.data) < MAC_BYTES:
            raise ChannelBroken(f"{command!r} has no room for its MAC")
        plain = replace(command, data=command.data[:-MAC_BYTES])
        mac = _command_mac(self.keys.mac, self.mac, plain)
        if not compare_digest(mac, command.data[-MAC_BYTES:]):
            raise ChannelBroken(f"the MAC of {command!r} is wrong")
        return plain, mac


def _command_mac(s_mac: DESBlockKey, before: bytes, plain: CommandAPDU) -> bytes:
    icv = s_mac.encrypt_single(before) if before else _ZERO
    length = len(plain.data) + MAC_BYTES
    if length > 0xFF:
        raise Malformed(f"{plain!r}: no room for the MAC")
    head = bytes(((plain.cla | 0x04) & 0xFC, plain.ins, plain.p1, plain.p2, length))
    return s_mac.retail_mac(icv, _pad80(head + plain.data))


def _secured(command: CommandAPDU, data: bytes, mac: bytes) -> CommandAPDU:
    return replace(command, cla=command.cla | 0x04, data=data + mac)


def _cbc_mac(key: DESBlockKey, data: bytes) -> bytes:
    return key.encrypt_cbc(_ZERO, _pad80(data))[-DES_BLOCK_BYTES:]


def _pad80(data: bytes) -> bytes:
    return pad80(data, DES_BLOCK_BYTES)
