"""Figures in Prometheus' text format."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from s4_gateway._version import __version__
from s4_gateway.observe.families import BUCKETS, FAMILIES, Family, Labels
from s4_gateway.observe.snapshot import Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST

_process = ProcessCollector(registry=None)


def render(snapshot: Snapshot) -> bytes:
    """All metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(snapshot))
    return generate_latest(registry)


def process_figures() -> dict[str, float]:
    """What the operating system tells about this process, by metric; nothing where it has no /proc."""
    return {sample.name: sample.value for family in _process.collect() for sample in family.samples}


class _Figures(Collector):
    """Metric families for prometheus_client."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        gauges: Mapping[str, Mapping[Labels, float]] = {
            **{name: {(): value} for name, value in self._snapshot.gauges.items()},
            "s4_gateway_start_time_seconds": {(): self._snapshot.started},
            "s4_gateway_build_info": {(__version__,): 1},
            "s4_gpu_throughput_bytes_per_sec": dict(_throughput(self._snapshot)),
        }
        for family in FAMILIES:
            match family.kind:
                case "counter":
                    yield _counter(family, self._snapshot.counters[family.name])
                case "gauge":
                    gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
                    for labels, value in gauges[family.name].items():
                        gauge.add_metric(labels, value)
                    yield gauge
                case "histogram":
                    yield _histogram(family, self._snapshot.histograms[family.name].items())
        for described in _process.collect():
            described.samples = [sample._replace(value=self._snapshot.process[sample.name]) for sample in described.samples]
            yield described


def _throughput(snapshot: Snapshot) -> Iterator[tuple[Labels, float]]:
    """Of the calls to the GPU: bytes by seconds, of all processes together."""
    for labels, size in sorted(snapshot.counters["s4_gpu_bytes"].items()):
        codec, operation = labels
        seconds = snapshot.histograms[f"s4_gpu_{operation}_seconds"][codec][-1]
        if seconds:
            yield labels, size / seconds


def _counter(family: Family, tally: Mapping[Labels, float]) -> CounterMetricFamily:
    counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in sorted(tally.items()):
        counter.add_metric(labels, value)
    return counter


def _histogram(family: Family, rows: Iterable[tuple[str, list[float]]]) -> HistogramMetricFamily:
    exported = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*map(str, BUCKETS), "+Inf"]
    for label, histogram in sorted(rows):
        total, buckets = 0.0, []
        for bound, count in zip(bounds, histogram, strict=False):
            total += count
            buckets.append((bound, total))
        exported.add_metric([label], buckets, histogram[-1])
    return exported
