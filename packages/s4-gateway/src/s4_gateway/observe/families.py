"""What /metrics exports: names, kinds, labels and meanings."""

from dataclasses import dataclass
from typing import Literal

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds: from a cached small GET to the Complete of a large upload."""

Labels = tuple[str, ...]


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
    Family(
        "s4_gateway_connections_closed", "counter", ("reason",), "Client connections closed early: cap, head, idle, protocol, drain, slow."
    ),
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
    Family("s4_gpu_compress_seconds", "histogram", ("codec",), "Time of a call to the GPU that compresses frames, copies included."),
    Family("s4_gpu_decompress_seconds", "histogram", ("codec",), "Time of a call to the GPU that decompresses frames, copies included."),
    Family("s4_gpu_bytes", "counter", ("codec", "op"), "Plaintext bytes of these calls: compress or decompress."),
    Family("s4_gpu_throughput_bytes_per_sec", "gauge", ("codec", "op"), "Plaintext bytes of these calls by their time, since the start."),
    Family("s4_gpu_in_flight", "gauge", (), "Calls to the GPU that have begun and not ended."),
    Family("s4_gpu_oom", "counter", ("codec",), "Calls that the GPU had no memory for; the CPU did their work."),
    Family("s4_gpu_batch", "counter", ("result",), "Frames of small objects: batched on the GPU, or fallback to the CPU."),
    Family(
        "s4_gpu_fallback", "counter", ("reason",), "Objects and parts with cpu-zstd in place of a GPU codec: no-device, device-refused."
    ),
    Family("s4_gateway_dispatch_rules_reloads", "counter", ("result",), "Readings of the dispatch rules after SIGHUP: ok or error."),
    Family("s4_gateway_access_log_dropped_lines", "counter", (), "Access-log lines lost because nobody read the log fast enough."),
    Family("s4_gateway_workers", "gauge", (), "Processes that serve."),
    Family("s4_gateway_worker_restarts", "counter", (), "Workers started again because one had ended."),
    Family("s4_gateway_start_time_seconds", "gauge", (), "When the gateway started to serve, seconds since the epoch."),
    Family("s4_gateway_build_info", "gauge", ("version",), "Always 1; the version is its label."),
)
"""Everything exported under our name; process_* metrics of prometheus_client come on top."""


def reference() -> str:
    """The metrics as a Markdown table."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.exported}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(rows) + "\n"
