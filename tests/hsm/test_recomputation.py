"""Cards issued and replaced on every kind of vault hold exactly the keys that another program computes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kioskd.rekey.bundle import BundlePurpose
from tests.hsm.houses import P256, RSA_2048, House, bring, empty_vault
from tests.rekey.proofs import assert_issued, assert_replaced

pytestmark = [pytest.mark.slow]

PLACES = [
    ("soft", "soft"),
    ("softhsm2", "softhsm2"),
    ("nss", "nss"),
    ("soft", "softhsm2"),
    ("softhsm2", "soft"),
    ("softhsm2", "nss"),
]


@pytest_asyncio.fixture(params=[RSA_2048, P256])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A card from the factory, for epochs of either kind."""
    made = House(tmp_path, pair=request.param)
    yield made
    await made.close()


@pytest.mark.claim(2, 3, 4, 5, 6, 11, 12, 17, 18, 19, 20, 21)
@pytest.mark.parametrize(("issuing", "replacing"), PLACES, ids=lambda kind: kind)
async def test_a_card_issued_with_one_vault_is_replaced_with_another_that_received_the_same_blocks(
    house: House, tmp_path: Path, issuing: str, replacing: str
) -> None:
    issuer = empty_vault(issuing, tmp_path / "issuer")
    bring(issuer, BundlePurpose.ISSUE, 1, house.pair)
    assert await house.issue(issuer) == "issued"
    await assert_issued(house.rig(issuer))
    computed = await house.recomputed()
    assert house.on_card(0x3E) == computed["krk"]
    assert house.on_card(0x31) == computed["master"]

    replacer = issuer if replacing == issuing else empty_vault(replacing, tmp_path / "replacer")
    bring(replacer, BundlePurpose.REPLACE, 2, house.pair)
    assert await house.replace(replacer) == "done"
    await assert_replaced(house.rig(replacer))
    again = await house.recomputed()
    assert again["rnd"] == computed["rnd"]
    assert house.on_card(0x3E) == again["krk"] == computed["krk"]
    assert house.on_card(0x32) == again["master"]
    assert 0x31 not in house.card.kvns
