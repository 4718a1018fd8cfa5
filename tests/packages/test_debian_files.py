"""What debian/ says about this tree is true, without building anything."""

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kioskd.__main__ import ROLES
from kioskd.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = ROOT / "debian"
REPORT = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
AT_A_TERMINAL = ("kioskd.kiosk.daemon", "kioskd.kiosk.kioskctl", ROLES["profile"][0], ROLES["sim"][0])


def listed() -> set[str]:
    """The wheels of a terminal."""
    return {line for line in (DEBIAN / "terminal-wheels").read_text().splitlines() if not line.startswith("#")}


def locked() -> set[str]:
    """All wheels that kioskd may need."""
    return set(re.findall(r"^([\w.-]+)==", (ROOT / "lock" / "runtime.txt").read_text(), re.MULTILINE))


def roles_in(name: str) -> set[str]:
    """The roles that a variable of debian/rules lists."""
    found = re.search(rf"^{name} := (.*)$", (DEBIAN / "rules").read_text(), re.MULTILINE)
    assert found is not None
    return set(found[1].split())


def test_the_packages_have_the_version_of_the_software() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"kioskd ({VERSION}) ")


def test_every_role_but_the_terminals_is_in_one_other_package_or_said_to_be_in_none() -> None:
    elsewhere = [roles_in(name) for name in ("SERVER_ROLES", "SIM_ROLES", "NO_ROLES")]
    assert set.union(*elsewhere) == set(ROLES) - {"kiosk", "profile"}
    assert sum(map(len, elsewhere)) == len(set.union(*elsewhere))


def test_a_wheel_of_a_terminal_is_one_of_the_lock() -> None:
    assert listed() <= locked()


@pytest.mark.slow
@pytest.mark.parametrize("module", AT_A_TERMINAL)
def test_what_a_terminal_loads_comes_with_its_package(module: str) -> None:
    command = [sys.executable, "-c", REPORT, module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    owners = packages_distributions()
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)} & set(owners)
    wheels = {owner.lower().replace("_", "-") for name in loaded for owner in owners[name]}
    assert wheels & locked()
    assert wheels & locked() <= listed()
