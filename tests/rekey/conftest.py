"""A card issued under generation 1 and an access server armed with generation 2, made once and copied for each run."""

import asyncio
import functools
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kioskd.edges.campaigns import arm
from kioskd.edges.journal import SqliteJournal
from kioskd.edges.store import BEGIN_WRITING, SqlStore
from kioskd.kms.release import release
from kioskd.rekey.bundle import BundlePurpose, Campaign
from kioskd.secret import Secret
from kioskd.virtual.card import VirtualCard
from kioskd.virtual.card_memory import FACTORY_KEY
from kioskd.virtual.derivation import KeyValues
from kioskd.virtual.kms import SoftKms
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.rekey.kinds import AES128, Kind
from tests.rig import Rig

CHEAP = Cost(n=2, r=1, p=1)
PASSPHRASE = Secret(b"for tests only")
NOW = 1_800_000_000
CAMPAIGN = Campaign("leak", 1, 2, (1,), 0, 2**40)


@dataclass(frozen=True, slots=True)
class Template:
    """Files to copy, and the two states of the vault (reading them changes nothing)."""

    kind: Kind
    folder: Path
    issuing: SoftVault
    armed: SoftVault


def _vaults(folder: Path, kind: Kind) -> tuple[SoftVault, SoftVault]:
    """An access vault that issues generation 1 under epoch 1, and a copy of it armed for generation 2."""
    kms = SoftKms.create(folder / "kms", PASSPHRASE, CHEAP)
    assert (kms.generate(), kms.generate(), kms.new_epoch(rsa_bits=2048)) == (1, 2, 1)
    issuing = SoftVault.create(folder / "issuing", PASSPHRASE, cost=CHEAP, rsa_bits=2048)
    factory = Secret(FACTORY_KEY[: kind.options.factory_key_bytes])
    issuing.add_factory_set("factory", KeyValues(factory, factory, factory))

    def bring(vault: SoftVault, purpose: BundlePurpose, generation: int) -> SoftVault:
        raw = release(kms, purpose, generation, 1, vault.transport_key(), (NOW - 60, NOW + 60), NOW)
        vault.import_bundle(raw, kms.public_key(), NOW)
        return vault

    bring(issuing, BundlePurpose.ISSUE, 1)
    shutil.copy(folder / "issuing", folder / "armed")
    return issuing, bring(SoftVault.open(folder / "armed", PASSPHRASE), BundlePurpose.REPLACE, 2)


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Template]:
    """The template of a kind of card, made when it is first asked for."""
    return functools.cache(lambda kind: _made(tmp_path_factory.mktemp("template"), kind))


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """The kind of card; a test that says nothing has AES-128 and S8."""
    chosen: Kind = getattr(request, "param", AES128)
    return chosen


@pytest.fixture
def template(templates: Callable[[Kind], Template], kind: Kind) -> Template:
    return templates(kind)


def _made(folder: Path, kind: Kind) -> Template:
    issuing, armed = _vaults(folder, kind)
    made = Template(kind, folder, issuing, armed)

    async def issue() -> None:
        rig = _rig(folder, issuing, kind)
        assert await rig.tap("issue") == "issued"
        await rig.store.run(lambda connection: arm(connection, CAMPAIGN), BEGIN_WRITING)
        rig.store.close()
        await rig.journal.close()

    asyncio.run(issue())
    return made


def _rig(folder: Path, vault: SoftVault, kind: Kind) -> Rig:
    card = VirtualCard(folder / "card.json", kind.options)
    store, journal = SqlStore(f"sqlite:///{folder}/access.db"), SqliteJournal(folder / "journal.db")
    return Rig(card, vault, store, journal, profile=kind.profile)


@pytest.fixture
def blank_card(template: Template, tmp_path: Path) -> Callable[[], Rig]:
    """A new rig with a card that only has its factory set, and a server that issues generation 1."""
    numbers = itertools.count()

    def make() -> Rig:
        folder = tmp_path / f"blank-{next(numbers)}"
        folder.mkdir()
        return _rig(folder, template.issuing, template.kind)

    return make


@pytest.fixture
def issued_card(template: Template, tmp_path: Path) -> Callable[[], Rig]:
    """A new rig with a card of generation 1 and a server armed for generation 2."""
    numbers = itertools.count()

    def make() -> Rig:
        folder = tmp_path / f"issued-{next(numbers)}"
        folder.mkdir()
        for name in ("card.json", "access.db", "journal.db"):
            shutil.copy(template.folder / name, folder / name)
        return _rig(folder, template.armed, template.kind)

    return make
