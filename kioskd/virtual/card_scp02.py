"""The virtual card's end of SCP02: the same steps as `gp.scp03.CardChannel`, for 3DES sets."""

from dataclasses import dataclass, replace

from kioskd.gp.apdu import CommandAPDU, ResponseAPDU
from kioskd.gp.des import DESKey, scp02_session_keys
from kioskd.gp.isd import SCP02, InitializeUpdateAnswer
from kioskd.gp.scp02 import R_MAC, CardChannel, ResponseChain, card_cryptogram, pseudo_random_challenge
from kioskd.virtual.card_memory import StoredSet
from kioskd.virtual.card_options import CardOptions

SEQUENCE_BYTES = 2
PROOF_BYTES = 16
_PSEUDO_RANDOM = 0x40


@dataclass(slots=True)
class SCP02Channel:
    """One channel; the chain of response MACs moves with every answer."""

    channel: CardChannel
    sequence: bytes
    chains_errors: bool = False
    responses: ResponseChain | None = None
    last: CommandAPDU | None = None

    @property
    def level(self) -> int:
        """The security level."""
        return self.channel.level

    def authenticated(self, command: CommandAPDU, host: bytes, card: bytes) -> "SCP02Channel | None":
        """The channel after a right EXTERNAL AUTHENTICATE; None for a wrong cryptogram. `ChannelBroken`: wrong MAC."""
        opened = self.channel.authenticated(command, host, self.sequence, card)
        if opened is None:
            return None
        chain = ResponseChain(opened.keys.rmac, opened.mac, chains_errors=self.chains_errors)
        return replace(self, channel=opened, responses=chain if opened.level & R_MAC else None)

    def unwrap(self, command: CommandAPDU) -> tuple[CommandAPDU, "SCP02Channel"]:
        """The command in the clear, and the channel after it."""
        plain, channel = self.channel.unwrap(command)
        return plain, replace(self, channel=channel, last=plain)

    def wrap(self, response: ResponseAPDU) -> ResponseAPDU:
        """The response of the last command, MACed as the level asks."""
        if self.responses is None or self.last is None:
            return response
        wrapped, self.responses = self.responses.wrap(self.last, response)
        return wrapped


@dataclass(frozen=True, slots=True)
class SCP02Greeting:
    """What INITIALIZE UPDATE of a 3DES set makes: the answer, the challenge, the channel, the session's DEK."""

    answer: bytes
    card_challenge: bytes
    dek: DESKey
    channel: SCP02Channel


def greet(stored: StoredSet, options: CardOptions, host_challenge: bytes, random: bytes) -> SCP02Greeting:
    """The answer to INITIALIZE UPDATE (E.5.1), with a random challenge or the one that i=55 computes."""
    sequence = stored.sequence.to_bytes(SEQUENCE_BYTES)
    keys = scp02_session_keys(*stored.des_keys(), sequence)
    computed = options.scp_i & _PSEUDO_RANDOM
    challenge = pseudo_random_challenge(keys.mac, options.aid) if computed else random
    cryptogram = card_cryptogram(keys.enc, host_challenge, sequence, challenge)
    told = InitializeUpdateAnswer(options.diversification, stored.kvn, SCP02, 0, challenge, cryptogram, sequence)
    return SCP02Greeting(
        told.encode(), challenge, keys.dek, SCP02Channel(CardChannel(keys), sequence, options.chains_errors)
    )
