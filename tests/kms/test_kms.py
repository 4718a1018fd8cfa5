"""The key management server's vault, its bundles, and the access server's vault that takes them in."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kioskd.errors import BadBundle, BadConfiguration, VaultError
from kioskd.gp.cplc import CardId
from kioskd.kms.release import release
from kioskd.rekey.bundle import (
    BUNDLE_VERSION,
    Bundle,
    BundleContents,
    BundleHeader,
    BundlePurpose,
    Campaign,
    Imported,
    in_words,
)
from kioskd.rekey.bundle_check import fingerprint_of, load_public, read_transport_key, spki_of
from kioskd.rekey.labels import KeyLabel
from kioskd.secret import Secret
from kioskd.virtual.bundle_keys import load_private, make_rsa, seal_bundle
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault

CHEAP = Cost(n=2, r=1)
PHRASE = Secret(b"correct horse")
CARD = CardId("cplc", b"0123456789")
ISSUE, REPLACE = BundlePurpose.ISSUE, BundlePurpose.REPLACE


@dataclass
class Pair:
    """A KMS with generations 1 and 2 and epoch 1, and an access server's vault."""

    kms: SoftKms
    vault: SoftVault
    folder: Path

    def release(self, purpose: BundlePurpose, generation: int = 1, epoch: int = 1) -> bytes:
        """A bundle for the vault, open from 100 to 200, made at 100."""
        return release(self.kms, purpose, generation, epoch, self.vault.transport_key(), (100, 200), 100)

    def take(self, bundle: bytes, now: int = 150) -> Imported:
        """The vault's import."""
        return self.vault.import_bundle(bundle, self.kms.public_key(), now)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a pair: one for all tests, since RSA pairs take long to make."""
    folder = tmp_path_factory.mktemp("stock")
    kms = SoftKms.create(folder / "kms", PHRASE, CHEAP)
    assert (kms.generate(), kms.generate(), kms.new_epoch(2048)) == (1, 2, 1)
    SoftVault.create(folder / "access", PHRASE, cost=CHEAP, rsa_bits=2048)
    return folder


def copy_of(stock: Path, folder: Path) -> Pair:
    shutil.copytree(stock, folder)
    return Pair(SoftKms.open(folder / "kms", PHRASE), SoftVault.open(folder / "access", PHRASE), folder)


@pytest.fixture
def pair(stock: Path, tmp_path: Path) -> Pair:
    return copy_of(stock, tmp_path / "pair")


@pytest.fixture(scope="module")
def steady(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, bytes]:
    """A pair that refuses everything it is shown, and one good bundle that it never gets."""
    made = copy_of(stock, tmp_path_factory.mktemp("steady") / "pair")
    return made, made.release(REPLACE, 2)


def test_cards_issued_under_one_bundle_are_replaced_under_the_next(pair: Pair) -> None:
    assert pair.take(pair.release(ISSUE)) == Imported(ISSUE, 1, 1)
    assert pair.vault.holdings().issuing == (1,)
    label = KeyLabel("KRK", 1, 1, "gp-scp03-aes128", 0x3E, CARD)
    _, cryptogram = pair.vault.mint_krk(label)
    campaign = Campaign("generation-2", 1, 2, (1,), 100, 200)
    assert pair.take(pair.release(REPLACE, 2)) == Imported(REPLACE, 2, 1, campaign)
    pair.vault.recover_krk(cryptogram, label)
    pair.vault.derive_master(KeyLabel("MK", 2, 1, "gp-scp03-aes128", 0x32, CARD))
    held = pair.vault.holdings()
    assert (held.generations, held.issuing, held.armed, held.generation_of(1)) == ((1, 2), (), (1,), 2)


def test_an_issue_bundle_holds_no_private_key(pair: Pair) -> None:
    pair.take(pair.release(ISSUE))
    assert pair.vault._held().epochs[1].private is None


def test_ending_issue_destroys_the_block_in_the_file_too(pair: Pair) -> None:
    pair.take(pair.release(ISSUE))
    pair.vault.end_issue(1)
    assert SoftVault.open(pair.folder / "access", PHRASE)._held().epochs[1].krkdb is None
    pair.take(pair.release(REPLACE, 2))
    assert pair.vault.holdings().armed == (1,)


def test_a_bundle_is_taken_in_once_even_by_another_process(pair: Pair) -> None:
    bundle = pair.release(ISSUE)
    pair.take(bundle)
    for vault in (pair.vault, SoftVault.open(pair.folder / "access", PHRASE)):
        with pytest.raises(BadBundle, match="imported before"):
            vault.import_bundle(bundle, pair.kms.public_key(), 150)


@pytest.mark.parametrize(("now", "words"), [(99, "not be imported yet"), (201, "has expired")])
def test_a_bundle_outside_its_window_is_refused(pair: Pair, now: int, words: str) -> None:
    with pytest.raises(BadBundle, match=words):
        pair.take(pair.release(ISSUE), now)
    assert pair.vault.holdings().epochs == ()


@pytest.mark.parametrize("now", [100, 200])
def test_both_ends_of_the_window_are_inside_it(pair: Pair, now: int) -> None:
    assert pair.take(pair.release(ISSUE), now).purpose is ISSUE


def test_a_bundle_for_another_access_server_is_refused(pair: Pair, tmp_path: Path) -> None:
    other = SoftVault.create(tmp_path / "other", PHRASE, cost=CHEAP, rsa_bits=2048)
    with pytest.raises(BadBundle, match="for another access server"):
        other.import_bundle(pair.release(ISSUE), pair.kms.public_key(), 150)


def test_a_bundle_of_another_kms_is_refused(pair: Pair, tmp_path: Path) -> None:
    stranger = SoftKms.create(tmp_path / "stranger", PHRASE, CHEAP)
    with pytest.raises(BadBundle, match="another key management server"):
        pair.vault.import_bundle(pair.release(ISSUE), stranger.public_key(), 150)


def test_a_pinned_key_that_is_none_is_a_configuration_error(pair: Pair) -> None:
    for pem in (b"", b"garbage", pair.vault.transport_key()):
        with pytest.raises(BadConfiguration, match="KMS key"):
            pair.vault.import_bundle(pair.release(ISSUE), pem, 150)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_bundle_with_one_byte_changed_is_refused(steady: tuple[Pair, bytes], data: st.DataObject) -> None:
    pair, bundle = steady
    at = data.draw(st.integers(0, len(bundle) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != bundle[at]))
    with pytest.raises(BadBundle):
        pair.take(bundle[:at] + bytes((byte,)) + bundle[at + 1 :])
    assert pair.vault.holdings().epochs == ()


@pytest.mark.slow
def test_every_byte_of_a_bundle_counts(steady: tuple[Pair, bytes]) -> None:
    pair, bundle = steady
    for at, byte in enumerate(bundle):
        swapped = ord(chr(byte).swapcase()) if chr(byte).isalpha() else byte ^ 1
        with pytest.raises(BadBundle):
            pair.take(bundle[:at] + bytes((swapped,)) + bundle[at + 1 :])


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda raw: raw.rstrip(),
        lambda raw: raw + b"\n",
        lambda raw: b" " + raw,
        lambda raw: json.dumps(json.loads(raw)).encode() + b"\n",
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":1,"epoch":1'),
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":1.0'),
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw * 40,
        lambda _: b"[" * 60000,
        lambda _: b"\xff\xfe",
        lambda _: b"null\n",
    ],
)
def test_a_bundle_written_in_another_way_is_refused(
    steady: tuple[Pair, bytes], rewrite: Callable[[bytes], bytes]
) -> None:
    pair, bundle = steady
    with pytest.raises(BadBundle):
        pair.take(rewrite(bundle))


@given(raw=st.binary(max_size=200))
def test_garbage_is_no_bundle(raw: bytes) -> None:
    with pytest.raises(BadBundle):
        Bundle.decode(raw)


def test_keys_that_contradict_those_held_are_refused(pair: Pair) -> None:
    """A KMS that signs another block or pair under a known number does not overwrite the first."""
    pair.take(pair.release(ISSUE))
    held = pair.vault._held()
    recipient = read_transport_key(pair.vault.transport_key())
    good = BundleContents(held.blocks[1], held.epochs[1].krkdb or Secret(b""), held.epochs[1].public, None)
    header = BundleHeader(BUNDLE_VERSION, bytes(16), ISSUE, 1, 1, fingerprint_of(recipient), 100, 200)
    stranger = make_rsa(2048)
    spki = spki_of(load_public(good.public))
    for contents, words in (
        (replace(good, mkdb=Secret(bytes(32))), "generation 1: another block"),
        (replace(good, krkdb=Secret(bytes(32))), "epoch 1: other keys"),
        (replace(good, public=pair_public(stranger)), "epoch 1: other keys"),
        (replace(good, public=b"no key"), "public key is damaged"),
        (
            replace(good, private=pair.kms._held().epochs[1].private),
            "a replace bundle, and no other, has a private key",
        ),
    ):
        with pytest.raises(BadBundle, match=words):
            pair.take(seal_bundle(header, contents, recipient, pair.kms._signing_key()))
    arming = replace(header, purpose=REPLACE, campaign=Campaign("leak", 0, 1, (1,), 100, 200))
    for contents, words in (
        (good, "a replace bundle, and no other, has a private key"),
        (replace(good, private=stranger, public=spki), "private key is not that of its public key"),
    ):
        with pytest.raises(BadBundle, match=words):
            pair.take(seal_bundle(arming, contents, recipient, pair.kms._signing_key()))
    pair.take(seal_bundle(header, good, recipient, pair.kms._signing_key()))


def pair_public(private: Secret) -> bytes:
    return spki_of(load_private(private).public_key())


def test_the_kms_makes_no_issue_bundle_of_an_armed_epoch(pair: Pair) -> None:
    pair.release(REPLACE, 2)
    for kms in (pair.kms, SoftKms.open(pair.folder / "kms", PHRASE)):
        pair.kms = kms
        with pytest.raises(VaultError, match="released for replacement"):
            pair.release(ISSUE)
    assert pair.release(REPLACE, 1)
    assert (pair.kms.holdings().issuing, pair.kms.holdings().armed) == ((), (1,))


@pytest.mark.parametrize(("generation", "epoch"), [(3, 1), (1, 2), (0, 1), (1, 0), (-1, 1), (2**40, 1)])
def test_the_kms_releases_only_what_it_made(pair: Pair, generation: int, epoch: int) -> None:
    with pytest.raises(VaultError):
        pair.release(ISSUE, generation, epoch)
    assert pair.kms.holdings().releases == ()


def test_the_kms_keeps_a_list_of_what_it_released(pair: Pair) -> None:
    pair.release(ISSUE)
    (one,) = SoftKms.open(pair.folder / "kms", PHRASE).holdings().releases
    assert (one.purpose, one.generation, one.epoch, one.not_after) == (ISSUE, 1, 1, 200)
    assert one.recipient == fingerprint_of(read_transport_key(pair.vault.transport_key()))


def test_a_window_that_is_over_is_not_released(pair: Pair) -> None:
    with pytest.raises(VaultError, match="window"):
        release(pair.kms, ISSUE, 1, 1, pair.vault.transport_key(), (100, 200), 201)


def test_the_vaults_do_not_open_as_each_other(pair: Pair) -> None:
    with pytest.raises(VaultError, match="kms-vault"):
        SoftVault.open(pair.folder / "kms", PHRASE)
    with pytest.raises(VaultError, match="access-vault"):
        SoftKms.open(pair.folder / "access", PHRASE)


def test_a_running_vault_sees_what_another_process_imported(pair: Pair) -> None:
    other = SoftVault.open(pair.folder / "access", PHRASE)
    other.import_bundle(pair.release(ISSUE), pair.kms.public_key(), 150)
    other.add_factory_set("factory", KeyValues(Secret(b"E" * 16), Secret(b"M" * 16), Secret(b"D" * 16)))
    held = pair.vault.holdings()
    assert (held.issuing, held.factory_sets) == ((1,), ("factory",))
    assert SoftVault.open(pair.folder / "access", PHRASE).holdings() == held


def test_no_key_of_either_vault_is_on_disk_in_the_clear(pair: Pair) -> None:
    pair.take(pair.release(ISSUE))
    bundle = pair.release(REPLACE, 2)
    pair.take(bundle)
    held = pair.vault._held()
    secrets = [*held.blocks.values(), held.transport, held.journal]
    secrets += [one for epoch in held.epochs.values() for one in (epoch.krkdb, epoch.private) if one is not None]
    assert len(secrets) == 6
    written = [path.read_bytes() for path in pair.folder.iterdir()] + [bundle]
    for secret in secrets:
        value = secret.reveal()[-24:]
        for text in written:
            assert value not in text
            assert value.hex().encode() not in text.lower()


def test_a_fingerprint_is_shown_in_groups() -> None:
    assert in_words(bytes.fromhex("ab12cd34ef")) == "AB12 CD34 EF"
