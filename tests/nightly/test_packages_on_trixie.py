"""The packages on Debian 13: built there, installed on machines with its systemd, on its own Python packages."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_packages_do_on_trixie_what_they_do_on_bookworm(root_only: None) -> None:
    command = [sys.executable, "-m", "pytest", "-v", "--durations=0", "tests/packages/test_in_containers.py"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "KIOSKD_TEST_SUITE": "trixie"}, check=False)
    assert done.returncode == 0
