"""The access server that this folder's tests enrol at."""

from collections.abc import Iterator

import pytest

from tests.enrolment.offices import Registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One for the tests of a module; each uses names of its own."""
    with Registry(tmp_path_factory.mktemp("r") / "house") as opened:
        yield opened
