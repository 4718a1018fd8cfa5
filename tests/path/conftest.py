"""The scene of a module's tests."""

import os
from collections.abc import Iterator

import pytest

from tests.path.scene import Scene, configured, open_scene

CARDS = 36


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """An armed installation, its access server and kiosk running."""
    if os.geteuid() != 0:
        pytest.skip("a private pcscd needs root, for its namespaces")
    with open_scene(tmp_path_factory.mktemp("p") / "s", CARDS) as opened:
        yield opened


@pytest.fixture
def impatient(scene: Scene) -> Iterator[Scene]:
    """The scene with a kiosk that calls a reader hung after a second."""
    with configured(scene, "reader: {", "reader: {transmit_timeout_s: 1.0, "):
        yield scene
