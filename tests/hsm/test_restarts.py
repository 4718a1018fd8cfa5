"""A module that has worked long is started anew between two cards, never under one; what it lost comes back."""

import subprocess
import sys
from pathlib import Path

import pytest

from kioskd.edges.pkcs11.vault import RESTART_AFTER, TokenVault
from kioskd.errors import VaultError
from kioskd.rekey.bundle import BundlePurpose
from tests.hsm.houses import House, bring, empty_vault
from tests.rekey.proofs import assert_replaced
from tests.vault.contract.keepers import MASTER

pytestmark = [pytest.mark.slow]

HOST, ANSWER = bytes(8), bytes(10) + bytes((0x31, 3, 0x70)) + bytes(19)  # of no card: 8 and 8 bytes, and a counter
LABEL = type(MASTER)("MK", 1, 1, MASTER.profile, 0x31, MASTER.card)


@pytest.fixture(params=["softhsm2", "nss"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> TokenVault:
    """A vault on a real token that issues."""
    made = empty_vault(request.param, tmp_path / "vault")
    assert isinstance(made, TokenVault)
    bring(made, BundlePurpose.ISSUE, 1)
    return made


def worked_long(vault: TokenVault) -> None:
    """As after thousands of cards."""
    vault._made = RESTART_AFTER


def test_it_is_started_anew_when_no_card_needs_it_and_works_on(vault: TokenVault) -> None:
    before = vault._token.session
    vault.holdings()
    assert vault._token.session is before, "it has done little"
    worked_long(vault)
    held = vault.holdings()
    assert vault._token.session is not before and vault._made == 0
    assert held.issuing == (1,) and held.generations == (1,)
    assert vault.derive_master(LABEL)


def test_it_is_not_started_anew_under_a_card(vault: TokenVault) -> None:
    handle, before = vault.derive_master(LABEL), vault._token.session
    worked_long(vault)
    vault.holdings()
    assert vault._token.session is before
    assert not vault.proves(handle, HOST, ANSWER)
    vault.forget((handle,))
    vault.holdings()
    assert vault._token.session is not before
    with pytest.raises(VaultError, match="is not known"):
        vault.proves(handle, HOST, ANSWER)


async def test_a_card_is_issued_before_and_replaced_after_a_restart(vault: TokenVault, tmp_path: Path) -> None:
    house = House(tmp_path)
    worked_long(vault)
    assert await house.issue(vault) == "issued"
    assert vault._made < RESTART_AFTER, "it was started anew"
    bring(vault, BundlePurpose.REPLACE, 2)
    worked_long(vault)
    assert await house.replace(vault) == "done"
    assert vault._made < RESTART_AFTER, "it was started anew"
    await assert_replaced(house.rig(vault))
    await house.close()


GROWTH = """
import gc
from tests.bench.vault_rates import Bench
from kioskd.edges.pkcs11.vault import RESTART_AFTER

def resident():
    gc.collect()
    return int(next(one for one in open("/proc/self/status") if one.startswith("VmRSS")).split()[1])

def work(count):
    for _ in range(count):
        bench.replacement()

bench = Bench("softhsm2", "P-256")
bench.arm()
work(300)
grown = []
for _ in range(2):
    before = resident()
    work(1000)
    grown.append(resident() - before)
    bench.issuer._made = RESTART_AFTER
    bench.issuer.holdings()
print(*grown)
"""


def test_the_memory_that_softhsm2_lost_is_used_again_after_a_restart() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    first, second = map(int, done.stdout.split())
    assert first > 2000, "kB in 1000 replacements: if it loses nothing any more, this is not needed"
    assert second < first / 4
