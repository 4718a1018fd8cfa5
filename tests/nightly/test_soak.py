"""Ten thousand taps at one kiosk with eight readers: what kiosk, access server and pcscd hold does not grow.

TAPS says how many. The result goes to standard output and to docs/results/.
"""

import json
import os
import time
from pathlib import Path

from tests.bench.results import record
from tests.soak.crowd import DONE, PULLED, Watch, figures, open_crowd
from tests.soak.samples import for_each, table, too_fast

TAPS = int(os.environ.get("TAPS", "10000"))
WARM = 4 * TAPS // 10  # by then SQLite's page cache at the access server is full
CARDS = 240
CAMPAIGNS = 8
MEMORY_KB = 100  # that a process may grow by in a thousand taps


def test_ten_thousand_taps_leave_nothing_behind(root_only: None, tmp_path: Path) -> None:
    setting_up = time.monotonic()
    with open_crowd(tmp_path / "s", CARDS, readers=4) as crowd:
        watch = Watch(crowd, TAPS // 100)
        began = time.monotonic()
        print(f"set up in {began - setting_up:.0f} s", flush=True)

        def meanwhile() -> None:
            watch.look()
            if crowd.taps >= (crowd.generation - 1) * TAPS // CAMPAIGNS:
                crowd.release()

        crowd.work(TAPS, meanwhile)
        watch.sample()
        took_s = time.monotonic() - began
        (tmp_path / "samples.json").write_text(json.dumps([[one.taps, one.figures] for one in watch.samples]))
        known = sum(crowd.outcomes[name] for name in DONE | PULLED)
        crowd.finish()
        assert crowd.unfinished() == []
        told = crowd.stage.roles.status("kiosk") or {}
        assert told["pending_reports"] == 0
    lines = [
        f"{TAPS} taps in {took_s:.0f} s, {TAPS / took_s:.1f} a second; {CARDS} cards, {crowd.generation - 1} campaigns",
        f"outcomes: {dict(sorted(crowd.outcomes.items()))}",
        "",
        *table(watch.samples, figures(MEMORY_KB), WARM),
        f"store: {for_each(watch.samples, 'store', 'replaced', WARM):.2f} kB for each card replaced, kept by design",
    ]
    record("Ten thousand taps on eight readers", lines, began, page="soak")
    assert known >= 0.999 * TAPS, crowd.outcomes
    assert too_fast(watch.samples, figures(MEMORY_KB), WARM) == []
