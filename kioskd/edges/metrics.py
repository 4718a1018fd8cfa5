"""A terminal's figures in the text form of Prometheus, by prometheus-client; loaded when somebody asks for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many lay between the bounds, the last above all of them, and their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What is told: gauges and counters with their help, one counter by a label, one histogram, constant labels."""

    gauges: Mapping[str, tuple[float | None, str]]
    counters: Mapping[str, tuple[float, str]]
    outcomes: Mapping[str, int]
    taps: Histogram
    about: Mapping[str, str]


class _Once(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Every metric, once."""
        figures = self._figures
        for name, (value, words) in figures.gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"kioskd_{name}", words, value=value)
        for name, (value, words) in figures.counters.items():
            yield CounterMetricFamily(f"kioskd_{name}", words, value=value)
        taps = CounterMetricFamily("kioskd_taps", "Taps that have ended, by outcome.", labels=["outcome"])
        for outcome, count in sorted(figures.outcomes.items()):
            taps.add_metric([outcome], count)
        yield taps
        yield self._histogram()
        info = GaugeMetricFamily("kioskd_info", "Which terminal this is.", labels=list(figures.about))
        info.add_metric(list(figures.about.values()), 1)
        yield info

    def _histogram(self) -> HistogramMetricFamily:
        told, below, buckets = self._figures.taps, 0, []
        for bound, count in zip([*map(str, told.bounds), "+Inf"], told.counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        return HistogramMetricFamily("kioskd_tap_seconds", "How long taps took.", buckets=buckets, sum_value=told.total)


def exposed(figures: Figures) -> bytes:
    """The figures as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(figures))
    return generate_latest(registry)
