"""Counters and histograms of one gateway process, exported in Prometheus' text format.

The values are plain numbers in dicts, turned into metric families when somebody scrapes: prometheus_client's own counters cost 0.8 us an
increment and 1.8 us an observation, ten of which a request needs. Everything here is called from the event loop's thread only.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

from s4_codecs import DeviceCall, device_calls
from s4_codecs.small_batches import SmallBatchResult

from s4_gateway.errors import ERRORS
from s4_gateway.observe.exposition import CONTENT_TYPE, process_figures, render
from s4_gateway.observe.families import BUCKETS, FAMILIES, Labels
from s4_gateway.observe.record import Record
from s4_gateway.observe.snapshot import CPU, Snapshot

Tally = defaultdict[Labels, float]


class Metrics:
    """All metrics of one process; `render()` is what /metrics answers where it is the only one."""

    content_type = CONTENT_TYPE

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
        self.tallies["s4_gateway_worker_restarts"][()] = 0.0
        self._cpu_before = 0.0

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
        fallback = record.notes.get("fallback")
        if fallback is not None:
            self.tallies["s4_gpu_fallback"][str(fallback),] += 1
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

    def device_called(self, call: DeviceCall) -> None:
        """Count one call to the GPU."""
        codec, compresses = call.codec.label, call.operation == "encode"
        if call.outcome == "out-of-memory":
            self.tallies["s4_gpu_oom"][codec,] += 1
        elif call.outcome == "done":
            _observe(self._latencies["s4_gpu_compress_seconds" if compresses else "s4_gpu_decompress_seconds"][codec], call.seconds)
            self.tallies["s4_gpu_bytes"][codec, "compress" if compresses else "decompress"] += call.plaintext_bytes

    def small_batched(self, result: SmallBatchResult, frames: int) -> None:
        """Count frames of small objects."""
        self.tallies["s4_gpu_batch"][result,] += frames

    def rules_read(self, result: Literal["ok", "error"]) -> None:
        """Count a reading of the dispatch rules."""
        self.tallies["s4_gateway_dispatch_rules_reloads"][result,] += 1

    def connection_closed(self, reason: Literal["cap", "head", "idle", "protocol", "drain", "slow"]) -> None:
        """Count a connection that the gateway ended before the client did."""
        self.tallies["s4_gateway_connections_closed"][reason,] += 1

    def lines_dropped(self, number: int) -> None:
        """Count lost access-log lines."""
        self._dropped[()] += number

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return render(self.snapshot())

    def snapshot(self) -> Snapshot:
        """All figures as they are now."""
        process = process_figures()
        if CPU in process:
            process[CPU] += self._cpu_before
        return Snapshot(
            counters={name: dict(tally) for name, tally in self.tallies.items()},
            histograms={name: {label: [*row] for label, row in rows.items()} for name, rows in self._latencies.items()},
            gauges={
                "s4_gateway_requests_in_flight": self.in_flight,
                "s4_gateway_connections": self.connections,
                "s4_gateway_workers": 1,
                "s4_gpu_in_flight": device_calls.in_flight,
            },
            process=process,
            started=self._started,
        )

    def carry_on(self, before: Snapshot) -> None:
        """Count on from where a process that is gone had come: no counter goes backwards when a worker is replaced."""
        for name, tally in before.counters.items():
            self.tallies[name].update(tally)
        for name, rows in before.histograms.items():
            self._latencies[name].update({label: [*row] for label, row in rows.items()})
        self._cpu_before = before.process.get(CPU, 0.0)
        self._started = before.started

    def _codec_bytes(self, codec: str, notes: Mapping[str, object], direction: str) -> None:
        logical, stored = notes.get("logical_bytes"), notes.get("stored_bytes")
        if isinstance(logical, int) and isinstance(stored, int):
            self.tallies["s4_gateway_codec_logical_bytes"][codec, direction] += logical
            self.tallies["s4_gateway_codec_stored_bytes"][codec, direction] += stored


def _empty_histogram() -> list[float]:
    """Counts per bucket, +Inf included, then the sum of all observations."""
    return [0.0] * (len(BUCKETS) + 2)


def _observe(histogram: list[float], seconds: float) -> None:
    histogram[bisect_left(BUCKETS, seconds)] += 1
    histogram[-1] += seconds
