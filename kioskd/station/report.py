"""The report of a batch: a table in CSV, or the same with the totals in JSON. No full card id, no key."""

import csv
import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from kioskd.edges.batch_file import BatchContent, CardRow, CardState

_TIMES = ("first", "last", "begun", "issued")
COLUMNS = ("card", "state", "code", "outcome", "reason", "advice", "reader", "tries", *_TIMES)


def as_csv(batch: BatchContent) -> str:
    """One line for each card, under a line of names."""
    out = io.StringIO()
    table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(_plain(row) for row in batch.rows)
    return out.getvalue()


def as_json(batch: BatchContent) -> str:
    """The totals and the cards."""
    totals = {state.value: sum(row.state is state for row in batch.rows) for state in CardState}
    told = {"batch": batch.name, "wanted": batch.wanted, **totals, "cards": [_plain(row) for row in batch.rows]}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _plain(row: CardRow) -> dict[str, Any]:
    values = asdict(row)
    return {name: _time(values[name]) if name in _TIMES else values[name] for name in COLUMNS}


def _time(seconds: float) -> str:
    """UTC to the second; empty for never."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""
