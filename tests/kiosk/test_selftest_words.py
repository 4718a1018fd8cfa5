"""What `kioskctl selftest` shows of its checks: a mark for each, and the one thing to do next."""

from typing import Any

import pytest

from kioskd.kiosk.selftest_cli import selftest_lines

WELL = {"name": "disk", "well": True, "found": "/var/lib/kioskd: 700 MB are free.", "advice": ""}
FAILS = {"name": "network", "well": False, "found": "access:1: no connection", "advice": "Check the network."}
LOOK = {"name": "clock", "well": None, "found": "no time service steers it.", "advice": "Turn one on."}
SKIPPED = {"name": "tls", "well": None, "found": "Not tried: network comes first.", "advice": ""}


def shown(*checks: dict[str, Any]) -> list[str]:
    """The lines, without their looks."""
    return ["".join(piece.words for piece in line) for line in selftest_lines({"checks": checks})]


@pytest.mark.parametrize(("check", "mark"), [(WELL, "pass"), (FAILS, "FAIL"), (LOOK, "look"), (SKIPPED, "skip")])
def test_each_check_has_its_mark(check: dict[str, Any], mark: str) -> None:
    assert shown(check)[0].split()[:2] == [check["name"], mark]


@pytest.mark.parametrize(
    ("checks", "step"),
    [
        ((WELL,), "Next: nothing; every part works."),
        ((WELL, LOOK), "Next: Turn one on."),
        ((LOOK, FAILS, SKIPPED), "Next: Check the network."),
        ((WELL, SKIPPED), "Next: nothing; every part that was tried works."),
    ],
)
def test_the_last_line_is_the_most_urgent_thing_to_do(checks: tuple[dict[str, Any], ...], step: str) -> None:
    assert shown(*checks)[-1] == step
