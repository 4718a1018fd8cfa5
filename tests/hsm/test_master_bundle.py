"""The issuer's other systems get a master block wrapped to their own key, and with the export open every card."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kioskd.edges.card_index import issued_cards
from kioskd.edges.certificates import create_ca, issue_server
from kioskd.edges.signed_export import sign, table_of, verify_command
from kioskd.errors import BadBundle, VaultError
from kioskd.kms.release import release, share
from kioskd.ports import KmsVault
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.bundle_check import pem_of
from kioskd.rekey.master_bundle import MasterBundle
from tests.hsm.houses import House, empty_vault
from tests.kms.contract.keepers import KMS_KEEPERS

pytestmark = [pytest.mark.slow]

NOW, WINDOW = 1000, (900, 1100)


@pytest.fixture(params=list(KMS_KEEPERS))
def kms(request: pytest.FixtureRequest, tmp_path: Path) -> KmsVault:
    """A vault with generations 1 and 2 and epoch 1."""
    vault = KMS_KEEPERS[request.param](tmp_path).vault
    assert (vault.generate(), vault.generate(), vault.new_epoch(2048)) == (1, 2, 1)
    return vault


@pytest.fixture(scope="module")
def theirs() -> rsa.RSAPrivateKey:
    """The card management system's transport key."""
    return rsa.generate_private_key(65537, 2048)


def exported(folder: Path, content: bytes) -> dict[str, str]:
    """The one row of the export, as OpenSSL gives it."""
    create_ca(folder / "ca", "authority")
    issue_server(folder / "ca", "access.example", ("access.example",), folder)
    key = (folder / "access.example.key").read_bytes()
    (folder / "cards.p7m").write_bytes(sign(content, (folder / "access.example.crt").read_bytes(), key))
    words = verify_command(f"{folder}/ca/ca.crt", f"{folder}/cards.p7m").split()
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
    (row,) = csv.DictReader(io.StringIO(said))
    return row


def computed(bundle: bytes, private: rsa.RSAPrivateKey, kms: bytes, row: dict[str, str]) -> list[str]:
    """What the other system computes."""
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    transport = private.private_bytes(pem, form, serialization.NoEncryption())
    given = {"bundle": bundle.decode(), "transport": transport.decode(), "kms": kms.decode(), "row": row}
    command = [sys.executable, "-I", str(Path(__file__).with_name("card_management.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, timeout=30)
    keys: list[str] = json.loads(done.stdout)
    return keys


async def test_another_system_opens_a_replaced_card_with_the_bundle_and_the_export(
    kms: KmsVault, theirs: rsa.RSAPrivateKey, tmp_path: Path
) -> None:
    access = empty_vault("soft", tmp_path / "access")
    for purpose, generation in ((BundlePurpose.ISSUE, 1), (BundlePurpose.REPLACE, 2)):
        bundle = release(kms, purpose, generation, 1, access.transport_key(), WINDOW, NOW)
        access.import_bundle(bundle, kms.public_key(), NOW)
        if purpose is BundlePurpose.ISSUE:
            house = House(tmp_path)
            assert await house.issue(access) == "issued"
    assert await house.replace(access) == "done"
    row = exported(tmp_path, table_of(await house.store.run(issued_cards)))
    shared = share(kms, 2, pem_of(theirs.public_key()), WINDOW)
    assert computed(shared, theirs, kms.public_key(), row) == house.on_card(0x32)
    other = share(kms, 1, pem_of(theirs.public_key()), WINDOW)
    assert computed(other, theirs, kms.public_key(), row | {"generation": "1"}) != house.on_card(0x32)
    await house.close()


def test_it_has_one_block_and_nothing_of_an_epoch_and_is_noted(kms: KmsVault, theirs: rsa.RSAPrivateKey) -> None:
    raw = share(kms, 2, pem_of(theirs.public_key()), WINDOW)
    assert set(json.loads(raw)) == {"header", "kek", "mkdb", "signature"}
    (note,) = kms.holdings().releases
    header = MasterBundle.decode(raw).header
    assert (note.purpose, note.generation, note.epoch) == (BundlePurpose.SHARE, 2, 0)
    assert (note.id, note.recipient) == (header.id, header.recipient)
    assert kms.holdings().issuing == (1,), "it arms nothing"


def test_a_generation_that_is_not_held_is_not_shared(kms: KmsVault, theirs: rsa.RSAPrivateKey) -> None:
    with pytest.raises(VaultError, match="generation 3: there is none"):
        share(kms, 3, pem_of(theirs.public_key()), WINDOW)
    assert kms.holdings().releases == ()


def test_an_access_server_takes_no_master_bundle(kms: KmsVault, tmp_path: Path) -> None:
    access = empty_vault("soft", tmp_path / "access")
    raw = share(kms, 1, access.transport_key(), WINDOW)
    with pytest.raises(BadBundle):
        access.import_bundle(raw, kms.public_key(), NOW)
    assert access.holdings().generations == ()


def test_altered_in_one_byte_it_is_refused_by_who_checks_it(kms: KmsVault, theirs: rsa.RSAPrivateKey) -> None:
    raw = share(kms, 1, pem_of(theirs.public_key()), WINDOW)
    row = {"card": "cplc:00", "generation": "1", "kvn": "31", "install": "1"}
    assert len(computed(raw, theirs, kms.public_key(), row)) == 3
    at = raw.index(b'"mkdb":"') + 9
    altered = raw[:at] + (b"0" if raw[at : at + 1] != b"0" else b"1") + raw[at + 1 :]
    with pytest.raises(subprocess.CalledProcessError):
        computed(altered, theirs, kms.public_key(), row)
