"""What every vault must do under an epoch whose pair is P-256, whatever stands behind the port."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kioskd.errors import BadBundle, NotArmed, VaultError
from kioskd.ports import Vault
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.labels import Cryptogram
from tests.vault.contract.keepers import EPOCH, FIGURES, HOST, KEEPERS, KRK, P256_EPOCH, Keeper
from tests.vault.contract.test_vault_contract import put

P256 = replace(KRK, number=P256_EPOCH)
POINT = bytes.fromhex(FIGURES["p256"]["point"])


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name != "soft" else ()) for name in KEEPERS])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Keeper:
    return KEEPERS[request.param](tmp_path)


@pytest.fixture
def curve(keeper: Keeper) -> Vault:
    """A vault of an armed epoch whose pair is P-256."""
    keeper.stock(BundlePurpose.REPLACE, P256_EPOCH)
    return keeper.vault


@pytest.mark.parametrize("case", FIGURES["p256"]["cases"], ids=lambda case: f"{case['bits']}")
def test_a_vault_reproduces_the_frozen_figures_of_p256(curve: Vault, case: dict[str, Any]) -> None:
    label = replace(P256, profile=case["profile"], bits=case["bits"])
    handle = curve.recover_krk(Cryptogram(2, P256_EPOCH, "", 0x3E, 1, POINT), label)
    assert put(curve, handle) == tuple(bytes.fromhex(case["members"][one]["key"]) for one in ("ENC", "MAC", "DEK"))
    assert curve.proves(handle, HOST, bytes.fromhex(case["answer"]))


def test_a_set_minted_under_p256_is_recovered_by_the_armed_vault(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE, P256_EPOCH)
    (one, first), (other, second) = keeper.vault.mint_krk(P256), keeper.vault.mint_krk(P256)
    values = put(keeper.vault, one)
    assert set(values).isdisjoint(put(keeper.vault, other)) and first.value != second.value
    assert (first.scheme, first.epoch, first.oaep, first.kvn, first.install) == (2, P256_EPOCH, "", 0x3E, 1)
    with pytest.raises(NotArmed):
        keeper.vault.recover_krk(first, P256)
    keeper.stock(BundlePurpose.REPLACE, P256_EPOCH)
    vault = keeper.again()
    assert put(vault, vault.recover_krk(first, P256)) == values
    with pytest.raises(NotArmed, match="issuing has ended"):
        vault.mint_krk(P256)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        POINT[:-1],
        POINT[:-1] + bytes((POINT[-1] ^ 1,)),
        b"\x02" + POINT[1:33],
        bytes(65),
        b"\x04" + bytes(64),
        b"\x00",
        b"\x04\x41" + POINT,
        b"\x04" + POINT[1:33] * 2,
    ],
    ids=["nothing", "cut", "not on the curve", "compressed", "zeros", "zero point", "infinity", "as octets", "x twice"],
)
def test_what_is_no_uncompressed_point_of_the_curve_makes_no_key(curve: Vault, point: bytes) -> None:
    with pytest.raises(VaultError, match="point of P-256"):
        curve.recover_krk(Cryptogram(2, P256_EPOCH, "", 0x3E, 1, point), P256)


def test_a_cryptogram_is_not_opened_by_a_pair_of_the_other_kind(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.REPLACE)
    keeper.stock(BundlePurpose.REPLACE, P256_EPOCH)
    vault, sealed = keeper.vault, bytes.fromhex(FIGURES["cryptogram"])
    for cryptogram, label in (
        (Cryptogram(1, P256_EPOCH, "SHA1", 0x3E, 1, sealed), P256),
        (Cryptogram(2, EPOCH, "", 0x3E, 1, POINT), KRK),
        (Cryptogram(2, P256_EPOCH, "SHA1", 0x3E, 1, POINT), P256),
        (Cryptogram(2, P256_EPOCH, "", 0x3F, 1, POINT), P256),
    ):
        with pytest.raises(VaultError, match=r"not known here|another key set"):
            vault.recover_krk(cryptogram, label)


def test_a_bundle_whose_private_key_is_that_of_another_curve_pair_is_refused(keeper: Keeper) -> None:
    keeper.stock(BundlePurpose.ISSUE, P256_EPOCH)
    with pytest.raises(BadBundle):
        keeper.stock_foreign_pair()
    with pytest.raises(NotArmed):
        keeper.vault.recover_krk(Cryptogram(2, P256_EPOCH, "", 0x3E, 1, POINT), P256)
