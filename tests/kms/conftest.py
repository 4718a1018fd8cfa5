"""A desk on which the key management server is set up."""

import shutil
from pathlib import Path

import pytest

from kioskd.private_file import write_private
from kioskd.virtual.sealed import Cost
from kioskd.virtual.vault import SoftVault
from tests.kms.desk import PHRASE, Desk


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk's files with generation 1 and epoch 1: one for all tests, since RSA pairs take long to make."""
    desk = Desk(tmp_path_factory.mktemp("stock"))
    write_private(desk.folder / "phrase", b"correct horse\n")
    access = SoftVault.create(desk.folder / "access", PHRASE, cost=Cost(n=2, r=1), rsa_bits=2048)
    (desk.folder / "transport.pem").write_bytes(access.transport_key())
    desk.make_people()
    assert desk.init() == desk.act("generate") == desk.act("epoch", "--rsa-bits", "2048") == 0
    assert desk.run("export", "--out", "@kms.pem") == 0
    return desk.folder


@pytest.fixture
def stocked(stock: Path, tmp_path: Path) -> Desk:
    return Desk(Path(shutil.copytree(stock, tmp_path / "desk")))
