"""What processes hold as the taps go by: sampled, fitted with a line, drawn."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40
PER = 1000
"""A slope is told for so many taps."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures, by name, when so many taps had ended."""

    taps: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Flat:
    """A figure that must not grow by more than `most` in a thousand taps, nor be above `ceiling`; None: it may."""

    name: str
    unit: str
    most: float | None = None
    ceiling: float | None = None

    @property
    def bound(self) -> str:
        """In a table."""
        if self.ceiling is not None:
            return f"<{self.ceiling:g}"
        return "grows" if self.most is None else f"{self.most:g}"


def process(name: str, pid: int) -> dict[str, float]:
    """Descriptors, threads, and kB of memory: resident (VmRSS), and this process's own share of it (Pss)."""
    proc = Path(f"/proc/{pid}")
    return {
        f"{name}: descriptors": len(list((proc / "fd").iterdir())),
        f"{name}: threads": len(list((proc / "task").iterdir())),
        f"{name}: VmRSS": _kb(proc / "status", "VmRSS"),
        f"{name}: Pss": _kb(proc / "smaps_rollup", "Pss"),
    }


def size_kb(file: Path) -> float:
    """A file, in kB; 0 for one that is not there."""
    return file.stat().st_size / 1024 if file.exists() else 0


def growth(samples: Sequence[Sample], name: str, warm: int) -> float:
    """By how much a figure grows in a thousand taps: the slope of least squares through the samples from `warm` on."""
    kept = [one for one in samples if one.taps >= warm]
    taps = [float(one.taps) for one in kept]
    return PER * linear_regression(taps, [one.figures[name] for one in kept]).slope


def too_fast(samples: Sequence[Sample], wanted: Sequence[Flat], warm: int) -> list[str]:
    """The figures that grow faster than they may, or were higher, one sentence each."""
    found = []
    for one in wanted:
        slope = growth(samples, one.name, warm)
        if one.most is not None and slope > one.most:
            found.append(f"{one.name} grows by {slope:.2f} {one.unit} in {PER} taps, at most {one.most:g} is flat")
        highest = max(sample.figures[one.name] for sample in samples)
        if one.ceiling is not None and highest > one.ceiling:
            found.append(f"{one.name} came to {highest:.0f} {one.unit}, at most {one.ceiling:g} is expected")
    return found


def for_each(samples: Sequence[Sample], name: str, other: str, warm: int) -> float:
    """By how much a figure grows for each one of another, by least squares."""
    kept = [one.figures for one in samples if one.taps >= warm]
    return linear_regression([one[other] for one in kept], [one[name] for one in kept]).slope


def table(samples: Sequence[Sample], wanted: Sequence[Flat], warm: int) -> list[str]:
    """A row for each figure: after the warm-up, at the end, its slope and bound, and a picture of the whole run."""
    first = next(one for one in samples if one.taps >= warm)
    head = f"{'':<22}{'':<5}{f'at {first.taps}':>10}{f'at {samples[-1].taps}':>10}{'slope':>9}{'bound':>7}"
    rows = [f"{head}  whole run, lowest to highest"]
    for one in wanted:
        values = [sample.figures[one.name] for sample in samples]
        slope = growth(samples, one.name, warm)
        figures = f"{first.figures[one.name]:>10.0f}{values[-1]:>10.0f}{slope:>9.2f}{one.bound:>7}"
        rows.append(f"{one.name:<22}{one.unit:<5}{figures}  {spark(values)} {min(values):.0f} to {max(values):.0f}")
    return [*rows, f"slope and bound: in {PER} taps, by least squares over the samples from tap {warm} on"]


def spark(values: Sequence[float], width: int = WIDTH) -> str:
    """A picture of one line: means of equal parts of the run, between the least and the most."""
    parts = min(width, len(values))
    cuts = [len(values) * at // parts for at in range(parts + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in itertools.pairwise(cuts)]
    least, most = min(means), max(means)
    if most == least:
        return BLOCKS[0] * parts
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * (mean - least) / (most - least))] for mean in means)


def _kb(file: Path, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    assert found is not None, name
    return int(found[1])
