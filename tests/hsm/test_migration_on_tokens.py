"""From 3DES to AES with keys in a token: NSS puts AES keys under a 3DES S-DEK, SoftHSM2 refuses before any change."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from kioskd.rekey.aes_sets import Migration
from kioskd.rekey.bundle import BundlePurpose
from tests.hsm.houses import House, bring
from tests.hsm.test_scp02_on_tokens import FACTORY, OPTIONS, PROFILE, stocked
from tests.rekey.proofs import krk_opens, master_opens
from tests.vault.contract.test_scp02_contract import same_des

pytestmark = [pytest.mark.slow]

KINDS = {
    "AES-128, response MAC": (0x75, 0x13, Migration()),
    "AES-128": (0x55, 0x03, Migration()),
    "AES-256": (0x55, 0x03, Migration(key_bytes=32)),
}


@pytest_asyncio.fixture(params=list(KINDS))
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A card from the factory, with 3DES keys, which takes AES keys as well."""
    i, level, migrates = KINDS[request.param]
    profile = replace(PROFILE, level=level, match=replace(PROFILE.match, i=i), migrates=migrates)
    options = replace(OPTIONS, scp_i=i, also_aes=True)
    made = House(tmp_path, factory=FACTORY, options=options, profile=profile)
    yield made
    await made.close()


@pytest.mark.parametrize(("issuing", "replacing"), [("nss", "nss"), ("soft", "nss"), ("nss", "soft")])
async def test_a_card_of_3des_sets_gets_the_aes_set_that_another_program_computes(
    house: House, tmp_path: Path, issuing: str, replacing: str
) -> None:
    issuer = stocked(issuing, tmp_path / "issuer", BundlePurpose.ISSUE, 1)
    assert await house.issue(issuer) == "issued"
    replacer = issuer if replacing == issuing else stocked(replacing, tmp_path / "replacer", BundlePurpose.ISSUE, 1)
    bring(replacer, BundlePurpose.REPLACE, 2)
    assert await house.replace(replacer) == "done"
    rig = house.rig(replacer)
    state = await rig.state()
    assert state.closed is not None and not state.open
    master, krk = state.closed.master, state.closed.krk
    assert house.profile.migrates is not None and master.kind == house.profile.migrates.kind
    computed = await house.recomputed()
    assert house.on_card(master.kvn) == computed["master"]
    kept, expected = (tuple(map(bytes.fromhex, keys)) for keys in (house.on_card(krk.kvn), computed["krk"]))
    assert same_des(kept, expected)
    assert house.card.kvns == {krk.kvn, master.kvn}
    assert master_opens(rig, master) and krk_opens(rig, state)


async def test_softhsm2_refuses_such_a_card_before_anything_is_changed(house: House, tmp_path: Path) -> None:
    assert await house.issue(stocked("soft", tmp_path / "soft", BundlePurpose.ISSUE, 1)) == "issued"
    held, cannot = house.card.memory, stocked("softhsm2", tmp_path / "cannot", BundlePurpose.ISSUE, 1)
    bring(cannot, BundlePurpose.REPLACE, 2)
    assert await house.replace(cannot) == "vault-failed"
    assert house.card.memory == held and not (await house.rig(cannot).state()).open
