"""The scene of a module's tests."""

import os
from collections.abc import Iterator

import pytest

from tests.path.scene import Scene, open_scene

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
    config = scene.stage.folder / "kiosk.yaml"
    usual = config.read_text()
    config.write_text(usual.replace("reader: {", "reader: {transmit_timeout_s: 1.0, "))
    assert config.read_text() != usual
    scene.stage.roles.stop("kiosk")
    scene.stage.start_terminal("kiosk")
    yield scene
    scene.stage.roles.stop("kiosk")
    config.write_text(usual)
    scene.stage.start_terminal("kiosk")
