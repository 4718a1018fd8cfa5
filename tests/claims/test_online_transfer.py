"""From the second HSM to the first over the network: a service with its token, an access server with its own, TLS."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.access.vaults import create_vault, open_vault
from kioskd.config import load_access
from kioskd.kms.cli import main as kms
from kioskd.private_file import write_private
from kioskd.secret import Secret
from tests.hsm.houses import House
from tests.hsm.kms_tokens import new_token
from tests.kms.service import PEOPLE, Service, make_people
from tests.kms.test_kms_service import done
from tests.rekey.proofs import assert_issued, assert_replaced
from tests.vault.contract.keepers import FACTORY, PIN, SOFTHSM, softhsm_configuration

pytestmark = [pytest.mark.slow]


def token_words(label: str) -> str:
    """The token in a configuration."""
    return f"token: {{module: {SOFTHSM}, label: {label}, pin: @pin, configuration: {softhsm_configuration()}}}"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A key management server on a token, as a service; an access server on another that knows it."""
    folder = tmp_path / "service"
    folder.mkdir()
    write_private(folder / "pin", PIN.reveal())
    make_people(folder)
    label = new_token("kms")
    made = Service(folder, f"{{{token_words(label)}}}")
    vault = ("--module", SOFTHSM, "--token", label, "--pin-file", f"{folder}/pin")
    local = (*vault, "--configuration", softhsm_configuration(), "--transcript", f"{folder}/transcript")
    people = (word for one in PEOPLE for word in ("--custodian", f"{one}={folder}/{one}.pem"))
    assert kms(["init", *local, *people, "--quorum", "2"]) == 0
    assert kms(["export", *local, "--out", f"{folder}/kms.pem"]) == 0
    made.write_access(token_words(new_token("access")))
    made.start()
    yield made
    made.roles.stop_all()


@pytest.mark.claim(16, 27, 32, 33, 38, 39)
def test_what_the_second_hsm_made_reaches_the_first_online_and_issues_and_replaces_a_card(
    service: Service, tmp_path: Path
) -> None:
    config = load_access(service.folder / "access.yaml")
    access = create_vault(config)
    access.add_factory_set("factory", map(Secret, FACTORY))
    (service.folder / "transport.pem").write_bytes(access.transport_key())
    to = ("--to", f"{service.folder}/transport.pem")
    house = House(tmp_path)
    with asyncio.Runner() as loop:  # the command lines between have loops of their own
        done(service, "generate")
        done(service, "epoch", "--rsa-bits", "2048")
        done(service, "release", "--generation", "1", "--epoch", "1", *to, how=to)
        assert service.fetch() == 0
        assert loop.run(house.issue(open_vault(config))) == "issued"
        loop.run(assert_issued(house.rig(open_vault(config))))
        done(service, "generate")
        done(service, "arm", "--generation", "2", "--epoch", "1", "--campaign", "leak", *to, how=to)
        assert service.fetch() == 0
        assert loop.run(house.replace(open_vault(config))) == "done"
        loop.run(assert_replaced(house.rig(open_vault(config))))
        loop.run(house.close())
