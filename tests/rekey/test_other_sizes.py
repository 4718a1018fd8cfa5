"""The whole engine with other keys and channels than AES-128 and S8: issued, replaced, and cut everywhere once."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kioskd.gp.apdu import INS
from kioskd.gp.scp03 import C_DECRYPTION
from kioskd.rekey.profile import Profile
from kioskd.virtual.faults import Faults, When
from tests.rekey.kinds import AES256_S16, OTHERS, Kind
from tests.rekey.proofs import assert_issued, assert_replaced, krk_opens, master_opens
from tests.rig import Contact, Rig

pytestmark = pytest.mark.slow

MakeRig = Callable[[], Rig]

CUT = [
    pytest.param(kind, purpose, id=f"{purpose} {kind}")
    for kind in OTHERS
    for purpose in ("replace", "issue")
    if purpose == "replace" or kind is AES256_S16
]
every_kind = pytest.mark.parametrize("kind", OTHERS, ids=str, indirect=True)


@dataclass(frozen=True, slots=True)
class Listening:
    """The card's contact, and how long each PUT KEY is on its wire."""

    contact: Contact
    seen: list[int]

    async def transmit(self, command: bytes) -> bytes | None:
        """The card's answer."""
        if command[1] == INS.PUT_KEY:
            self.seen.append(len(command))
        return await self.contact.transmit(command)


@every_kind
async def test_a_card_is_issued(kind: Kind, blank_card: MakeRig) -> None:
    rig = blank_card()
    assert await rig.tap("issue") == "issued"
    await assert_issued(rig)
    assert {len(value) for value in rig.card.key_values()} == {kind.profile.key_bytes}
    assert len(set(rig.card.key_values())) == 6
    assert await rig.tap("issue") == "already-issued"


@every_kind
async def test_its_master_key_is_replaced(kind: Kind, issued_card: MakeRig) -> None:
    rig = issued_card()
    before = (await rig.state()).closed
    assert before is not None and master_opens(rig, before.master)
    held = set(rig.card.key_values())
    assert await rig.tap() == "done"
    await assert_replaced(rig)
    assert not master_opens(rig, before.master)
    assert krk_opens(rig, await rig.state())
    assert len(held & set(rig.card.key_values())) == 3  # the KRK's; no master key is as it was
    assert {len(value) for value in rig.card.key_values()} == {kind.profile.key_bytes}
    assert await rig.tap() == "already-done"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "purpose"), CUT, indirect=["kind"])
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("side", ["server", "relay"])
async def test_the_tap_after_a_cut_finishes(
    kind: Kind, blank_card: MakeRig, issued_card: MakeRig, purpose: str, side: str, when: When
) -> None:
    make, finished = (blank_card, assert_issued) if purpose == "issue" else (issued_card, assert_replaced)
    undisturbed = Faults()
    assert await make().tap(purpose, faults=undisturbed, side=side) in ("done", "issued")
    assert len(undisturbed.points) >= 8
    for at, name in enumerate(undisturbed.points):
        where = f"cut {when.value} {side} point {at} ({name})"
        rig = make()
        await rig.tap(purpose, faults=Faults(cut_at=at, when=when), side=side)
        assert await rig.tap(purpose) in ("done", "already-done", "issued", "already-issued"), where
        await finished(rig, where)


@every_kind
async def test_the_layout_of_put_key_is_the_profiles(kind: Kind, issued_card: MakeRig) -> None:
    rig, seen = issued_card(), list[int]()
    rig.hold = lambda contact: Listening(contact, seen)
    assert await rig.tap() == "done"
    # KVN, then for each key: type, length, clear length if it is sent, ciphertext, length and check value.
    ciphertext = -(-kind.profile.key_bytes // 16) * 16
    plain = 1 + 3 * (2 + kind.profile.key_length_sent + ciphertext + 4)
    data = (plain // 16 + 1) * 16 if kind.profile.level & C_DECRYPTION else plain
    assert seen == [5 + data + kind.profile.challenge_bytes + 1]


def test_a_profile_of_192_bits_without_the_length_is_refused() -> None:
    with pytest.raises(ValueError, match="without its length"):
        Profile(key_bytes=24, key_length_sent=False)


@pytest.mark.parametrize(("key_bytes", "challenge_bytes"), [(17, 8), (0, 8), (16, 12)])
def test_a_profile_of_sizes_that_do_not_exist_is_refused(key_bytes: int, challenge_bytes: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        Profile(key_bytes=key_bytes, challenge_bytes=challenge_bytes)
