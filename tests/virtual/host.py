"""A host of the tests' own: opens the virtual card's secure channel with keys that it knows and speaks through it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from kioskd.gp.aes import AESKey, derive_session_keys
from kioskd.gp.apdu import INS, SW, CommandAPDU, ResponseAPDU
from kioskd.gp.isd import AES_TYPE, InitializeUpdateAnswer, KeyField, get_data, initialize_update, put_key
from kioskd.gp.keyinfo import KeyInformation
from kioskd.gp.keys import BLOCK_BYTES, KVN, KeySet, kcv_aes
from kioskd.gp.scp03 import HostChannel, card_cryptogram, unwrap
from kioskd.secret import Secret

Transmit = Callable[[bytes], bytes]

CHALLENGE = bytes(range(8))
FACTORY = (bytes(range(0x40, 0x50)),) * 3
OLD = tuple(bytes((one,)) * 16 for one in b"emd")
KRK = tuple(bytes((one,)) * 16 for one in b"EMD")
NEW = tuple(bytes((one,)) * 16 for one in b"xyz")
FACTORY_KVN, OLD_KVN, NEW_KVN, KRK_KVN = 0xFF, 0x30, 0x31, 0x3E


def key_set(values: tuple[bytes, ...]) -> KeySet:
    """ENC, MAC and DEK of these values."""
    enc, mac, dek = (AESKey(Secret(value)) for value in values)
    return KeySet(enc, mac, dek)


def sw(answer: bytes) -> int:
    """The status word of a raw answer."""
    return int.from_bytes(answer[-2:])


def hello(transmit: Transmit, kvn: int, challenge: bytes = CHALLENGE) -> bytes:
    """INITIALIZE UPDATE; the raw answer."""
    return transmit(initialize_update(KVN(kvn), challenge).encode())


@dataclass(slots=True)
class Host:
    """A host's end of one open secure channel; its challenge's length makes it S8 or S16."""

    transmit: Transmit
    channel: HostChannel
    dek: AESKey

    @classmethod
    def greet(
        cls, transmit: Transmit, kvn: int, values: tuple[bytes, ...], level: int = 0x33, challenge: bytes = CHALLENGE
    ) -> "tuple[Host, bytes]":
        """INITIALIZE UPDATE, the card's proof checked; the host and its EXTERNAL AUTHENTICATE, not yet sent."""
        answer = InitializeUpdateAnswer.parse(ResponseAPDU.decode(hello(transmit, kvn, challenge)).data)
        keys = derive_session_keys(key_set(values), challenge, answer.card_challenge, 8 * len(values[0]))
        assert card_cryptogram(keys.mac, challenge, answer.card_challenge) == answer.card_cryptogram
        begun = HostChannel.begin(keys, level, answer.mac_bytes)
        command, channel = begun.external_authenticate(challenge, answer.card_challenge)
        return cls(transmit, channel, AESKey(Secret(values[2]))), command.encode()

    @classmethod
    def open(
        cls, transmit: Transmit, kvn: int, values: tuple[bytes, ...], level: int = 0x33, challenge: bytes = CHALLENGE
    ) -> "Host":
        """An authenticated host."""
        host, command = cls.greet(transmit, kvn, values, level, challenge)
        assert sw(transmit(command)) == SW.OK
        return host

    def send(self, command: CommandAPDU) -> ResponseAPDU:
        """One command through the channel; its response with MAC and encryption checked and taken off."""
        wrapped, mark, self.channel = self.channel.wrap(command)
        response = ResponseAPDU.decode(self.transmit(wrapped.encode()))
        keys = self.channel.keys
        return unwrap(keys.enc, keys.rmac, self.channel.level, mark, response, self.channel.mac_bytes)

    def fields(self, values: tuple[bytes, ...], *, with_length: bool = True) -> tuple[KeyField, ...]:
        """Keys as PUT KEY carries them in this channel."""
        made = []
        for value in values:
            key = AESKey(Secret(value))
            filled = value + b"\xa5" * (-len(value) % BLOCK_BYTES)
            ciphertext = self.dek.encrypt_cbc(bytes(BLOCK_BYTES), filled)
            made.append(KeyField(AES_TYPE, ciphertext, len(value), kcv_aes(key), with_length))
        return tuple(made)

    def put(self, kvn: int, values: tuple[bytes, ...], replaces: int = 0, *, with_length: bool = True) -> ResponseAPDU:
        """PUT KEY of a whole set."""
        return self.send(put_key(KVN(kvn), self.fields(values, with_length=with_length), replaces))

    def key_information(self) -> KeyInformation:
        """GET DATA E0 through the channel."""
        return KeyInformation.parse(self.send(get_data(0xE0)).data)


def bent(command: bytes, at: int) -> bytes:
    """The bytes with one bit wrong; `at` may count from the end."""
    wrong = bytearray(command)
    wrong[at] ^= 1
    return bytes(wrong)


def short_fields(command: CommandAPDU) -> CommandAPDU:
    """PUT KEY with the other layout: 88 10 ciphertext, without the clear length before it."""
    data, out, at = command.data, command.data[:1], 1
    while at < len(data):
        out += bytes((data[at], 0x10)) + data[at + 3 : at + 19] + data[at + 19 : at + 23]
        at += 23
    return replace(command, data=out)


def issue(transmit: Transmit) -> None:
    """Puts the OLD set and the KRK on a fresh card, and deletes the factory set."""
    host = Host.open(transmit, FACTORY_KVN, FACTORY)
    assert host.put(OLD_KVN, OLD).ok
    assert host.put(KRK_KVN, KRK).ok
    assert Host.open(transmit, KRK_KVN, KRK).send(CommandAPDU(0x80, INS.DELETE, 0, 0, b"\xd2\x01\xff")).ok
