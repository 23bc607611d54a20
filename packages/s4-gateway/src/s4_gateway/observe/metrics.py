"""Counters and histograms of one gateway process, exported in Prometheus' text format.

The values are plain numbers in dicts, turned into metric families when somebody scrapes: prometheus_client's own counters cost 0.8 us an
increment and 1.8 us an observation, ten of which a request needs. Everything here is called from the event loop's thread only.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from s4_gateway._version import __version__
from s4_gateway.errors import ERRORS
from s4_gateway.observe.record import Record

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds: from a cached small GET to the Complete of a large upload."""

Labels = tuple[str, ...]
Tally = defaultdict[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One exported metric."""

    name: str
    """Without the `_total` that counters end in."""
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str

    @property
    def exported(self) -> str:
        return self.name + ("_total" if self.kind == "counter" else "")


FAMILIES: tuple[Family, ...] = (
    Family("s4_gateway_requests", "counter", ("operation", "status"), "Client requests answered; status 499 = the client went away."),
    Family("s4_gateway_errors", "counter", ("operation", "code"), "Client requests answered with an S3 error, by its code."),
    Family("s4_gateway_request_seconds", "histogram", ("operation",), "Time from a request's head to the end of its answer."),
    Family("s4_gateway_requests_in_flight", "gauge", (), "Client requests being worked on."),
    Family("s4_gateway_client_received_bytes", "counter", ("operation",), "Request body bytes from clients, transfer framing included."),
    Family("s4_gateway_client_sent_bytes", "counter", ("operation",), "Response body bytes to clients."),
    Family("s4_gateway_connections", "gauge", (), "Client connections open."),
    Family("s4_gateway_connections_closed", "counter", ("reason",), "Client connections closed early: cap, head, idle, protocol, drain."),
    Family(
        "s4_gateway_backend_requests",
        "counter",
        ("operation", "status"),
        "Requests to the backend, repeats too; status 0 = no answer.",
    ),
    Family("s4_gateway_backend_request_seconds", "histogram", ("operation",), "Time of a backend request, its body included."),
    Family("s4_gateway_backend_sent_bytes", "counter", ("operation",), "Stored bytes sent to the backend."),
    Family("s4_gateway_backend_received_bytes", "counter", ("operation",), "Stored bytes read from the backend."),
    Family("s4_gateway_codec_logical_bytes", "counter", ("codec", "direction"), "Client bytes through a codec: encode or decode."),
    Family("s4_gateway_codec_stored_bytes", "counter", ("codec", "direction"), "Stored bytes on the other side of the codec."),
    Family("s4_gateway_access_log_dropped_lines", "counter", (), "Access-log lines lost because nobody read the log fast enough."),
    Family("s4_gateway_start_time_seconds", "gauge", (), "When the process started to serve, seconds since the epoch."),
    Family("s4_gateway_build_info", "gauge", ("version",), "Always 1; the version is its label."),
)
"""Everything exported under our name; process_* metrics of prometheus_client come on top."""


class Metrics(Collector):
    """All metrics of one gateway; `render()` is what /metrics answers."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.in_flight = 0
        """Set by the app."""
        self.connections = 0
        """Set by the listener."""
        self.tallies: dict[str, Tally] = {family.name: defaultdict(float) for family in FAMILIES if family.kind == "counter"}
        self._latencies: dict[str, defaultdict[str, list[float]]] = {
            family.name: defaultdict(_empty_histogram) for family in FAMILIES if family.kind == "histogram"
        }
        self._requests = self.tallies["s4_gateway_requests"]
        self._received = self.tallies["s4_gateway_client_received_bytes"]
        self._sent = self.tallies["s4_gateway_client_sent_bytes"]
        self._seconds = self._latencies["s4_gateway_request_seconds"]
        self._backend_requests = self.tallies["s4_gateway_backend_requests"]
        self._backend_sent = self.tallies["s4_gateway_backend_sent_bytes"]
        self._backend_received = self.tallies["s4_gateway_backend_received_bytes"]
        self._backend_seconds = self._latencies["s4_gateway_backend_request_seconds"]
        self._started = time.time()
        self._dropped = self.tallies["s4_gateway_access_log_dropped_lines"]
        self._dropped[()] = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def request_ended(self, record: Record, *, writes: bool) -> None:
        """Count one client request."""
        operation = record.operation
        self._requests[operation, str(record.status)] += 1
        _observe(self._seconds[operation], record.seconds)
        if record.received:
            self._received[operation,] += record.received
        if record.sent:
            self._sent[operation,] += record.sent
        if record.code is not None:
            # Backends invent codes; a label must stay a small set.
            self.tallies["s4_gateway_errors"][operation, record.code if record.code in ERRORS else "other"] += 1
        codec = record.notes.get("codec")
        if codec is not None:
            self._codec_bytes(str(codec), record.notes, "encode" if writes else "decode")

    def backend_called(self, operation: str, status: int, sent: int, received: int, seconds: float) -> None:
        """Count one request to the backend: its HTTP status (0 = no answer), body bytes either way and its duration."""
        self._backend_requests[operation, str(status)] += 1
        _observe(self._backend_seconds[operation], seconds)
        if sent:
            self._backend_sent[operation,] += sent
        if received:
            self._backend_received[operation,] += received

    def connection_closed(self, reason: Literal["cap", "head", "idle", "protocol", "drain"]) -> None:
        """Count a connection that the gateway ended before the client did."""
        self.tallies["s4_gateway_connections_closed"][reason,] += 1

    def lines_dropped(self, number: int) -> None:
        """Count lost access-log lines."""
        self._dropped[()] += number

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Metric families for prometheus_client."""
        gauges: Mapping[str, tuple[Labels, float]] = {
            "s4_gateway_requests_in_flight": ((), self.in_flight),
            "s4_gateway_connections": ((), self.connections),
            "s4_gateway_start_time_seconds": ((), self._started),
            "s4_gateway_build_info": ((__version__,), 1),
        }
        for family in FAMILIES:
            match family.kind:
                case "counter":
                    yield _counter(family, self.tallies[family.name])
                case "gauge":
                    gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
                    gauge.add_metric(*gauges[family.name])
                    yield gauge
                case "histogram":
                    yield _histogram(family, self._latencies[family.name].items())

    def _codec_bytes(self, codec: str, notes: Mapping[str, object], direction: str) -> None:
        logical, stored = notes.get("logical_bytes"), notes.get("stored_bytes")
        if isinstance(logical, int) and isinstance(stored, int):
            self.tallies["s4_gateway_codec_logical_bytes"][codec, direction] += logical
            self.tallies["s4_gateway_codec_stored_bytes"][codec, direction] += stored


def reference() -> str:
    """The metrics as a Markdown table."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.exported}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(rows) + "\n"


def _empty_histogram() -> list[float]:
    """Counts per bucket, +Inf included, then the sum of all observations."""
    return [0.0] * (len(BUCKETS) + 2)


def _observe(histogram: list[float], seconds: float) -> None:
    histogram[bisect_left(BUCKETS, seconds)] += 1
    histogram[-1] += seconds


def _counter(family: Family, tally: Tally) -> CounterMetricFamily:
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
