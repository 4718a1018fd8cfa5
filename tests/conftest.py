"""What every test folder may use; nothing here knows a role."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kioskd.virtual.pcscd import PrivatePcscd


@pytest.fixture
def root_only() -> None:
    """Skip where namespaces are not allowed; missing packages are a failure, for `make setup` installs them."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")


@pytest.fixture
def private_pcscd(root_only: None, tmp_path: Path) -> Iterator[PrivatePcscd]:
    """A real pcscd with one virtual reader, to which this process's own PC/SC calls go."""
    with PrivatePcscd(tmp_path) as pcscd:
        pcscd.serve_this_process()
        yield pcscd
