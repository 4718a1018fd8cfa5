"""Answers of GET /status as a kiosk gives them: a healthy one, recorded, and what changes when something is wrong."""

from typing import Any

NOW = 1796000000.0  # 2026-11-30 00:53:20 UTC
DAY_S = 86400.0
READER = "ACS ACR39U ICC Reader 00 00"


def tap(name: str, ago_s: float, outcome: str, code: str, ms: float, card: str) -> dict[str, Any]:
    """A tap that has ended."""
    return {
        "tap": name,
        "reader": READER,
        "began": NOW - ago_s,
        "card": card,
        "outcome": outcome,
        "code": code,
        "ms": ms,
        "moments": [{"what": "connect", "ms": 31.2}, {"what": "round trip", "ms": 84.0}],
    }


TAPS = [
    tap("5f0c1b9a", 2412, "done", "K100", 2871, "cplc:…6008A1F0"),
    tap("c2d4e6f8", 1190, "already-done", "K102", 412, "cplc:…6008A1F0"),
    tap("90ab12cd", 733, "done", "K100", 2904, "cplc:…60091C37"),
    tap("1e2d3c4b", 95, "done", "K100", 2858, "cplc:…6008FFE2"),
]

HEALTHY: dict[str, Any] = {
    "name": "kiosk-17",
    "role": "kiosk",
    "software": "kioskd 0.1.0",
    "state": "ready",
    "pid": 812,
    "uptime_s": 266400.0,
    "ready_ms": 640.0,
    "pcscd": "up",
    "readers": {READER: "empty"},
    "closed_readers": [],
    "server": "access.example:8443",
    "link": {"connected": True, "problem": ""},
    "link_losses": 2,
    "pending_reports": 0,
    "open_cases": 0,
    "under_way": 0,
    "current": [],
    "outcomes": {"done": 212, "already-done": 31, "card-pulled": 4},
    "taps": TAPS,
    "journal": {"bytes": 81920, "cryptograms": 0, "free_bytes": 12 << 30},
    "certificate": {"not_before": NOW - 90 * DAY_S, "not_after": NOW + 307 * DAY_S, "days_left": 307.0},
    "clock": {"now": NOW, "synchronised": True, "server_ahead_s": 0.0},
    "versions": {"kioskd": "0.1.0"},
    "batch": None,
}

UNLINKED = {"state": "no-link", "link": {"connected": False, "problem": "server-down"}}
WRONG_S = 9 * 3600.0

STATUSES: dict[str, dict[str, Any]] = {
    "healthy": HEALTHY,
    "no-reader": {**HEALTHY, "state": "out-of-service", "readers": {}},
    "no-network": {**HEALTHY, **UNLINKED, "taps": [*TAPS, tap("77aa88bb", 12, "server-down", "K400", 3040, "")]},
    "certificate-expiring": {
        **HEALTHY,
        "certificate": {"not_before": NOW - 386 * DAY_S, "not_after": NOW + 11 * DAY_S, "days_left": 11.0},
    },
    "wrong-clock": {
        **HEALTHY,
        "state": "no-link",
        "link": {"connected": False, "problem": "server-not-trusted"},
        "clock": {"now": NOW - WRONG_S, "synchronised": False, "server_ahead_s": WRONG_S},
    },
    "case-open": {
        **HEALTHY,
        **UNLINKED,
        "pending_reports": 1,
        "open_cases": 1,
        "taps": [*TAPS, tap("0badcafe", 41, "ready-unconfirmed", "K101", 2992, "cplc:…60090D11")],
    },
}
"""What the pictures show, by name."""
