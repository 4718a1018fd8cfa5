"""The token fails at every call of a tap: nothing is changed, or the card is finished later; the server lives."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from pkcs11 import exceptions

from kioskd.edges.campaigns import arm
from kioskd.edges.pkcs11.vault import TokenVault
from kioskd.edges.store import BEGIN_WRITING
from kioskd.errors import HsmGone
from kioskd.rekey.bundle import BundlePurpose
from kioskd.rekey.bundle_check import pem_of
from tests.hsm.faulty import Fate, Watched
from tests.hsm.houses import CAMPAIGN, NOW, P256, House, bring, empty_vault, kms, known_bundle
from tests.rekey.proofs import assert_issued, assert_replaced
from tests.rig import Rig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KINDS: tuple[tuple[type[Exception], bool], ...] = (
    (exceptions.DeviceError, True),  # the HSM vanishes
    (exceptions.DeviceMemory, False),  # it is full, once
    (exceptions.ObjectHandleInvalid, False),  # an object is lost
    (exceptions.SessionHandleInvalid, True),  # the session is dead
    (exceptions.GeneralError, False),
)
REFUSALS = {"hsm-gone", "hsm-full", "vault-failed", "not-armed", "wrong-cryptogram", "internal"}
FILES = ("card.json", "access.db", "journal.db")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> TokenVault:
    """A token that issues."""
    return token(tmp_path_factory.mktemp("t") / "issuer", BundlePurpose.ISSUE, 1)


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> TokenVault:
    """A token that replaces."""
    return token(tmp_path_factory.mktemp("t") / "armed", BundlePurpose.REPLACE, 2)


def token(folder: Path, purpose: BundlePurpose, generation: int) -> TokenVault:
    vault = empty_vault("softhsm2", folder)
    assert isinstance(vault, TokenVault)
    bring(vault, purpose, generation)
    return vault


@pytest_asyncio.fixture
async def issued(issuer: TokenVault, tmp_path: Path) -> AsyncIterator[Callable[[], House]]:
    """Makes copies of one issued card, each with a store and a journal of its own."""
    (tmp_path / "first").mkdir()
    first = House(tmp_path / "first")
    assert await first.issue(issuer) == "issued"
    await first.store.run(lambda connection: arm(connection, CAMPAIGN), BEGIN_WRITING)
    await first.close()
    made: list[House] = []

    def copy() -> House:
        folder = tmp_path / f"copy-{len(made)}"
        folder.mkdir()
        for name in FILES:
            shutil.copy(first.folder / name, folder / name)
        made.append(House(folder, fresh=False))
        return made[-1]

    yield copy
    for one in made:
        await one.close()


def watched(vault: TokenVault, fate: Fate) -> None:
    """Puts the fate in front of the vault's token."""
    vault._token.session = Watched(fate, vault._token._login(vault._token._pin))


@pytest.mark.claim(15, 35, 37)
async def test_a_token_that_fails_at_any_call_of_a_replacement_leaves_a_card_that_is_finished_later(
    armed: TokenVault, issued: Callable[[], House], pytestconfig: pytest.Config
) -> None:
    fate = Fate()
    watched(armed, fate)
    assert await issued().rig(armed).tap() == "done"
    outcomes: dict[str, int] = {}
    count = len(fate.calls)
    assert count > 50
    for at in range(count):
        error, lasting = KINDS[at % len(KINDS)]
        house, where = issued(), f"call {at} ({fate.calls[at]}), {error.__name__}"
        before = house.card.kvns
        watched(armed, Fate(at, error, lasting))
        outcome = await house.rig(armed).tap()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        state = await house.rig(armed).state()
        if outcome != "done" and not state.open:
            assert house.card.kvns == before, where
        assert outcome in (*REFUSALS, "done", "not-finished"), where
        assert 0x3E in house.card.kvns, where
        watched(armed, Fate())
        armed._token._lost = True  # as a server that was told so; the next tap logs in again
        assert await house.rig(armed).tap() in ("done", "already-done"), where
        await assert_replaced(house.rig(armed), where)
    _tell(pytestconfig, f"hsm failures: replacement, {count} calls, each failed once: {_words(outcomes)}")
    assert "internal" not in outcomes


@pytest.mark.claim(1, 29, 31)
async def test_a_token_that_fails_at_any_call_of_an_issuance_leaves_a_card_that_is_finished_later(
    issuer: TokenVault, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    def blank(name: str) -> House:
        (tmp_path / name).mkdir()
        return House(tmp_path / name)

    fate, house = Fate(), blank("undisturbed")
    watched(issuer, fate)
    assert await house.issue(issuer) == "issued"
    await house.close()
    outcomes: dict[str, int] = {}
    for at in range(len(fate.calls)):
        error, lasting = KINDS[at % len(KINDS)]
        house, where = blank(f"at-{at}"), f"call {at} ({fate.calls[at]}), {error.__name__}"
        watched(issuer, Fate(at, error, lasting))
        outcome = await house.issue(issuer)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert outcome in (*REFUSALS, "issued", "not-finished"), where
        watched(issuer, Fate())
        issuer._token._lost = True
        assert await house.issue(issuer) in ("issued", "already-issued"), where
        await assert_issued(house.rig(issuer), where)
        await house.close()
    _tell(pytestconfig, f"hsm failures: issuance, {len(fate.calls)} calls, each failed once: {_words(outcomes)}")
    assert "internal" not in outcomes


async def test_a_token_that_fails_at_any_call_of_a_rotation_leaves_a_card_that_is_rotated_later(
    issued: Callable[[], House], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    vault = token(tmp_path / "both", BundlePurpose.ISSUE, 1)
    _bring_epoch_two(vault)
    bring(vault, BundlePurpose.REPLACE, 2)

    def rig(house: House) -> Rig:
        made = house.rig(vault)
        made.rotates = True
        return made

    def copy_of(house: House, name: str) -> House:
        folder = tmp_path / name
        folder.mkdir()
        for file in FILES:
            shutil.copy(house.folder / file, folder / file)
        return House(folder, fresh=False)

    fate, done = Fate(), copy_of(issued(), "replaced")
    assert await done.rig(vault).tap() == "done"
    await done.close()
    first = copy_of(done, "undisturbed")
    watched(vault, fate)
    assert await rig(first).tap() == "done"
    await first.close()
    outcomes: dict[str, int] = {}
    for at in range(len(fate.calls)):
        error, lasting = KINDS[at % len(KINDS)]
        house, where = copy_of(done, f"at-{at}"), f"call {at} ({fate.calls[at]}), {error.__name__}"
        watched(vault, Fate(at, error, lasting))
        outcome = await rig(house).tap()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert outcome in (*REFUSALS, "done", "already-done", "not-finished"), where
        watched(vault, Fate())
        vault._token._lost = True
        assert await rig(house).tap() in ("done", "already-done", "nothing-to-do"), where
        state = await rig(house).state()
        assert state.closed is not None and not state.open, where
        assert state.closed.krk.epoch == 2 and house.card.kvns == {0x3F, 0x32}, where
        await house.close()
    _tell(pytestconfig, f"hsm failures: rotation, {len(fate.calls)} calls, each failed once: {_words(outcomes)}")
    assert "internal" not in outcomes


def _bring_epoch_two(vault: TokenVault) -> None:
    """The issuing keys of another epoch."""
    raw = known_bundle(vault.transport_key(), BundlePurpose.ISSUE, 2, NOW, epoch=2, pair=P256)
    vault.import_bundle(raw, pem_of(kms().public_key()), NOW)


# The binding's search cannot end itself in a session that is dead, and says so when it is thrown away.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_session_that_dies_in_the_midst_is_opened_again_at_the_next_tap(
    armed: TokenVault, issued: Callable[[], House]
) -> None:
    house = issued()
    armed._token.session.close()
    assert await house.rig(armed).tap() == "hsm-gone"
    assert not (await house.rig(armed).state()).open
    assert await house.rig(armed).tap() == "done"
    await assert_replaced(house.rig(armed))


def test_a_lost_token_is_said_until_it_is_back(armed: TokenVault) -> None:
    watched(armed, Fate(0, exceptions.DeviceError, lasting=True))
    for _ in range(2):
        with pytest.raises(HsmGone):
            armed.challenge()
    armed.holdings()
    assert len(armed.challenge()) == 8


def _words(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items()))


def _tell(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line("\n" + line)
