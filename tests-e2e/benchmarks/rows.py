"""The rows of the benchmark: each does one kind of work on one target and says what it took."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from s4_codecs.testing import workloads

from benchmarks import load, transfer
from benchmarks.target import Target

MIB = 2**20
BUCKET = "bench"
KEYS = 512
"""Objects that small reads and writes go round through."""
LISTED = 500
LISTED_BUCKET = "bench-listed"
RANGE = 64 * 1024
LARGE = 256 * MIB
PARTED = 64 * MIB
CONTENT_TYPE = [("Content-Type", "application/octet-stream")]


@dataclass(frozen=True, slots=True)
class Figures:
    """One row. None = does not apply."""

    row: str
    target: str
    requests: int
    seconds: float
    rate: float | None = None
    """Requests per second."""
    mb_per_second: float | None = None
    """Logical MB (10^6) per second."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    """CPU of the measured process per request, microseconds."""
    cpu_s_per_gb: float | None = None
    """The same per logical GB (10^9), seconds."""
    peak_mib: float | None = None
    """Peak resident memory of the process so far."""
    backend: dict[str, float] = field(default_factory=dict)
    """Backend requests per client request, by operation."""
    stored_bytes: int | None = None
    failures: int = 0

    def plain(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class Meter:
    """CPU and backend requests between two moments."""

    target: Target
    cpu: float = 0.0
    backend: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        before, cpu = self.target.backend_requests(), self.target.cpu_seconds()
        yield
        self.cpu = self.target.cpu_seconds() - cpu
        self.backend = dict(self.target.backend_requests() - before)

    def per(self, requests: int) -> dict[str, float]:
        return {name: round(count / requests, 3) for name, count in sorted(self.backend.items())}


@cache
def workload(name: str, size: int) -> bytes:
    """A named workload, made once."""
    return workloads.WORKLOADS[name](size)


def prepare(target: Target) -> None:
    """Buckets and objects that the reading rows need."""
    s3 = target.client()
    for bucket in (BUCKET, LISTED_BUCKET):
        s3.create_bucket(Bucket=bucket)
    text = workload("log", MIB)
    work = [(LISTED_BUCKET, f"list/{number:04d}", b"x" * (number + 1)) for number in range(LISTED)]
    for size in (4096, 65536):
        for number in range(KEYS):
            start = number * 977 % (MIB - size)
            work.append((BUCKET, f"get-{size}/{number:04d}", text[start : start + size]))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: s3.put_object(Bucket=one[0], Key=one[1], Body=one[2]), work))


def small(target: Target, *, method: str, size: int, seconds: int) -> Figures:
    """GET or PUT of small objects at 32 connections."""
    prefix = f"{method.lower()}-{size}"
    paths = [target.presigned(method, BUCKET, f"{prefix}/{number:04d}") for number in range(KEYS)]
    body = workload("log", MIB)[:size] if method == "PUT" else b""
    return _loaded(f"{method} {size // 1024} KiB", target, method, paths, seconds=seconds, body=body)


def listing(target: Target, *, seconds: int) -> Figures:
    """ListObjectsV2 of 500 keys."""
    paths = [target.presigned("GET", LISTED_BUCKET, query={"list-type": "2"})]
    return _loaded(f"List {LISTED} keys", target, "GET", paths, seconds=seconds)


def ranges(target: Target, *, seconds: int) -> Figures:
    """Random 64 KiB ranges of the 256 MiB log."""
    seed = random.Random(7)
    path = target.presigned("GET", BUCKET, "large/log")
    starts = [seed.randrange(0, LARGE - RANGE) for _ in range(4096)]
    paths = [f"{path}\tbytes={start}-{start + RANGE - 1}" for start in starts]
    return _loaded("Range 64 KiB of 256 MiB", target, "GET", paths, seconds=seconds, size=RANGE)


def large_put(target: Target, *, name: str) -> Figures:
    """One PUT of 256 MiB."""
    body = workload(name, LARGE)
    meter = Meter(target)
    with meter.running():
        seconds = transfer.put(target, BUCKET, f"large/{name}", body)
    return _moved(f"PUT 256 MiB {name}", target, seconds, meter, LARGE, stored=target.store.behind.size(BUCKET, f"large/{name}"))


def large_get(target: Target, *, name: str) -> Figures:
    """One GET of 256 MiB."""
    meter = Meter(target)
    with meter.running():
        seconds = transfer.get(target, BUCKET, f"large/{name}", LARGE)
    return _moved(f"GET 256 MiB {name}", target, seconds, meter, LARGE)


def multipart(target: Target) -> Figures:
    """64 MiB of log by boto3's upload_file at its defaults: 8 MiB parts."""
    with tempfile.TemporaryDirectory(prefix="s4-bench-") as folder:
        path = Path(folder) / "log"
        path.write_bytes(workload("log", LARGE)[:PARTED])
        s3, meter = target.client(), Meter(target)
        with meter.running():
            seconds = _timed(lambda: s3.upload_file(str(path), BUCKET, "large/parts"))
    stored = target.store.behind.size(BUCKET, "large/parts")
    return _moved("upload_file 64 MiB log, 8 MiB parts", target, seconds, meter, PARTED, stored=stored)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _loaded(row: str, target: Target, method: str, paths: list[str], *, seconds: int, body: bytes = b"", size: int = 0) -> Figures:
    headers = CONTENT_TYPE if body else ()
    load.run(target.endpoint, method, paths, seconds=1, body=body, headers=headers)
    meter = Meter(target)
    with meter.running():
        done = load.run(target.endpoint, method, paths, seconds=seconds, body=body, headers=headers)
    return Figures(
        row,
        target.name,
        done.requests,
        done.seconds,
        rate=done.rate,
        mb_per_second=done.rate * size / 1e6 if size else None,
        p50_ms=done.p50 * 1000,
        p99_ms=done.p99 * 1000,
        cpu_us=meter.cpu / max(1, done.requests) * 1e6,
        peak_mib=target.peak_bytes() / MIB,
        backend=meter.per(max(1, done.requests)),
        failures=done.failures,
    )


def _moved(row: str, target: Target, seconds: float, meter: Meter, size: int, *, stored: int | None = None) -> Figures:
    return Figures(
        row,
        target.name,
        1,
        seconds,
        mb_per_second=size / seconds / 1e6,
        cpu_s_per_gb=meter.cpu / size * 1e9,
        peak_mib=target.peak_bytes() / MIB,
        backend=meter.per(1),
        stored_bytes=stored,
    )


def all_rows(target: Target, *, seconds: int) -> Iterator[Figures]:
    """Every row, in an order in which later ones find what earlier ones wrote."""
    prepare(target)
    for size in (4096, 65536):
        for method in ("GET", "PUT"):
            yield small(target, method=method, size=size, seconds=seconds)
    yield listing(target, seconds=seconds)
    for name in ("log", "noise"):
        yield large_put(target, name=name)
        yield large_get(target, name=name)
    yield ranges(target, seconds=seconds)
    yield multipart(target)
