"""Secure Channel Protocol 03 (GPC Amendment D 1.1.1), both ends, pure: each step returns a successor.

Spoken: AES keys of all three sizes; challenges, cryptograms and MACs of 8 bytes (S8) or 16 (S16, Amendment D 1.2);
levels 01, 03, 11, 13, 33.

    KDF block   00 x 11 | constant 1 | 00 | length in bits 2 | counter 1 | context
    C-MAC       CMAC(S-MAC,  chain 16 | CLA INS P1 P2 Lc+8 or 16 | data)      chain: the previous full MAC
    R-MAC       CMAC(S-RMAC, chain 16 | data | SW)                      chain: that of the command
    C-ENC IV    AES(S-ENC, counter 16)       R-ENC IV    the same with first byte 80
"""

from dataclasses import dataclass, replace
from hmac import compare_digest

from kioskd.errors import ChannelBroken, Malformed
from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.isd import S8_BYTES, S16_BYTES, external_authenticate
from kioskd.gp.keys import BLOCK_BYTES, BlockKey, pad80, unpad80

LEVELS = (0x01, 0x03, 0x11, 0x13, 0x33)

C_MAC, C_DECRYPTION, R_MAC, R_ENCRYPTION = 0x01, 0x02, 0x10, 0x20

_CARD_CRYPTOGRAM, _HOST_CRYPTOGRAM, _CHALLENGE = 0x00, 0x01, 0x02
S_ENC, S_MAC, S_RMAC = 0x04, 0x06, 0x07
_ZERO = bytes(BLOCK_BYTES)


def derivation_blocks(constant: int, context: bytes, bits: int) -> tuple[bytes, ...]:
    """The inputs of the key derivation, one for each 128 bits of output (4.1.5)."""
    count = (bits + 127) // 128
    label = bytes(11) + bytes((constant, 0)) + bits.to_bytes(2)
    return tuple(label + bytes((counter,)) + context for counter in range(1, count + 1))


def kdf(key: BlockKey, constant: int, context: bytes, bits: int) -> bytes:
    """SP 800-108 in counter mode over CMAC (4.1.5); `bits` of output, at most 256."""
    if not 0 < bits <= 256 or bits % 8:
        raise ValueError(f"{bits} bits: whole bytes, at most 256 bits")
    return b"".join(key.cmac(block) for block in derivation_blocks(constant, context, bits))[: bits // 8]


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """S-ENC, S-MAC and S-RMAC of one secure channel."""

    enc: BlockKey
    mac: BlockKey
    rmac: BlockKey


def card_cryptogram(s_mac: BlockKey, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """The card's proof, as long as its challenge (6.2.2.2)."""
    return kdf(s_mac, _CARD_CRYPTOGRAM, host_challenge + card_challenge, 8 * len(card_challenge))


def host_cryptogram(s_mac: BlockKey, host_challenge: bytes, card_challenge: bytes) -> bytes:
    """The host's proof, as long as the card's challenge (6.2.2.3)."""
    return kdf(s_mac, _HOST_CRYPTOGRAM, host_challenge + card_challenge, 8 * len(card_challenge))


def pseudo_random_challenge(static_enc: BlockKey, sequence: bytes, aid: bytes, size: int = S8_BYTES) -> bytes:
    """The card challenge of a card whose i says so (6.2.2.1): from its sequence counter of 3 bytes and its AID."""
    return kdf(static_enc, _CHALLENGE, sequence + aid, 8 * size)


@dataclass(frozen=True, slots=True)
class Mark:
    """What checks one command's response later: MAC chaining value (16 bytes) and encryption counter."""

    chain: bytes
    counter: int


@dataclass(frozen=True, slots=True)
class HostChannel:
    """The host's end."""

    keys: SessionKeys
    level: int
    mac_bytes: int = S8_BYTES
    chain: bytes = _ZERO
    counter: int = 0  # of the last command

    @classmethod
    def begin(cls, keys: SessionKeys, level: int, mac_bytes: int = S8_BYTES) -> "HostChannel":
        """A channel before EXTERNAL AUTHENTICATE; `mac_bytes` is 8 or 16, as the card's answer says."""
        if level not in LEVELS or mac_bytes not in (S8_BYTES, S16_BYTES):
            raise ValueError(f"security level {level:02X} with MACs of {mac_bytes} bytes")
        return cls(keys, level, mac_bytes)

    def external_authenticate(self, host_challenge: bytes, card_challenge: bytes) -> tuple[CommandAPDU, "HostChannel"]:
        """EXTERNAL AUTHENTICATE with its MAC, and the channel after it."""
        cryptogram = host_cryptogram(self.keys.mac, host_challenge, card_challenge)
        plain = external_authenticate(self.level, cryptogram)
        command, chain = _with_mac(self.keys.mac, self.chain, plain, self.mac_bytes)
        return command, replace(self, chain=chain)

    def wrap(self, command: CommandAPDU) -> tuple[CommandAPDU, Mark, "HostChannel"]:
        """The command encrypted and MACed as the level asks, what checks its response, and the channel after it."""
        counter = self.counter + 1  # also for a command without data
        if self.level & C_DECRYPTION and command.data:
            iv = _iv(self.keys.enc, counter)
            command = replace(command, data=self.keys.enc.encrypt_cbc(iv, pad80(command.data)))
        command, chain = _with_mac(self.keys.mac, self.chain, command, self.mac_bytes)
        return command, Mark(chain, counter), replace(self, chain=chain, counter=counter)


def unwrap(
    s_enc: BlockKey, s_rmac: BlockKey, level: int, mark: Mark, response: ResponseAPDU, mac_bytes: int = S8_BYTES
) -> ResponseAPDU:
    """The response without MAC and encryption; `ChannelBroken` if they are wrong.

    Error status words carry no MAC and come back as they are: hearsay.
    """
    if not level & R_MAC or not response.carries_mac:
        return response
    if len(response.data) < mac_bytes:
        raise ChannelBroken(f"a response of {len(response.data)} bytes has no room for its MAC")
    data, mac = response.data[:-mac_bytes], response.data[-mac_bytes:]
    if not compare_digest(s_rmac.cmac(mark.chain + data + response.sw.to_bytes(2))[:mac_bytes], mac):
        raise ChannelBroken("the response's MAC is wrong")
    if level & R_ENCRYPTION and data:
        if len(data) % BLOCK_BYTES:
            raise ChannelBroken(f"an encrypted response of {len(data)} bytes")
        plain = unpad80(s_enc.decrypt_cbc(_iv(s_enc, mark.counter, response=True), data))
        if plain is None:
            raise ChannelBroken("an encrypted response without padding")
        data = plain
    return ResponseAPDU(data, response.sw)


@dataclass(frozen=True, slots=True)
class CardChannel:
    """The card's end."""

    keys: SessionKeys
    mac_bytes: int = S8_BYTES
    level: int = 0
    chain: bytes = _ZERO
    counter: int = 0

    def authenticated(self, command: CommandAPDU, host: bytes, card: bytes) -> "CardChannel | None":
        """The channel after a right EXTERNAL AUTHENTICATE; None for a wrong cryptogram. `ChannelBroken`: wrong MAC."""
        plain, chain = _checked(self.keys.mac, self.chain, command, self.mac_bytes)
        if not compare_digest(plain.data, host_cryptogram(self.keys.mac, host, card)):
            return None
        return replace(self, level=command.p1, chain=chain)

    def unwrap(self, command: CommandAPDU) -> tuple[CommandAPDU, "CardChannel"]:
        """The command in the clear, and the channel after it; `ChannelBroken` for a wrong MAC or padding."""
        plain, chain = _checked(self.keys.mac, self.chain, command, self.mac_bytes)
        counter = self.counter + 1
        if self.level & C_DECRYPTION and plain.data:
            if len(plain.data) % BLOCK_BYTES:
                raise ChannelBroken("an encrypted command that is not whole blocks")
            data = unpad80(self.keys.enc.decrypt_cbc(_iv(self.keys.enc, counter), plain.data))
            if data is None:
                raise ChannelBroken("an encrypted command without padding")
            plain = replace(plain, data=data)
        return plain, replace(self, chain=chain, counter=counter)

    def wrap(self, response: ResponseAPDU) -> ResponseAPDU:
        """The response of the last command, encrypted and MACed as the level asks; errors go plain."""
        if not self.level & R_MAC or not response.carries_mac:
            return ResponseAPDU(response.data if response.carries_mac else b"", response.sw)
        data = response.data
        if self.level & R_ENCRYPTION and data:
            iv = _iv(self.keys.enc, self.counter, response=True)
            data = self.keys.enc.encrypt_cbc(iv, pad80(data))
        mac = self.keys.rmac.cmac(self.chain + data + response.sw.to_bytes(2))[: self.mac_bytes]
        return ResponseAPDU(data + mac, response.sw)


def _with_mac(s_mac: BlockKey, chain: bytes, command: CommandAPDU, mac_bytes: int) -> tuple[CommandAPDU, bytes]:
    secured = replace(command, cla=command.cla | 0x04)
    full = _mac(s_mac, chain, secured, secured.data, mac_bytes)
    return replace(secured, data=secured.data + full[:mac_bytes]), full


def _checked(s_mac: BlockKey, chain: bytes, command: CommandAPDU, mac_bytes: int) -> tuple[CommandAPDU, bytes]:
    if len(command.data) < mac_bytes:
        raise ChannelBroken(f"{command!r} has no room for its MAC")
    data, mac = command.data[:-mac_bytes], command.data[-mac_bytes:]
    full = _mac(s_mac, chain, command, data, mac_bytes)
    if not compare_digest(full[:mac_bytes], mac):
        raise ChannelBroken(f"the MAC of {command!r} is wrong")
    return replace(command, data=data), full


def _mac(s_mac: BlockKey, chain: bytes, command: CommandAPDU, data: bytes, mac_bytes: int) -> bytes:
    length = len(data) + mac_bytes
    if length > 0xFF:
        raise Malformed(f"{command!r}: no room for the MAC")
    head = bytes((command.cla & 0xFC, command.ins, command.p1, command.p2, length))
    return s_mac.cmac(chain + head + data)


def _iv(s_enc: BlockKey, counter: int, *, response: bool = False) -> bytes:
    block = counter.to_bytes(BLOCK_BYTES)
    return s_enc.encrypt_block(b"\x80" + block[1:] if response else block)
