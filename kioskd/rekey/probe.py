"""From what a card says of itself to the profile that it would need, with what only a trial can tell."""

from dataclasses import dataclass, replace

from kioskd.gp.isd import AES_TYPE, DES_TYPE, RESPONSE_MAC, S8_BYTES, S16, S16_BYTES, SCP02, SCP03
from kioskd.gp.scp03 import C_DECRYPTION, C_MAC, R_ENCRYPTION, R_MAC
from kioskd.rekey.facts import Facts
from kioskd.rekey.profile import Algorithm, Match, Profile

_RESPONSE_ENCRYPTION = 0x40
_FACTORY_RANGE = (0xFF, *range(0x01, 0x80))


@dataclass(frozen=True, slots=True)
class Probed:
    """The profile as far as it can be read, and what is to be tried."""

    profile: Profile
    remarks: tuple[str, ...]


def probed(facts: Facts, aid: bytes, atr: bytes) -> Probed:
    """The profile that this card would need."""
    remarks = []
    entries = facts.key_information.entries if facts.key_information is not None else ()
    factory = next((kvn for kvn in _FACTORY_RANGE if any(one.kvn == kvn for one in entries)), 0xFF)
    if not entries:
        remarks.append("no key information: the factory set's key version number is a guess, INITIALIZE UPDATE tells")
    key = next((one.components[0] for one in entries if one.kvn == factory and one.components), (AES_TYPE, 16))
    des = key[0] == DES_TYPE and any(one.scp == SCP02 for one in facts.channels)
    spoken = [one for one in facts.channels if one.scp == SCP02 or not des]
    channel = max(spoken, key=lambda one: one.scp, default=None)
    scp, i = (channel.scp, channel.i[-1] if channel.i else 0) if channel is not None else (SCP03, 0x70)
    if channel is None:
        remarks.append("the card gives no card data: SCP03 with i=70 is a guess, INITIALIZE UPDATE tells")
    remarks += [
        f"it speaks SCP03, too: with `migrates: {{i: 0x{one.i[-1]:02X}}}` a replacement tries AES keys"
        for one in facts.channels
        if des and one.scp == SCP03 and one.i
    ]
    base = _scp02(i) if scp == SCP02 else _scp03(i, key[1] if key[0] == AES_TYPE else 16)
    name = f"card-{facts.card.value.hex()}"
    profile = replace(
        base, name=name, aid=aid, factory_kvn=factory, match=Match(atr.hex().upper(), scp if facts.channels else 0)
    )
    remarks += [
        "slots, renumbers, deletes, factory: only a trial with a card that may be spent tells",
        f"the factory set belongs into the vault under the name {profile.factory_set!r}",
    ]
    return Probed(profile, tuple(remarks))


def _scp03(i: int, key_bytes: int) -> Profile:
    answers = (R_MAC if i & RESPONSE_MAC else 0) | (R_ENCRYPTION if i & _RESPONSE_ENCRYPTION else 0)
    size = S16_BYTES if i & S16 else S8_BYTES
    return Profile(
        derivation=f"gp-scp03-aes{8 * key_bytes}",
        level=C_MAC | C_DECRYPTION | answers,
        key_bytes=key_bytes,
        challenge_bytes=size,
    )


def _scp02(i: int) -> Profile:
    return Profile(
        derivation="gp-scp02-3des",
        scp=SCP02,
        algorithm=Algorithm.DES,
        level=C_MAC | C_DECRYPTION | (R_MAC if i & RESPONSE_MAC else 0),
        key_length_sent=False,
        krk_kvn=0x2E,
        other_krk_kvn=0x2F,
        first_master_kvn=0x20,
    )
