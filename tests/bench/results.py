"""What the benches print and write down: tables with bars, targets met or not, and on what it was measured."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
BAR = 40


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and the most that it may be."""

    what: str
    figure: float
    most: float
    unit: str

    @property
    def line(self) -> str:
        """One row of a table."""
        verdict = "met" if self.figure <= self.most else "NOT MET"
        return f"{self.what:<52}{self.figure:>9.2f} {self.unit:<4}  target {self.most:>6g} {self.unit:<4}  {verdict}"


def spread(figures: Sequence[float]) -> str:
    """The median with its quartiles."""
    low, _, high = quantiles(figures, n=4)
    return f"{median(figures):.2f} ({low:.2f} to {high:.2f})"


def shares(parts: Iterable[tuple[str, float, float | None]], whole: float) -> list[str]:
    """Rows of (name, milliseconds, the floor's milliseconds): figure, floor, share of the whole, bar."""
    rows = [f"{'part':<18}{'ms':>9}{'floor':>9}{'share':>8}"]
    for name, ms, floor in parts:
        beside = "" if floor is None else f"{floor:.2f}"
        bar = "#" * max(0, round(BAR * ms / whole))
        rows.append(f"{name:<18}{ms:>9.2f}{beside:>9}{100 * ms / whole:>7.0f}%  {bar}")
    return rows


def record(title: str, lines: list[str], began: float, page: str = "bench") -> None:
    """Prints a section and writes it to today's page of that name, in place of an earlier one of that title."""
    around = f"load average at the end {os.getloadavg()[0]:.1f}, niceness {os.nice(0)}"
    lines = [*lines, f"commit {_commit()}, {os.cpu_count()} cores, Python {platform.python_version()}"]
    lines = [*lines, f"wall time {time.monotonic() - began:.0f} s, {around}"]
    print("\n" + "\n".join([title, "-" * len(title), *lines]))
    file = RESULTS / f"{page}-{time.strftime('%d-%b').lower()}.md"
    head = f"# {page.capitalize()}, {time.strftime('%d %B %Y')}\n"
    sections = dict(_sections(file.read_text())) if file.exists() else {}
    sections[title] = "```\n" + "\n".join(lines) + "\n```\n"
    RESULTS.mkdir(exist_ok=True)
    file.write_text(head + "".join(f"\n## {name}\n\n{text.strip()}\n" for name, text in sections.items()))


def _sections(text: str) -> Iterable[tuple[str, str]]:
    for part in text.split("\n## ")[1:]:
        name, _, body = part.partition("\n\n")
        yield name, body


def _commit() -> str:
    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "kioskd", "tests") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
