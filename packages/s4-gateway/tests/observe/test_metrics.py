"""What /metrics says."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from s4_codecs import DeviceCall, device_calls
from s4_format import CodecId

from s4_gateway.observe import Metrics, Record
from s4_gateway.observe.families import BUCKETS, FAMILIES, reference

RECORD = Record(
    request_id="0" * 16,
    operation="GetObject",
    method="GET",
    bucket="bucket",
    key="key",
    principal="somebody",
    status=200,
    code=None,
    received=0,
    sent=5000,
    seconds=0.004,
    source_ip="10.0.0.1",
    user_agent="test",
    notes={"codec": "cpu-zstd", "logical_bytes": 5000, "stored_bytes": 700},
)


def exported(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples of our own, parsed by prometheus_client's parser."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("s4_")
    }


def used() -> Metrics:
    """Metrics in which every family has a sample."""
    metrics = Metrics()
    metrics.request_ended(RECORD, writes=False)
    metrics.request_ended(RECORD_OF_AN_ERROR, writes=True)
    metrics.backend_called("PutObject", 200, 300, 0, 0.02)
    metrics.backend_called("GetObject", 206, 0, 700, 0.03)
    metrics.connection_closed("idle")
    metrics.lines_dropped(2)
    metrics.rules_read("ok")
    metrics.device_called(DeviceCall(CodecId.NVCOMP_ZSTD, "encode", 4_000_000, 0.002, "done"))
    metrics.device_called(DeviceCall(CodecId.NVCOMP_ZSTD, "encode", 2_000_000, 0.001, "done"))
    metrics.device_called(DeviceCall(CodecId.NVCOMP_ZSTD, "decode", 1_000_000, 0.5, "done"))
    metrics.device_called(DeviceCall(CodecId.NVCOMP_ZSTD, "encode", 7, 0.1, "out-of-memory"))
    metrics.device_called(DeviceCall(CodecId.NVCOMP_ZSTD, "decode", 7, 0.1, "failed"))
    metrics.small_batched("batched", 5)
    metrics.small_batched("fallback", 2)
    metrics.request_ended(RECORD._replace(operation="PutObject", notes={"fallback": "no-device"}), writes=True)
    metrics.in_flight, metrics.connections = 3, 4
    return metrics


RECORD_OF_AN_ERROR = Record(
    request_id="1" * 16,
    operation="PutObject",
    method="PUT",
    bucket="bucket",
    key="key",
    principal=None,
    status=403,
    code="AccessDenied",
    received=10,
    sent=300,
    seconds=400.0,
    source_ip=None,
    user_agent=None,
)


def test_requests() -> None:
    """Requests are counted by operation and status, their bytes by operation, their errors by code."""
    found = exported(used())

    assert found["s4_gateway_requests_total", (("operation", "GetObject"), ("status", "200"))] == 1
    assert found["s4_gateway_requests_total", (("operation", "PutObject"), ("status", "403"))] == 1
    assert found["s4_gateway_errors_total", (("code", "AccessDenied"), ("operation", "PutObject"))] == 1
    assert found["s4_gateway_client_sent_bytes_total", (("operation", "GetObject"),)] == 5000
    assert found["s4_gateway_client_received_bytes_total", (("operation", "PutObject"),)] == 10
    assert found["s4_gateway_codec_logical_bytes_total", (("codec", "cpu-zstd"), ("direction", "decode"))] == 5000
    assert found["s4_gateway_codec_stored_bytes_total", (("codec", "cpu-zstd"), ("direction", "decode"))] == 700


def test_backend() -> None:
    """Backend requests are counted by operation and status, their stored bytes by direction."""
    found = exported(used())

    assert found["s4_gateway_backend_requests_total", (("operation", "PutObject"), ("status", "200"))] == 1
    assert found["s4_gateway_backend_sent_bytes_total", (("operation", "PutObject"),)] == 300
    assert found["s4_gateway_backend_received_bytes_total", (("operation", "GetObject"),)] == 700


def test_gauges() -> None:
    """Gauges show what is now."""
    found = exported(used())

    assert (found["s4_gateway_requests_in_flight", ()], found["s4_gateway_connections", ()]) == (3, 4)
    assert found["s4_gateway_access_log_dropped_lines_total", ()] == 2


def test_the_gpu() -> None:
    """Calls to the GPU are timed and their bytes counted; those without memory and what the CPU did instead are counted too."""
    found = exported(used())
    codec = ("codec", "nvcomp-zstd")

    assert found["s4_gpu_compress_seconds_count", (codec,)] == 2
    assert found["s4_gpu_compress_seconds_sum", (codec,)] == pytest.approx(0.003)
    assert found["s4_gpu_decompress_seconds_count", (codec,)] == 1
    assert found["s4_gpu_bytes_total", (codec, ("op", "compress"))] == 6_000_000
    assert found["s4_gpu_throughput_bytes_per_sec", (codec, ("op", "compress"))] == pytest.approx(2e9)
    assert found["s4_gpu_throughput_bytes_per_sec", (codec, ("op", "decompress"))] == pytest.approx(2e6)
    assert found["s4_gpu_oom_total", (codec,)] == 1
    assert (found["s4_gpu_batch_total", (("result", "batched"),)], found["s4_gpu_batch_total", (("result", "fallback"),)]) == (5, 2)
    assert found["s4_gpu_fallback_total", (("reason", "no-device"),)] == 1
    assert found["s4_gpu_in_flight", ()] == 0
    with device_calls.call(CodecId.NVCOMP_ZSTD, "encode", 1):
        assert exported(Metrics())["s4_gpu_in_flight", ()] == 1


def test_latencies_are_histograms() -> None:
    """Buckets are cumulative and inclusive, the last is +Inf, and sum and count agree with what was observed."""
    metrics = Metrics()
    times = [0.0, BUCKETS[0], 0.004, BUCKETS[-1], BUCKETS[-1] + 1]
    for seconds in times:
        metrics.backend_called("HeadObject", 200, 0, 0, seconds)
    found = exported(metrics)

    def bucket(bound: str) -> float:
        return found["s4_gateway_backend_request_seconds_bucket", (("le", bound), ("operation", "HeadObject"))]

    assert [bucket(str(bound)) for bound in BUCKETS] == [sum(seconds <= bound for seconds in times) for bound in BUCKETS]
    assert bucket("+Inf") == found["s4_gateway_backend_request_seconds_count", (("operation", "HeadObject"),)] == len(times)
    assert found["s4_gateway_backend_request_seconds_sum", (("operation", "HeadObject"),)] == pytest.approx(sum(times))


def test_codes_of_a_backend_are_one_label() -> None:
    """A backend may invent error codes without end; the label stays a small set."""
    metrics = Metrics()
    for number in range(100):
        metrics.request_ended(_with_code(f"Invented{number}"), writes=False)
    codes = {labels for name, labels in exported(metrics) if name == "s4_gateway_errors_total"}

    assert codes == {(("code", "other"), ("operation", "PutObject"))}


def test_two_gateways_in_one_process_count_apart() -> None:
    """Metrics are a value, not a global."""
    first, second = used(), Metrics()

    assert exported(first).keys() > exported(second).keys()


def test_what_is_declared_is_what_is_exported() -> None:
    """Names, kinds and labels of the declared families are exactly what a used gateway exports, beside the process's own."""
    families = {family.name: family for family in text_string_to_metric_families(used().render().decode())}
    found = {
        name: (family.type, {label for sample in family.samples for label in sample.labels} - {"le"})
        for name, family in families.items()
        if name.startswith("s4_")
    }

    assert found == {family.name: (family.kind, set(family.labels)) for family in FAMILIES}
    assert {name.partition("_")[0] for name in families} == {"s4", "process"}


def test_each_family_is_documented_in_the_table() -> None:
    """The reference has one row a metric, with the name that is exported."""
    assert re.findall(r"^\| `(\w+)`", reference(), re.MULTILINE) == [family.exported for family in FAMILIES]


def _with_code(code: str) -> Record:
    return Record(
        request_id="2" * 16,
        operation="PutObject",
        method="PUT",
        bucket="bucket",
        key="key",
        principal=None,
        status=400,
        code=code,
        received=0,
        sent=0,
        seconds=0.1,
        source_ip=None,
        user_agent=None,
    )
