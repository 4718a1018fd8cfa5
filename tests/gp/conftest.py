"""Says at the end how many published figures were compared, and how many inputs the codecs read."""

import pytest

from tests.gp.figures import TALLY
from tests.gp.many import COUNT


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter", config: pytest.Config) -> None:
    """One line for each count that was made in this run."""
    if TALLY in config.stash:
        terminalreporter.write_line(str(config.stash[TALLY]))
    if COUNT in config.stash:
        terminalreporter.write_line(str(config.stash[COUNT]))
