"""The mix of cards in a simulation: what the server believes of a kind, and what its cards are."""

from dataclasses import dataclass, replace

from kioskd.gp.keyinfo import KeyEntry
from kioskd.gp.life_cycle import LifeCycle
from kioskd.rekey.aes_sets import Migration
from kioskd.rekey.profile import Algorithm, FactoryHabit, Lock, Match, Order, Profile
from kioskd.virtual.card_options import CardOptions

_ATR = bytes.fromhex("3B8201")
FACTORY_SIZES = (16, 24, 32)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of card."""

    name: str
    profile: Profile
    options: CardOptions
    atr: bytes = b""


def factory_name(size: int) -> str:
    """The name, in the vault, of the factory set of so many bytes a key."""
    return f"factory-{8 * size}"


_AES = Profile(factory_set=factory_name(16))
_SIZED = {24: "gp-scp03-aes192", 32: "gp-scp03-aes256"}
_DES = Profile(
    derivation="gp-scp02-3des",
    scp=2,
    algorithm=Algorithm.DES,
    level=0x03,
    key_length_sent=False,
    krk_kvn=0x2E,
    other_krk_kvn=0x2F,
    first_master_kvn=0x20,
    factory_set=factory_name(16),
)
_SECURE_DOMAIN = KeyEntry(1, 0x73, ((0xA1, 128),))


def _sized(size: int, **more: int) -> Profile:
    return replace(
        _AES,
        derivation=_SIZED[size],
        key_bytes=size,
        factory_set=factory_name(size),
        **more,  # type: ignore[arg-type]
    )


_MIX = (
    Kind("AES-128", _AES, CardOptions()),
    Kind("AES-192", _sized(24), CardOptions(factory_key_bytes=24, key_bytes=(24,))),
    Kind("AES-256", _sized(32), CardOptions(factory_key_bytes=32, key_bytes=(32,))),
    Kind("AES-128, S16", replace(_AES, challenge_bytes=16), CardOptions(scp_i=0x71)),
    Kind(
        "AES-256, S16",
        _sized(32, challenge_bytes=16),
        CardOptions(scp_i=0x71, factory_key_bytes=32, key_bytes=(32,)),
    ),
    Kind(
        "AES-256, level 11, no length",
        replace(_sized(32), level=0x11, key_length_sent=False),
        CardOptions(scp_i=0x60, factory_key_bytes=32),
    ),
    Kind("AES-128, level 13", replace(_AES, level=0x13), CardOptions(scp_i=0x30)),
    Kind("AES-128, no response MAC", replace(_AES, level=0x03), CardOptions(scp_i=0x10)),
    Kind("AES-128, renumber", replace(_AES, order=Order.RENUMBER), CardOptions()),
    Kind("AES-128, three slots", replace(_AES, order=Order.INSTALL_FIRST, slots=3), CardOptions(slots=3)),
    Kind("AES-128, drops", replace(_AES, factory=FactoryHabit.DROPS), CardOptions(factory_drops=True)),
    Kind("AES-128, fills", replace(_AES, factory=FactoryHabit.FILLS), CardOptions(factory_fills=True)),
    Kind(
        "AES-128, lifecycle",
        replace(_AES, lock=Lock.LIFECYCLE, rests=LifeCycle.CARD_LOCKED),
        CardOptions(),
    ),
    Kind(
        "AES-256, executive",
        replace(_sized(32), lock=Lock.EXECUTIVE),
        CardOptions(factory_key_bytes=32, executive=True),
    ),
    Kind(
        "AES-128, KRK first, a DAP key",
        replace(_AES, krk_kvn=0x30, other_krk_kvn=0x31, first_master_kvn=0x32),
        CardOptions(others=(_SECURE_DOMAIN,)),
    ),
    Kind("AES-128, T=0, zero KCV", replace(_AES, zero_kcv=True), CardOptions(t0=True, exact_le=True, zero_kcv=True)),
    Kind(
        "AES-128, INITIALIZE UPDATE spends attempts",
        replace(_AES, greeting_tries=250),
        CardOptions(tries=250, greeting_burns=True),
    ),
    Kind("AES-128, one layout", _AES, CardOptions(layouts=(False,), own_set_stays=True)),
    Kind(
        "AES-128, from elsewhere",
        replace(_AES, adopts=factory_name(16), adopts_kvn=0x01),
        CardOptions(factory_kvn=0x01, factory_fills=True),
    ),
    Kind("SCP02 i=15", _DES, CardOptions(scp=2, scp_i=0x15)),
    Kind("SCP02 i=55, no E0", _DES, CardOptions(scp=2, scp_i=0x55, empty_keys=True)),
    Kind(
        "SCP02 i=15, goes to AES-128",
        replace(_DES, migrates=Migration()),
        CardOptions(scp=2, scp_i=0x15, also_aes=True),
    ),
    Kind(
        "SCP02 i=35, goes to AES-256",
        replace(_DES, level=0x13, migrates=Migration(key_bytes=32)),
        CardOptions(scp=2, scp_i=0x35, also_aes=True),
    ),
    Kind(
        "SCP02 i=75, refuses AES",
        replace(_DES, level=0x13, migrates=Migration()),
        CardOptions(scp=2, scp_i=0x75, also_aes=True, aes_over_scp02=False),
    ),
    Kind("SCP02 i=35, response MAC", replace(_DES, level=0x13), CardOptions(scp=2, scp_i=0x35)),
)


def _finished(number: int, kind: Kind) -> Kind:
    """With an answer to reset of its own, by which its profile is found."""
    atr = _ATR + bytes((number,))
    return replace(kind, atr=atr, profile=replace(kind.profile, name=kind.name, match=Match(atr=atr.hex().upper())))


KINDS = tuple(_finished(number, kind) for number, kind in enumerate(_MIX))
PROFILES = tuple(kind.profile for kind in KINDS)
