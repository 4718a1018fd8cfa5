"""From the second HSM to the first, with both at one server too: nothing in clear on the way, and no second use."""

import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass, exceptions

from kioskd.edges.pkcs11 import templates
from kioskd.edges.pkcs11.kms import TokenKms
from kioskd.errors import BadBundle, VaultError
from kioskd.kms.release import release
from kioskd.ports import KeptVault
from kioskd.rekey.bundle import Bundle, BundlePurpose
from tests.hsm.faulty import Fate, Watched
from tests.hsm.houses import House, empty_vault
from tests.hsm.kms_tokens import kms_token
from tests.rekey.proofs import assert_issued, assert_replaced

pytestmark = [pytest.mark.slow]

ISSUE, REPLACE = BundlePurpose.ISSUE, BundlePurpose.REPLACE
NOW = 1000
MKDB, KRKDB = b"a master block with a known name", b"a replacement block, known, too!"


@dataclass
class Servers:
    """Both HSMs on one machine: the placements of claims 28, 34 and 40; and of 27, were they on two."""

    kms: TokenKms
    access: KeptVault

    def release(self, purpose: BundlePurpose, generation: int) -> bytes:
        """A bundle of epoch 1 for the access server."""
        window = (NOW - 10, NOW + 10)
        return release(self.kms, purpose, generation, 1, self.access.transport_key(), window, NOW)

    def take(self, bundle: bytes, now: int = NOW) -> None:
        """The access server's import."""
        self.access.import_bundle(bundle, self.kms.public_key(), now)


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    """The KMS holds generation 1 and epoch 1, made in its token."""
    made = Servers(kms_token(), empty_vault("softhsm2", tmp_path / "access"))
    assert (made.kms.generate(), made.kms.new_epoch(2048)) == (1, 1)
    return made


@pytest.mark.claim(16, 27, 28, 30, 32, 33, 34, 36, 38, 39, 40)
@pytest.mark.parametrize("kind", ["softhsm2", "nss", "soft"])
async def test_cards_are_issued_and_replaced_with_what_one_hsm_gave_the_other(tmp_path: Path, kind: str) -> None:
    servers = Servers(kms_token(), empty_vault(kind, tmp_path / "access"))
    assert (servers.kms.generate(), servers.kms.new_epoch(2048), servers.kms.generate()) == (1, 1, 2)
    servers.take(servers.release(ISSUE, 1))
    house = House(tmp_path)
    assert await house.issue(servers.access) == "issued"
    await assert_issued(house.rig(servers.access))
    servers.take(servers.release(REPLACE, 2))
    assert await house.replace(servers.access) == "done"
    await assert_replaced(house.rig(servers.access))
    await house.close()


@pytest.mark.claim(16, 27)
def test_no_block_is_in_a_bundle_in_the_clear(tmp_path: Path) -> None:
    servers = Servers(kms_token(), empty_vault("softhsm2", tmp_path / "access"))
    for label, value in (("MKDB 1", MKDB), ("KRKDB 1", KRKDB)):
        kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: label}
        known = {**kind, Attribute.VALUE: value, **templates.transferred_block()}
        servers.kms._token.session.create_object(known)
    assert servers.kms.new_epoch(2048) == 1
    for purpose in (ISSUE, REPLACE):
        raw = servers.release(purpose, 1)
        bundle = Bundle.decode(raw)
        whole = raw + bundle.mkdb + bundle.krkdb + bundle.private + bundle.kek
        for value in (MKDB, KRKDB):
            for spelled in (value, value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value)[:-2]):
                assert spelled not in whole
        assert (bundle.private != b"") is (purpose is REPLACE)


@pytest.mark.claim(16, 27)
def test_a_bundle_is_taken_in_once_by_its_recipient_in_its_window_as_it_was_written(
    servers: Servers, tmp_path: Path
) -> None:
    raw = servers.release(ISSUE, 1)
    stranger = empty_vault("softhsm2", tmp_path / "stranger")
    refusals: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: stranger.import_bundle(raw, servers.kms.public_key(), NOW), "another access server"),
        (lambda: servers.take(raw, NOW + 11), "expired"),
        (lambda: servers.take(raw, NOW - 11), "not be imported yet"),
        (lambda: servers.access.import_bundle(raw, kms_token().public_key(), NOW), "another key management server"),
    )
    for refused, words in refusals:
        with pytest.raises(BadBundle, match=words):
            refused()
    for at in range(2, len(raw), 97):
        with pytest.raises(BadBundle):
            servers.take(raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :])
    assert servers.access.holdings().issuing == ()
    servers.take(raw)
    with pytest.raises(BadBundle, match="imported before"):
        servers.take(raw)


@pytest.mark.claim(16)
def test_an_epoch_that_was_armed_issues_no_more_and_one_that_was_released_for_replacement_is_not_released_again(
    servers: Servers,
) -> None:
    servers.take(servers.release(ISSUE, 1))
    old = servers.release(ISSUE, 1)
    servers.take(servers.release(REPLACE, 1))
    assert (servers.access.holdings().issuing, servers.access.holdings().armed) == ((), (1,))
    with pytest.raises(BadBundle, match="issuing has ended for ever"):
        servers.take(old)
    with pytest.raises(VaultError, match="was released for replacement"):
        servers.release(ISSUE, 1)
    assert servers.kms.holdings().armed == (1,)
    servers.access.disarm(1)
    assert (servers.access.holdings().armed, servers.access.holdings().generations) == ((), ())


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_destruction_that_a_crash_cut_is_seen_and_finished(servers: Servers, at: int) -> None:
    servers.release(REPLACE, 1)
    token = servers.kms.token
    real = token.session
    token.session = Watched(Fate(at, exceptions.DeviceError, lasting=True), real)
    with suppress(VaultError):
        servers.kms.destroy_epoch(1)
    token.session = real
    if servers.kms.holdings().destroyed != (1,):
        assert servers.kms.holdings().armed == (1,), "it is not called destroyed while its private key is there"
        servers.kms.destroy_epoch(1)
    assert servers.kms.holdings().destroyed == (1,)
    kinds = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    assert not {"KRKDB 1", "E 1"} & {label for kind in kinds for label in token.labels(kind)}
    assert servers.kms.holdings().next_epoch == 2
