"""What every test folder may use; nothing here knows a role."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from kioskd.virtual.pcscd import PrivatePcscd
from tests import areas
from tests.claims.patent import CLAIMS, page

_CLAIMS = pytest.StashKey[dict[int, dict[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--claims FILE` writes the page of the claims; `--reader NAME` runs tests/card on a card that is real."""
    parser.addoption("--claims", type=Path, help="write claim -> tests -> result to this file")
    parser.addoption("--reader", help="tests/card: the card in the reader whose name contains this, not a virtual one")
    parser.addoption("--card-id", help="with --reader: the card that may be tested, such as cplc:4790...")
    parser.addoption("--card-list", type=Path, help="with --reader: the YAML file of the cards that may be tested")


def pytest_configure(config: pytest.Config) -> None:
    """Room for the results."""
    config.stash[_CLAIMS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuses a claim that there is not, and leaves only the claims' tests if their page is wanted."""
    for item in items:
        for number in claims_of(item):
            if number not in CLAIMS:
                raise pytest.UsageError(f"{item.nodeid}: there is no claim {number}")
    if config.getoption("claims"):
        items[:] = [item for item in items if claims_of(item)]


def claims_of(item: pytest.Item) -> tuple[int, ...]:
    """The claims that a test stands for."""
    return tuple(number for marker in item.iter_markers("claim") for number in marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes what a claim's test gave."""
    report = yield
    if report.when == "call" or not report.passed:
        name = item.nodeid.partition("[")[0]
        for number in claims_of(item):
            known = item.config.stash[_CLAIMS].setdefault(number, {})
            if known.get(name, "passed") == "passed":
                known[name] = report.outcome
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the page."""
    file = session.config.getoption("claims")
    if file is not None:
        results = session.config.stash[_CLAIMS]
        file.write_text(page(results))


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows where the time went, of a run that took some."""
    reports = [one for kept in terminalreporter.stats.values() for one in kept if isinstance(one, pytest.TestReport)]
    for line in areas.lines(reports, config.getoption("numprocesses", None) or 1):
        terminalreporter.write_line(line)
