"""Cards of SCP02 with keys in a token: issued and replaced where it can put 3DES keys, refused where it cannot."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from pkcs11 import ObjectClass

from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.edges.profile_file import load_profile
from kioskd.errors import ChannelBroken, VaultError
from kioskd.gp.diversify import diversified
from kioskd.gp.factory_keys import Method
from kioskd.gp.isd import get_data
from kioskd.ports import KeptVault
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.profile import Lock
from kioskd.rekey.records import CardState
from kioskd.secret import Secret
from kioskd.virtual.card_options import CardOptions
from tests.hsm.houses import House, bring, empty_vault
from tests.rekey.proofs import krk_opens, master_opens
from tests.vault.contract.keepers import HOST
from tests.vault.contract.test_scp02_contract import DES_MASTER, Chip, same_des

pytestmark = [pytest.mark.slow]

SHIPPED = Path(__file__).parents[2] / "config" / "profiles"
FACTORY = tuple(bytes(range(start, start + 16)) for start in (0x40, 0x60, 0xA0))
MASTER = Secret(bytes(range(0x10, 0x20)))
PROFILE = replace(load_profile(SHIPPED / "20-scp02-i55.yaml"), factory_set="des")
OPTIONS = CardOptions(scp=2, scp_i=0x55)

KINDS = {
    "i=15": (OPTIONS, 0x15, 0x03),
    "i=55": (OPTIONS, 0x55, 0x03),
    "i=75, response MAC": (OPTIONS, 0x75, 0x13),
    "i=75, executive": (replace(OPTIONS, executive=True), 0x75, 0x13),
}


@pytest_asyncio.fixture(params=list(KINDS))
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A card from the factory of that kind."""
    options, i, level = KINDS[request.param]
    lock = Lock.EXECUTIVE if options.executive else Lock.SESSION
    profile = replace(PROFILE, level=level, match=replace(PROFILE.match, i=i), lock=lock)
    made = House(tmp_path, factory=FACTORY, options=replace(options, scp_i=i), profile=profile)
    yield made
    await made.close()


def stocked(kind: str, folder: Path, purpose: BundlePurpose, generation: int) -> KeptVault:
    """A vault of that kind with the keys of the card's factory and a bundle's."""
    made = empty_vault(kind, folder)
    made.add_factory_set("des", (Secret(key) for key in FACTORY), des=True)
    bring(made, purpose, generation)
    return made


async def closed(house: House, vault: KeptVault, generation: int) -> CardState:
    """The card's records: its case is closed, it holds what another program computes, and that opens it."""
    rig = house.rig(vault)
    state = await rig.state()
    assert state.closed is not None and not state.open
    assert state.closed.master.generation == generation
    computed = await house.recomputed()
    for name, kvn in (("krk", state.closed.krk.kvn), ("master", state.closed.master.kvn)):
        keys, expected = ([bytes.fromhex(key) for key in one] for one in (house.on_card(kvn), computed[name]))
        assert same_des(tuple(keys), tuple(expected)), name
    assert house.card.kvns == {state.closed.krk.kvn, state.closed.master.kvn}
    assert master_opens(rig, state.closed.master)
    assert house.card.memory.sealed is (house.profile.lock is Lock.EXECUTIVE)
    return state


@pytest.mark.parametrize(("issuing", "replacing"), [("nss", "nss"), ("soft", "nss"), ("nss", "soft")])
async def test_a_card_of_scp02_is_issued_with_one_vault_and_replaced_with_another(
    house: House, tmp_path: Path, issuing: str, replacing: str
) -> None:
    issuer = stocked(issuing, tmp_path / "issuer", BundlePurpose.ISSUE, 1)
    assert await house.issue(issuer) == "issued"
    before = await closed(house, issuer, 1)
    replacer = issuer if replacing == issuing else stocked(replacing, tmp_path / "replacer", BundlePurpose.ISSUE, 1)
    bring(replacer, BundlePurpose.REPLACE, 2)
    assert await house.replace(replacer) == "done"
    state = await closed(house, replacer, 2)
    assert krk_opens(house.rig(replacer), state)
    assert before.closed is not None
    assert not master_opens(house.rig(replacer), before.closed.master)


async def test_softhsm2_refuses_to_issue_or_replace_such_a_card_before_anything_is_changed(
    house: House, tmp_path: Path
) -> None:
    cannot = stocked("softhsm2", tmp_path / "cannot", BundlePurpose.ISSUE, 1)
    assert await house.issue(cannot) == "vault-failed"
    assert house.card.kvns == {0xFF} and not (await house.rig(cannot).state()).open

    assert await house.issue(stocked("soft", tmp_path / "soft", BundlePurpose.ISSUE, 1)) == "issued"
    held = house.card.kvns
    bring(cannot, BundlePurpose.REPLACE, 2)
    assert await house.replace(cannot) == "vault-failed"
    assert house.card.kvns == held and not (await house.rig(cannot).state()).open


@pytest.mark.parametrize("kind", ["softhsm2", "nss"])
def test_no_object_stays_behind_in_the_token(tmp_path: Path, kind: str) -> None:
    vault = stocked(kind, tmp_path / "vault", BundlePurpose.ISSUE, 1)
    vault.add_factory_set("batch", (MASTER,), method=Method.VISA)
    assert isinstance(vault, TokenVault)
    chip = Chip(FACTORY)
    before = 0
    for _ in range(2):  # the second time, for NSS keeps copies of what lasts from the first on
        before = objects(vault)
        factory, batch = vault.factory_set("des"), vault.factory_set("batch", bytes(range(10)))
        assert vault.proves(factory, HOST, chip.greet()) and not vault.proves(batch, HOST, chip.greet())
        with pytest.raises(ChannelBroken):
            vault.open_channel(batch, HOST, chip.greet(), 0x13)
        unused, used = (vault.open_channel(factory, HOST, chip.greet(), 0x13) for _ in range(2))
        master = vault.derive_master(replace(DES_MASTER, number=1))
        with contextlib.suppress(VaultError):
            vault.wrap_key_set(used, master)
        script = vault.wrap_commands(used, (get_data(0xE0),))
        vault.unwrap_responses(script.sealed, script.marks, tuple(chip.run(script)[1]))
        vault.forget((factory, batch, unused, used, master))
    assert objects(vault) == before


def test_a_factory_set_that_a_crash_left_half_there_is_added_again(tmp_path: Path) -> None:
    vault = empty_vault("softhsm2", tmp_path / "vault")
    assert isinstance(vault, TokenVault)
    vault.add_factory_set("des", (Secret(key) for key in FACTORY[::-1]), des=True)
    enc = vault._token.find(ObjectClass.SECRET_KEY, "factory des ENC")
    assert enc is not None
    vault._token.destroy(enc)
    assert vault.holdings().factory_sets == ("factory",)
    vault.add_factory_set("des", (Secret(key) for key in FACTORY), des=True)
    chip = Chip(FACTORY)
    channel = vault.open_channel(vault.factory_set("des"), HOST, chip.greet(), 0x03)
    chip.run(vault.wrap_commands(channel, (get_data(0xE0),)))
    with pytest.raises(VaultError, match="there is one under this name"):
        vault.add_factory_set("des", (Secret(key) for key in FACTORY), des=True)


def objects(vault: TokenVault) -> int:
    """How many there are."""
    return len(list(vault._token.session.get_objects()))


@pytest.mark.parametrize("kind", ["soft", "nss"])
async def test_a_card_whose_factory_set_is_diversified_is_issued_with_the_vendors_master(
    tmp_path: Path, kind: str
) -> None:
    options = replace(OPTIONS, kdd=bytes.fromhex("4790DEADBEEF01020304"))
    factory = tuple(key.reveal() for key in diversified(Method.EMV, MASTER, options.diversification))
    house = House(tmp_path, factory=factory, options=options, profile=replace(PROFILE, factory_set="batch 7"))
    vault = stocked(kind, tmp_path / "vault", BundlePurpose.ISSUE, 1)
    vault.add_factory_set("batch 7", (MASTER,), method=Method.EMV)
    assert await house.issue(vault) == "issued"
    await closed(house, vault, 1)
    await house.close()
