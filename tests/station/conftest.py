"""The installation of the tests of the station."""

import os
from collections.abc import Iterator

import pytest

from kioskd.demo.stage import Stage
from tests.station.hands import open_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A station of four readers, not started, and its access server at work."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with open_stage(tmp_path_factory.mktemp("b") / "s") as opened:
        yield opened
