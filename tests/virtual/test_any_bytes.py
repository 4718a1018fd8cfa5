"""Whatever bytes come, the card answers, and without a key it remembers nothing but that it was greeted."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kioskd.gp.apdu import INS, MAX_PART_BYTES, CommandAPDU
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import CardMemory, StoredSet, fresh_memory
from kioskd.virtual.card_options import CardOptions
from tests.virtual.host import KRK, KRK_KVN, OLD_KVN, Host, issue

COMMANDS = st.builds(
    CommandAPDU,
    cla=st.sampled_from((0x00, 0x80, 0x84)) | st.integers(0, 255),
    ins=st.sampled_from([int(ins) for ins in INS]) | st.integers(0, 255),
    p1=st.sampled_from((0x00, 0x04, OLD_KVN, KRK_KVN, 0x33, 0x80)) | st.integers(0, 255),
    p2=st.sampled_from((0x00, 0x02, 0x0F, 0x7F, 0x81, 0xE0)) | st.integers(0, 255),
    data=st.binary(max_size=8) | st.binary(min_size=16, max_size=16) | st.binary(max_size=255),
    le=st.sampled_from((None, 256)),
)
ANYTHING = st.binary(max_size=300) | COMMANDS.map(CommandAPDU.encode)


def but_counters(memory: CardMemory) -> CardMemory:
    """The memory with all tries and sequence counters at their start."""
    return replace(memory, sets=tuple(StoredSet(one.kvn, one.enc, one.mac, one.dek) for one in memory.sets))


class Strangers(RuleBasedStateMachine):
    """People without a key, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.card = VirtualCard()
        issue(self.card.transmit)
        self.card.reset()
        self.before = but_counters(self.card.memory)

    @rule(command=ANYTHING)
    def anything(self, command: bytes) -> None:
        """Any bytes at all."""
        assert 2 <= len(self.card.transmit(command)) <= MAX_PART_BYTES

    @rule(kvn=st.sampled_from((0, OLD_KVN, KRK_KVN)), guess=st.binary(min_size=16, max_size=16))
    def guess(self, kvn: int, guess: bytes) -> None:
        """A greeting and a guess."""
        self.card.transmit(bytes((0x80, 0x50, kvn, 0, 8)) + bytes(8))
        assert self.card.transmit(b"\x84\x82\x33\x00\x10" + guess) in (b"\x63\x00", b"\x69\x85")

    @rule()
    def power_cut(self) -> None:
        """Off and on."""
        self.card.reset()

    @invariant()
    def keys_and_state_stay(self) -> None:
        """Nothing but counters moved."""
        assert but_counters(self.card.memory) == self.before


TestStrangers = Strangers.TestCase


@given(commands=st.lists(COMMANDS, max_size=6), level=st.sampled_from((0x01, 0x03, 0x11, 0x13, 0x33)))
def test_whatever_a_host_sends_in_its_session_is_answered(commands: list[CommandAPDU], level: int) -> None:
    card = VirtualCard(options=CardOptions())
    issue(card.transmit)
    host = Host.open(card.transmit, KRK_KVN, KRK, level)
    for command in commands:
        fits = replace(command, cla=0x80, data=command.data[:200])
        wrapped, _, host.channel = host.channel.wrap(fits)
        assert 2 <= len(card.transmit(wrapped.encode())) <= MAX_PART_BYTES


@given(raw=ANYTHING)
def test_a_fresh_card_and_a_card_after_any_bytes_and_a_reset_are_alike(raw: bytes) -> None:
    card = VirtualCard()
    card.transmit(raw)
    card.reset()
    assert but_counters(card.memory) == fresh_memory(card.options)
