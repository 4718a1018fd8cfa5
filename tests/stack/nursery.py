"""Where roles are started: a process that has loaded their code once, and forks a process for each start of a role.

`python -m tests.stack.nursery` reads one order a line, as JSON, and answers with the new process's number. What runs
in that process is the role's own main, with its own arguments; only the second that Python takes to load it is saved.
A role that is started here ends with the nursery.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from kioskd.__main__ import main as role_main
from tests.stack.boundaries import Boundaries

LOADED = (
    "kioskd.kiosk.daemon",
    "kioskd.station.cli",
    "kioskd.access.cli",
    "kioskd.kms.cli",
    "sqlalchemy.dialects.sqlite",
)
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
EXIT = "exit code "
"""Begins the last line of a role that ends by itself."""


def main() -> None:
    """Takes orders until nobody is there to give any."""
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be(order)
        print(pid, flush=True)


def _be(order: dict[str, Any]) -> None:
    """Becomes the role."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if order["network"] and libc.setns(os.open(order["network"], os.O_RDONLY), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network namespace")
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        boundaries = Boundaries(Path(order["plan"]), Path(order["trace"]))
        boundaries.install()
        if order["command"]:
            boundaries.install_files()
        sys.argv = ["kioskd", *order["args"]]
        code = role_main(order["args"])
        print(f"{EXIT}{code}", flush=True)
    except BaseException:  # noqa: BLE001 - the last word of a process
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
